"""Which score of an encoder says how well an agent does on its codes: rank correlations over the encoders of a task."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Mapping
from statistics import fmean

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from experiments.agents.arms import ARMS
from experiments.agents.results import AgentResult, AgentStudy, EncoderResult
from experiments.agents.scores import RANDOM, Matrix
from experiments.agents.transfer import mean_share_kept, mean_target_return

MIN_POINTS = 5
"""Fewer give no rank correlation."""
CHANCE = 0.05
"""A p-value below it is called clear."""
_ALL_ORDERS = 8
"""Kinds of which every order is tried; of more, random ones."""
_RANDOM_ORDERS = 20_000
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
    """-1..1 over the points, each an encoder and a seed; None with fewer than `MIN_POINTS`, or a constant column. Seeds
    of one kind of encoder are not independent, so that no interval of theirs is to be trusted: one of a bootstrap of
    the points leaves 0 out for 15 to 35 % of the scores that have nothing to do with the outcome."""
    count: int
    """Points that have both."""
    rho_of_means: float | None
    """The same over the means of every kind of encoder; None under the same conditions."""
    kinds: int
    """Kinds of encoder among the points."""
    p: float | None
    """How often |rho_of_means| is at least this large when the outcomes are dealt out to the kinds in every order:
    below 0.05 for at most 5 % of the scores that have nothing to do with the outcome."""
    p_of_all: float | None
    """How often that of any score of the same task and outcome is at least this large then (Westfall and Young 1993):
    below 0.05 for some score in at most 5 % of the studies in which none has to do with the outcome."""


def _unit_ranks(values: Matrix) -> Matrix:
    """Ranks along the last axis, centred, of length 1; NaN where all are equal."""
    ranks = rankdata(values, axis=-1)
    centred = ranks - ranks.mean(-1, keepdims=True)
    length = np.sqrt((centred**2).sum(-1, keepdims=True))
    return np.divide(centred, length, out=np.full(centred.shape, np.nan), where=length > 0)


def spearman(first: Matrix, second: Matrix) -> Matrix:
    """Rank correlation along the last axis: (..., n) and (..., n) -> (...); NaN where one of them is constant."""
    return np.asarray((_unit_ranks(first) * _unit_ranks(second)).sum(-1))


@functools.lru_cache
def _orders(kinds: int) -> npt.NDArray[np.int64]:
    """(orders, kinds): ways to deal out outcomes to kinds, the given one first."""
    if kinds <= _ALL_ORDERS:
        return np.array(list(itertools.permutations(range(kinds))), np.int64)
    given = np.arange(kinds)
    drawn = np.random.default_rng(0).permuted(np.tile(given, (_RANDOM_ORDERS, 1)), axis=1)
    return np.concatenate((given[None], drawn))


def chances(scores: Matrix, outcome: Matrix) -> tuple[Matrix, Matrix]:
    """How often chance alone gives rank correlations as strong as those of some scores with an outcome.

    Args:
        scores: (scores, kinds), means over the seeds of each kind; NaN where a kind lacks one.
        outcome: (kinds,).

    Returns:
        (scores,) each, `Correlation.p` and `Correlation.p_of_all`; NaN with fewer than `MIN_POINTS` kinds, or where all
        are equal.
    """
    if len(outcome) < MIN_POINTS:
        return np.full(len(scores), np.nan), np.full(len(scores), np.nan)
    orders = _orders(len(outcome))
    known = np.isfinite(scores)
    strengths = np.abs(_unit_ranks(scores) @ _unit_ranks(outcome)[orders].T)  # (scores, orders)
    for row in np.flatnonzero(~known.all(1)):
        strengths[row] = np.nan
        if known[row].sum() >= MIN_POINTS:
            dealt = outcome[orders][:, known[row]]
            strengths[row] = np.abs(_unit_ranks(dealt) @ _unit_ranks(scores[row, known[row]]))
    # in other orders the kinds that have a score may be dealt equal outcomes
    strengths = np.where(np.isnan(strengths[:, :1]), np.nan, np.nan_to_num(strengths))
    given = strengths[:, 0] - 1e-9  # rounding must not part what is equal
    alone = (strengths >= given[:, None]).mean(1)
    of_all = (np.fmax.reduce(strengths, axis=0, initial=0.0) >= given[:, None]).mean(1)
    return np.where(np.isnan(given), np.nan, alone), np.where(np.isnan(given), np.nan, of_all)


def score_names(encoders: Iterable[EncoderResult]) -> list[str]:
    """The scores that some encoders have, in the order of the one with the most, which has those of pictures too."""
    longest_first = sorted(encoders, key=lambda encoder: -len(encoder.scores))
    return list(dict.fromkeys(name for encoder in longest_first for name in encoder.scores))


def points_of(study: AgentStudy, task: str, algorithm: str = "ppo") -> list[Point]:
    """The encoders of a task that have an agent on their frozen codes."""
    arms = study.of(task, algorithm)
    by_encoder = {
        (ARMS[arm].encoder, agent.seed): agent for arm, agents in arms.items() if ARMS[arm].plain for agent in agents
    }
    randoms = arms.get(RANDOM, [])
    points = []
    for encoder in study.encoders:
        agent = by_encoder.get((encoder.encoder, encoder.seed))
        if encoder.task != task or agent is None or not _same(encoder, agent):
            continue
        outcomes = {
            "source": agent.mean_return() if agent.returns.get("source") else None,
            "targets": mean_target_return(agent),
            "kept": mean_share_kept(agent, randoms),
        }
        points.append(Point(encoder, agent, outcomes))
    return points


def _same(encoder: EncoderResult, agent: AgentResult) -> bool:
    """Whether an agent learned on that encoder, and not on one of the same name that was trained anew."""
    return None in (encoder.fingerprint, agent.encoder) or encoder.fingerprint == agent.encoder


def correlations(study: AgentStudy, task: str, algorithm: str = "ppo") -> list[Correlation]:
    """Every score of the encoders of a task against every outcome.

    Args:
        study: what is finished.
        task: key of `TASKS`.
        algorithm: ppo, sac or dqn.

    Returns:
        By score, in the order of the encoders' scores, then by outcome; none without points.
    """
    points = points_of(study, task, algorithm)
    names = score_names(point.encoder for point in points)
    by_outcome = {outcome: _of_outcome(points, task, names, outcome) for outcome in OUTCOMES}
    return [by_outcome[outcome][place] for place in range(len(names)) for outcome in OUTCOMES]


def _of_outcome(points: list[Point], task: str, names: list[str], outcome: str) -> list[Correlation]:
    reached = [(point, value) for point in points if (value := point.outcomes[outcome]) is not None]
    kinds = list(dict.fromkeys(point.encoder.encoder for point, _ in reached))
    outcomes = np.array([fmean(value for point, value in reached if point.encoder.encoder == kind) for kind in kinds])
    means, of_points = np.full((len(names), len(kinds)), np.nan), []
    for row, name in enumerate(names):
        pairs = [
            (point.encoder.encoder, float(score), value)
            for point, value in reached
            if (score := point.encoder.scores.get(name)) is not None
        ]
        of_points.append(np.array([pair[1:] for pair in pairs], float).reshape(-1, 2))
        for column, kind in enumerate(kinds):
            of_kind = [score for its_kind, score, _ in pairs if its_kind == kind]
            means[row, column] = fmean(of_kind) if of_kind else np.nan
    found = []
    for name, points_of_score, means_of_score, p, p_of_all in zip(
        names, of_points, means, *chances(means, outcomes), strict=True
    ):
        known = np.isfinite(means_of_score)
        of_means = _rho(np.stack((means_of_score[known], outcomes[known]), axis=1))
        both = (None, None) if of_means is None else (float(p), float(p_of_all))
        rho, count = _rho(points_of_score), len(points_of_score)
        found.append(Correlation(task, name, outcome, rho, count, of_means, int(known.sum()), *both))
    return found


def _rho(values: Matrix) -> float | None:
    """Rank correlation of (n, 2); None of too few or constant ones."""
    if len(values) < MIN_POINTS or not (np.ptp(values, axis=0) > 0).all():
        return None
    return float(spearman(values[:, 0], values[:, 1]))
