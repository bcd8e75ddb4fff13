"""In which order the study of agents is computed: agents that record what others learn from come first."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from experiments.agents.arms import SECOND_ROUND
from experiments.agents.cells import AgentCell, EncoderCell, encoder_cells
from experiments.agents.scales import AgentScale


@dataclasses.dataclass(frozen=True)
class Round:
    """Encoders, and agents on their codes, that need nothing but what earlier rounds made."""

    encoders: Sequence[EncoderCell]
    """Which learn from what random policies, or agents of the round before, see."""
    agents: Sequence[AgentCell]
    """Which may need the encoders."""
    recording: Sequence[AgentCell] = ()
    """Those of the agents whose frames the next round learns from."""


def rounds_of(scale: AgentScale, agents: Sequence[AgentCell], out: Path, *, threads: int = 1) -> list[Round]:
    """All that must be computed for some agents, in rounds: the agents themselves and those that record for them.

    Args:
        scale: entry of `AGENT_SCALES`.
        agents: what is asked for.
        out: folder of the study.
        threads: CPU threads of each.
    """
    later = [cell for cell in agents if cell.arm.encoder in SECOND_ROUND]
    second = encoder_cells(scale, later, out, threads=threads)
    recording = {cell.recorded.agent.name: cell.recorded.agent for cell in second if cell.recorded is not None}
    first = {cell.name: cell for cell in agents if cell.arm.encoder not in SECOND_ROUND} | recording
    # sorted is stable: what belongs to a seed keeps its order
    ordered = sorted(first.values(), key=lambda cell: cell.seed)
    encoders = encoder_cells(scale, ordered, out, threads=threads)
    rounds = [Round(encoders, ordered, list(recording.values()))]
    return [*rounds, Round(second, later)] if later else rounds
