"""What the tables of the study of agents share: their notes and titles, and an estimate as the text of a cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from experiments.agents.analysis import Estimate
from experiments.agents.arms import ARMS, ENCODERS
from experiments.agents.results import AgentResult, AgentStudy, EncoderResult, EpisodeEnds
from experiments.agents.scores import RANDOM
from experiments.pages.tables import EMPTY, origin
from sparse_repr.pretrain.presets import CORRUPTED

NORMALISED = (
    "Normalised: 0 is the random policy in the same domain, 1 as far above it as the agents on ground-truth factors "
    "are in the source."
)
IQM = (
    "IQM: interquartile mean over seeds and tasks, with its 95 % interval (t over the seeds within tasks, the wider of "
    "that of the mean and that of what lies between the quartiles); fewer than 3 seeds have none. All seeds play the "
    "same episodes in the end: what other episodes would change is in no interval."
)


def note_of(
    study: AgentStudy,
    entries: Sequence[AgentResult] | Sequence[EncoderResult] | Sequence[EpisodeEnds],
    *sentences: str,
    steps: str = "",
) -> str:
    """What stands below every table: the scale, what its numbers are, and where they were computed."""
    seeds = sorted({entry.seed for entry in entries})
    return " ".join(
        [
            f"Scale `{study.scale_name}`{steps}; seeds {', '.join(map(str, seeds))}.",
            *(sentence for sentence in sentences if sentence),
            origin([entry.machine for entry in entries]),
        ]
    )


def note_of_arms(study: AgentStudy, arms: Mapping[str, Sequence[AgentResult]], *sentences: str) -> str:
    """The same of several arms, with the steps that they learned for."""
    entries = [agent for agents in arms.values() for agent in agents]
    steps = sorted({agent.steps for agent in entries if agent.arm != RANDOM})
    words = f"; {', '.join(f'{count:,}' for count in steps)} steps of learning" if steps else ""
    return note_of(study, entries, *sentences, steps=words)


def not_new_to(arms: Iterable[str]) -> str:
    """Which target domains are not new to the encoders of some of these arms, as a sentence; empty where all are.

    Denoising pretraining draws noise, other colours and other backgrounds of its own, a shift moves frames as the
    domain `camera` does.
    """
    settings = {arm: ENCODERS.get(ARMS[arm].encoder or "", {}) for arm in arms}
    corrupted = [ARMS[arm].title for arm, given in settings.items() if any(given.get(name) for name in CORRUPTED)]
    if not corrupted:
        return ""
    moved = [ARMS[arm].title for arm, given in settings.items() if given.get("random_shift")]
    camera = f", nor a moved camera to those of {'; '.join(moved)}" if moved else ""
    return (
        f"Noise, other colours and backgrounds are not new to the encoders of {'; '.join(corrupted)}{camera}, which "
        "learned from such frames."
    )


def shown(estimate: Estimate | None) -> str:
    """An aggregate and its interval as the text of a cell."""
    if estimate is None:
        return EMPTY
    if estimate.low is None:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def titled(words: str, algorithm: str) -> str:
    """A title that names the algorithm."""
    return f"{words} ({algorithm.upper()})"
