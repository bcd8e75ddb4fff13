"""Which score of an encoder says how well an agent does on its codes: rank correlations over the encoders of a task."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from statistics import fmean

import numpy as np
from scipy.stats import rankdata

from experiments.agents.analysis import REPETITIONS
from experiments.agents.arms import ARMS
from experiments.agents.results import AgentResult, AgentStudy, EncoderResult
from experiments.agents.scores import RANDOM, Matrix
from experiments.agents.transfer import mean_share_kept, mean_target_return

MIN_POINTS = 5
"""Fewer give no rank correlation."""
MIN_POINTS_OF_INTERVAL = 10
"""A bootstrap of fewer points, many of them drawn twice, has intervals that say nothing."""
OUTCOMES = {
    "source": "return in the source",
    "targets": "mean return over the target domains",
    "kept": "mean share kept in the target domains",
}
"""What is to be foretold -> in words."""


@dataclasses.dataclass(frozen=True)
class Point:
    """An encoder and the agent that learned on its frozen codes, with the same seed."""

    encoder: EncoderResult
    agent: AgentResult
    outcomes: Mapping[str, float | None]
    """Key of `OUTCOMES` -> value."""


@dataclasses.dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of a score and an outcome over the encoders of a task."""

    task: str
    score: str
    outcome: str
    """Key of `OUTCOMES`."""
    rho: float | None
    """-1..1 over the points, each an encoder and a seed; None with fewer than `MIN_POINTS`, or a constant column."""
    low: float | None
    """95 % bootstrap interval, the points drawn anew as if they were independent. Seeds of one kind of encoder are
    not, so that it is too narrow. None with fewer than `MIN_POINTS_OF_INTERVAL`."""
    high: float | None
    count: int
    """Points that have both."""
    rho_of_means: float | None
    """The same over the means of every kind of encoder; None under the same conditions."""
    kinds: int
    """Kinds of encoder among the points."""


def spearman(first: Matrix, second: Matrix) -> Matrix:
    """Rank correlation along the last axis: (..., n) and (..., n) -> (...); NaN where one of them is constant."""
    ranks = [rankdata(values, axis=-1) for values in (first, second)]
    centred = [values - values.mean(-1, keepdims=True) for values in ranks]
    scale = np.sqrt((centred[0] ** 2).sum(-1) * (centred[1] ** 2).sum(-1))
    return np.divide((centred[0] * centred[1]).sum(-1), scale, out=np.full(scale.shape, np.nan), where=scale > 0)


def score_names(encoders: Iterable[EncoderResult]) -> list[str]:
    """The scores that some encoders have, in the order of the one with the most, which has those of pictures too."""
    longest_first = sorted(encoders, key=lambda encoder: -len(encoder.scores))
    return list(dict.fromkeys(name for encoder in longest_first for name in encoder.scores))


def points_of(study: AgentStudy, task: str, algorithm: str = "ppo") -> list[Point]:
    """The encoders of a task that have an agent on their frozen codes."""
    arms = study.of(task, algorithm)
    by_encoder = {
        (ARMS[arm].encoder, agent.seed): agent for arm, agents in arms.items() if ARMS[arm].frozen for agent in agents
    }
    randoms = arms.get(RANDOM, [])
    points = []
    for encoder in study.encoders:
        agent = by_encoder.get((encoder.encoder, encoder.seed))
        if encoder.task != task or agent is None:
            continue
        outcomes = {
            "source": agent.mean_return() if agent.returns.get("source") else None,
            "targets": mean_target_return(agent),
            "kept": mean_share_kept(agent, randoms),
        }
        points.append(Point(encoder, agent, outcomes))
    return points


def correlations(
    study: AgentStudy, task: str, algorithm: str = "ppo", *, repetitions: int = REPETITIONS
) -> list[Correlation]:
    """Every score of the encoders of a task against every outcome.

    Args:
        study: what is finished.
        task: key of `TASKS`.
        algorithm: ppo or sac.
        repetitions: of the bootstrap, from the same random state each.

    Returns:
        By score, in the order of the encoders' scores, then by outcome; none without points.
    """
    points = points_of(study, task, algorithm)
    names = score_names(point.encoder for point in points)
    return [_correlation(points, task, name, outcome, repetitions) for name in names for outcome in OUTCOMES]


def _correlation(points: list[Point], task: str, score: str, outcome: str, repetitions: int) -> Correlation:
    pairs = [
        (point.encoder.encoder, float(value), float(reached))
        for point in points
        if (value := point.encoder.scores.get(score)) is not None and (reached := point.outcomes[outcome]) is not None
    ]
    kinds: dict[str, list[tuple[float, float]]] = {}
    for kind, value, reached in pairs:
        kinds.setdefault(kind, []).append((value, reached))
    means = [tuple(fmean(column) for column in zip(*members, strict=True)) for members in kinds.values()]
    rho, low, high = _with_interval(np.array([pair[1:] for pair in pairs], float).reshape(-1, 2), repetitions)
    of_means, _, _ = _with_interval(np.array(means, float).reshape(-1, 2), 0)
    return Correlation(task, score, outcome, rho, low, high, len(pairs), of_means, len(kinds))


def _with_interval(values: Matrix, repetitions: int) -> tuple[float | None, float | None, float | None]:
    """Rank correlation of (n, 2) and its interval."""
    if len(values) < MIN_POINTS or not (np.ptp(values, axis=0) > 0).all():
        return None, None, None
    rho = float(spearman(values[:, 0], values[:, 1]))
    if not repetitions or len(values) < MIN_POINTS_OF_INTERVAL:
        return rho, None, None
    drawn = values[np.random.default_rng(0).integers(len(values), size=(repetitions, len(values)))]
    found = spearman(drawn[..., 0], drawn[..., 1])
    low, high = np.quantile(found[np.isfinite(found)], (0.025, 0.975))
    return rho, float(low), float(high)
