"""What the agents of the study reach, task by task and seed by seed: returns, and returns normalised over tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import fmean

import numpy as np
import numpy.typing as npt

from experiments.agents.arms import ARMS
from experiments.agents.results import AgentResult, AgentStudy
from experiments.agents.tasks import TASKS
from experiments.measure.intervals import difference_interval

RANDOM, FACTORS = "random_policy", "factors"
"""Arms that a normalised score has at 0 and, in the source, at 1."""

Matrix = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Anchors:
    """What the normalised scores of a task are counted from and in."""

    random: dict[str, float]
    """Domain -> mean return of the random policy there, over its episodes."""
    span: float
    """Mean return of the agents on ground-truth factors in the source, above that of the random policy; > 0."""

    def normalised(self, value: float, domain: str = "source") -> float:
        """A return in a domain: 0 is the random policy in that domain, 1 as far above it as factors in the source."""
        return (value - self.random[domain]) / self.span


@dataclasses.dataclass(frozen=True)
class Scores:
    """A score of every seed of an arm on some tasks."""

    arm: str
    """Key of `ARMS`."""
    tasks: tuple[str, ...]
    """The columns."""
    seeds: tuple[int, ...]
    """The rows: seeds that are finished on all of these tasks."""
    values: Matrix
    """(seeds, tasks), neither 0."""


def clear_difference(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Difference of two means, where it is known to within a half of it; None elsewhere, or where it is not above 0.

    It divides other numbers: a difference that might as well be 0 would make any number of them. "To within a half" is
    the 95 % interval (Welch) of the values given, mostly those of single episodes.
    """
    if len(first) < 2 or len(second) < 2:
        return None
    difference, half = difference_interval(first, second)
    return difference if difference > 0 and 2 * half <= difference else None


def episodes_of(agents: Sequence[AgentResult], domain: str = "source") -> list[float]:
    """Returns of all episodes of some agents in a domain."""
    return [value for agent in agents for value in agent.returns.get(domain, ())]


def paired_seeds(first: Sequence[AgentResult], second: Sequence[AgentResult]) -> tuple[int, ...]:
    """The seeds that two arms on a task have in common, in order.

    Where both show one kind of encoder, an agent of each learned on the very same encoder: of those that were trained
    anew under the same name, the two would differ in more than the arm. Agents from before that was kept count.
    """
    ones, others = ({agent.seed: agent for agent in agents} for agents in (first, second))
    return tuple(
        seed
        for seed in sorted(ones.keys() & others.keys())
        if ARMS[ones[seed].arm].encoder != ARMS[others[seed].arm].encoder or ones[seed].encoder == others[seed].encoder
    )


def anchors_of(study: AgentStudy, task: str, algorithm: str = "ppo") -> Anchors | None:
    """What a task's scores are normalised by.

    Returns:
        None while the random policy or the agents on factors are not finished, or where these are not clearly better.
    """
    arms = study.of(task, algorithm)
    randoms = arms.get(RANDOM, [])
    span = clear_difference(episodes_of(arms.get(FACTORS, [])), episodes_of(randoms))
    if span is None:
        return None
    domains = sorted({domain for agent in randoms for domain, values in agent.returns.items() if len(values)})
    return Anchors({domain: fmean(episodes_of(randoms, domain)) for domain in domains}, span)


def _matrix(
    study: AgentStudy, arm: str, tasks: Sequence[str], algorithm: str, domain: str, anchors: dict[str, Anchors] | None
) -> Scores | None:
    found: dict[str, dict[int, float]] = {}
    for task in tasks:
        if anchors is not None and domain not in (anchors[task].random if task in anchors else {}):
            continue
        values = {
            agent.seed: agent.mean_return(domain)
            for agent in study.of(task, algorithm).get(arm, ())
            if agent.returns.get(domain)
        }
        if anchors is not None:
            values = {seed: anchors[task].normalised(value, domain) for seed, value in values.items()}
        if values:
            found[task] = values
    seeds = sorted(set.intersection(*(set(values) for values in found.values()))) if found else []
    if not seeds:
        return None
    return Scores(
        arm, tuple(found), tuple(seeds), np.array([[values[seed] for values in found.values()] for seed in seeds])
    )


def mean_returns(
    study: AgentStudy, arm: str, tasks: Sequence[str] = tuple(TASKS), *, algorithm: str = "ppo", domain: str = "source"
) -> Scores | None:
    """Mean return of every seed of an arm, as `normalised_scores` but in the units of the tasks."""
    return _matrix(study, arm, tasks, algorithm, domain, None)


def normalised_scores(
    study: AgentStudy, arm: str, tasks: Sequence[str] = tuple(TASKS), *, algorithm: str = "ppo", domain: str = "source"
) -> Scores | None:
    """Normalised mean return of every seed of an arm.

    0 is the mean of the random policy in that domain; 1 is as far above it as the agents on ground-truth factors are in
    the source, whatever the domain, so that a fall in a target shows.

    Args:
        study: what is finished.
        arm: key of `ARMS`.
        tasks: keys of `TASKS`; those without finished agents of this arm, or without `anchors_of`, are left out.
        algorithm: ppo, sac or dqn.
        domain: where the agents were evaluated.

    Returns:
        Scores of the seeds that are finished on all tasks that are left; None where none is.
    """
    anchors = {task: found for task in tasks if (found := anchors_of(study, task, algorithm)) is not None}
    return _matrix(study, arm, tasks, algorithm, domain, anchors)


def returns_of(study: AgentStudy, task: str, algorithm: str = "ppo") -> dict[str, dict[int, float]]:
    """Arm -> seed -> return in the source, normalised where it can be."""
    anchors = anchors_of(study, task, algorithm)
    returns = {
        arm: {agent.seed: agent.mean_return() for agent in agents if agent.returns.get("source")}
        for arm, agents in study.of(task, algorithm).items()
    }
    if anchors is None:
        return returns
    return {arm: {seed: anchors.normalised(value) for seed, value in values.items()} for arm, values in returns.items()}
