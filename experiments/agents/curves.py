"""How fast agents learn: steps to 80 % of what ground-truth factors reach, and learning curves over seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from experiments.agents.results import AgentResult, AgentStudy
from experiments.agents.scores import FACTORS, RANDOM, Matrix, clear_difference, episodes_of

SHARE = 0.8
"""Of what ground-truth factors reach above the random policy: what counts as learned."""
SMOOTHED = 3
"""Windows of a curve that are averaged."""
_LAST = 0.8
"""Of the steps: what comes after is the end of training."""


@dataclasses.dataclass(frozen=True)
class Curves:
    """Learning curves of some seeds at the same steps."""

    steps: Matrix
    """(windows,), the ends of the windows."""
    returns: Matrix
    """(seeds, windows)."""
    successes: Matrix
    """(seeds, windows), share in 0..1."""


def _mean_of_episodes(curve: Sequence[tuple[int, float, float, int]]) -> float:
    return sum(mean * count for _, mean, _, count in curve) / sum(count for *_, count in curve)


def final_level(agents: Sequence[AgentResult]) -> float | None:
    """Mean return at the end of training: of the episodes in the last fifth of the steps, then over agents.

    Returns:
        None where no agent has a window there.
    """
    ends = [[window for window in agent.curve if window[0] > _LAST * agent.steps] for agent in agents]
    levels = [_mean_of_episodes(windows) for windows in ends if windows]
    return fmean(levels) if levels else None


def learned_return(study: AgentStudy, task: str, algorithm: str = "ppo", *, share: float = SHARE) -> float | None:
    """The return from which a task counts as learned.

    random + share * (end - random): random is the mean of the random policy's evaluation in the source, end the
    `final_level` of the agents on ground-truth factors, while they still explore.

    Returns:
        None while either is missing, or where factors are not clearly better than the random policy.
    """
    arms = study.of(task, algorithm)
    factors, randoms = arms.get(FACTORS, []), episodes_of(arms.get(RANDOM, []))
    level = final_level(factors)
    if level is None or clear_difference(episodes_of(factors), randoms) is None or level <= fmean(randoms):
        return None
    return fmean(randoms) + share * (level - fmean(randoms))


def steps_to(agent: AgentResult, level: float) -> int | None:
    """Steps after which an agent's curve first reaches a return.

    Averaged over the episodes of `SMOOTHED` windows, those that end there and the ones before, which says it late
    rather than early: no agent has it before the third window.

    Returns:
        None where it never does.
    """
    for last in range(SMOOTHED, len(agent.curve) + 1):
        if _mean_of_episodes(agent.curve[last - SMOOTHED : last]) >= level:
            return agent.curve[last - 1][0]
    return None


def mean_over_training(agent: AgentResult) -> float | None:
    """Mean over the windows of its curve, each counting the same: the area under it per step; None without any."""
    return fmean(window[1] for window in agent.curve) if agent.curve else None


def curves_of(agents: Sequence[AgentResult]) -> Curves | None:
    """The curves of some agents, at steps where all have one; a window that one lacks is read off between its others.

    Returns:
        None where no agent has a curve, or they share no steps.
    """
    found = [np.array([window[:3] for window in agent.curve], float) for agent in agents if agent.curve]
    if not found:
        return None
    steps = np.unique(np.concatenate([curve[:, 0] for curve in found]))
    steps = steps[(steps >= max(curve[0, 0] for curve in found)) & (steps <= min(curve[-1, 0] for curve in found))]
    if not len(steps):
        return None
    returns, successes = (
        np.array([np.interp(steps, curve[:, 0], curve[:, column]) for curve in found]) for column in (1, 2)
    )
    return Curves(steps, returns, successes)
