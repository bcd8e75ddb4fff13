"""What the study of agents has found so far: one entry per trained agent and one per encoder, as tables need them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

OUTCOMES = ("success", "failure", "time limit")
"""How an episode ends: the task's success, a state that ends it otherwise, or too many steps."""


@dataclasses.dataclass(frozen=True)
class AgentResult:
    """One finished cell: an agent of one arm on one task with one seed."""

    task: str
    """Key of `TASKS`."""
    arm: str
    """Key of `ARMS`."""
    algorithm: str
    """ppo, sac or dqn."""
    seed: int
    """Of the agent and of its encoder."""
    steps: int
    """Environment steps it learned from; those of its arm's siblings for the random policy, which does not learn."""
    curve: Sequence[tuple[int, float, float, int]]
    """While learning: steps at the end of each of equal windows, mean return and share of successes of the episodes
    that ended in the window, and their number; a window in which none ended is left out."""
    returns: Mapping[str, Sequence[float]]
    """Domain -> return of every episode of the evaluation, the policy deterministic."""
    successes: Mapping[str, Sequence[bool]]
    """Domain -> whether each of them succeeded."""
    seconds: Mapping[str, float]
    """training and evaluation."""
    peak_memory_mb: float
    """Largest resident memory of the process that trained it."""
    machine: Mapping[str, Any]
    """As `measuring.machine_facts`."""
    curve_seconds: Sequence[float] = ()
    """Seconds of training at the end of each window of the curve; none of agents from before it was measured."""
    updates: Mapping[str, Sequence[float | None]] = dataclasses.field(default_factory=dict)
    """Name of `learning.UPDATES` -> a value per update of PPO, if it is a number; none of agents from before."""
    first_layer: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """What `learning.FirstLayer` found; nothing of agents from before."""
    encoder: str | None = None
    """Fingerprint of the encoder that it learned on; None where it has none."""
    replay_memory_mb: float | None = None
    """Of the arrays of its replay buffer; None where it has none, and of agents from before it was measured."""

    def mean_return(self, domain: str = "source") -> float:
        """Mean return in a domain."""
        values = self.returns[domain]
        return float(sum(values) / len(values))


@dataclasses.dataclass(frozen=True)
class EncoderResult:
    """One finished encoder of the study."""

    task: str
    """Key of `TASKS`: what its frames show."""
    encoder: str
    """Key of `ENCODERS`, or `UNTRAINED`, or one of `FOREIGN`."""
    seed: int
    """Of its training."""
    scores: Mapping[str, float | None]
    """Name -> score, higher being better but for active_units and dead ones: psnr_db, ssim, mig, dci_histogram, ...,
    linear_probe, hoyer_sparsity, exact_zero_fraction, active_units, position_r2, class_accuracy."""
    position_r2: Mapping[str, float]
    """Sprite -> held-out R² of a probe that reads its place, mean of across and down, 0..1."""
    seconds: Mapping[str, float | None]
    """recording (of the frames it learned from), training and evaluation; None where it was not measured: the
    recording of older studies, and the training where it ended before the scores were interrupted."""
    machine: Mapping[str, Any]
    """As `measuring.machine_facts`."""
    linear_position_r2: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """The same of a linear probe."""
    units: int | None = None
    """Size of its code; None of one that was not trained."""
    fingerprint: str | None = None
    """Of the encoder; None where it is not known."""


@dataclasses.dataclass(frozen=True)
class EpisodeEnds:
    """How the episodes of one agent end in the source."""

    task: str
    """Key of `TASKS`."""
    arm: str
    """Key of `ARMS`."""
    algorithm: str
    """ppo, sac or dqn."""
    seed: int
    """Of the agent and of its encoder."""
    kinds: Mapping[str, Mapping[str, int]]
    """Value of the task's `decided_by`, or "all" -> outcome of `OUTCOMES` -> number of episodes that end so."""
    machine: Mapping[str, Any]
    """As `measuring.machine_facts`."""


_Entry = TypeVar("_Entry", AgentResult, EpisodeEnds)


@dataclasses.dataclass(frozen=True)
class AgentStudy:
    """All that is finished of one scale."""

    scale_name: str
    """Key of `scales.AGENT_SCALES`."""
    agents: Sequence[AgentResult]
    """By task, algorithm, arm (in the order of `ARMS`) and seed."""
    encoders: Sequence[EncoderResult]
    """By task, encoder and seed."""
    ends: Sequence[EpisodeEnds] = ()
    """Of agents that were played again for it, ordered as these."""

    def of(self, task: str, algorithm: str = "ppo") -> dict[str, list[AgentResult]]:
        """The agents on a task by arm, in the order of `ARMS`, then by seed.

        The random policy is every algorithm's; a task without any agent of the algorithm has none.
        """
        return _by_arm(self.agents, task, algorithm)

    def ends_of(self, task: str, algorithm: str = "ppo") -> dict[str, list[EpisodeEnds]]:
        """How the episodes of these agents end, as `of`."""
        return _by_arm(self.ends, task, algorithm)

    def learned_by(self) -> list[str]:
        """Algorithms that some agent has learned by."""
        return list(dict.fromkeys(agent.algorithm for agent in self.agents if agent.curve))


def _by_arm(entries: Sequence[_Entry], task: str, algorithm: str) -> dict[str, list[_Entry]]:
    found: dict[str, list[_Entry]] = {}
    for one in entries:
        random = one.arm == "random_policy"
        # acting at random under two algorithms is the same agent twice
        counted = random and any(other.seed == one.seed for other in found.get(one.arm, []))
        if one.task == task and (one.algorithm == algorithm or random) and not counted:
            found.setdefault(one.arm, []).append(one)
    return found if any(one.algorithm == algorithm for same in found.values() for one in same) else {}
