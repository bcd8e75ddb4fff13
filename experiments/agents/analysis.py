"""Aggregates of agents over tasks and seeds: interquartile mean, probability of improvement, performance profiles.

The aggregates are those of Agarwal et al. 2021, https://arxiv.org/abs/2108.13264, by their package rliable. Their
intervals are not: a bootstrap of so few seeds is too narrow (`experiments.measure.intervals` has what is used instead).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from experiments.agents.arms import ARMS, LEARNED_NOTHING, SECOND_ROUND, UNTRAINED
from experiments.agents.results import AgentStudy
from experiments.agents.scores import Matrix, Scores, mean_returns, normalised_scores
from experiments.agents.tasks import TASKS
from experiments.measure.intervals import improvement_interval, interquartile_half_widths

MIN_SEEDS = 3
"""Fewer seeds have no interval of an aggregate: that of two is as wide as nine times their standard deviation."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An aggregate and its 95 % interval."""

    value: float
    low: float | None
    """None with fewer than `MIN_SEEDS` seeds."""
    high: float | None
    seeds: int
    """Of the arm with the fewest."""
    tasks: tuple[str, ...]
    """What it is over."""


@dataclasses.dataclass(frozen=True)
class Improvement:
    """How probable it is that an agent of the first arm does better than one of the second."""

    first: str
    second: str
    probability: Estimate
    """Over tasks; 0.5 where neither is better, equal returns counting half."""


def _metrics() -> Any:
    try:
        from rliable import metrics
    except ImportError as error:
        raise ImportError(
            "the analysis of agents takes its aggregates from rliable, which is not installed: "
            "pip install 'sparse-repr[agents]'"
        ) from error
    return metrics


def iqm(scores: Scores) -> Estimate:
    """Interquartile mean over seeds and tasks.

    Raises:
        ImportError: rliable is not installed.
    """
    value, count = float(_metrics().aggregate_iqm(scores.values)), len(scores.seeds)
    if count < MIN_SEEDS:
        return Estimate(value, None, None, count, scores.tasks)
    half = float(interquartile_half_widths(scores.values))
    return Estimate(value, value - half, value + half, count, scores.tasks)


def iqm_of_arms(
    study: AgentStudy,
    tasks: Sequence[str] = tuple(TASKS),
    *,
    algorithm: str = "ppo",
    domain: str = "source",
) -> dict[str, Estimate]:
    """IQM of the normalised scores of the arms that can be compared over these tasks, in the order of `ARMS`.

    Arguments as above. An arm that lacks a task which others have is left out: its mean is that of an easier or harder
    study.
    """
    found = _comparable_scores(study, tasks, algorithm, domain)
    return {arm: iqm(scores) for arm, scores in found.items()}


def _comparable_scores(study: AgentStudy, tasks: Sequence[str], algorithm: str, domain: str) -> dict[str, Scores]:
    """The normalised scores of the arms that have all those of the tasks that any arm has."""
    scores = {arm: normalised_scores(study, arm, tasks, algorithm=algorithm, domain=domain) for arm in ARMS}
    return _of_all_tasks(scores)


def _of_all_tasks(scores: Mapping[str, Scores | None]) -> dict[str, Scores]:
    """Those that have all tasks that any of them has; none where each lacks one."""
    found = {arm: one for arm, one in scores.items() if one is not None}
    begun = {task for one in found.values() for task in one.tasks}
    return {arm: one for arm, one in found.items() if set(one.tasks) == begun}


def improvement(
    study: AgentStudy,
    first: str,
    second: str,
    tasks: Sequence[str] = tuple(TASKS),
    *,
    algorithm: str = "ppo",
    domain: str = "source",
) -> Improvement | None:
    """Probability that a run of one arm has a higher mean return than one of another, over the tasks that both have.

    The mean over these tasks, on each of all seeds that an arm has there.

    Returns:
        None where an arm has fewer than `MIN_SEEDS` seeds on one of them, or no task is common.

    Raises:
        ImportError: rliable is not installed.
    """
    common = [task for task in tasks if {first, second} <= set(study.of(task, algorithm))]
    values, counts, played = [], [], []
    for task in common:
        found = [mean_returns(study, arm, [task], algorithm=algorithm, domain=domain) for arm in (first, second)]
        one, other = found
        if one is None or other is None:
            continue
        values.append(min(1.0, float(_metrics().probability_of_improvement(one.values, other.values))))
        counts.append(min(len(one.seeds), len(other.seeds)))
        played.append(task)
    if not played or min(counts) < MIN_SEEDS:
        return None
    value, count = fmean(values), min(counts)
    low, high = improvement_interval(value, count, len(played))
    return Improvement(first, second, Estimate(value, low, high, count, tuple(played)))


def best_frozen(study: AgentStudy, tasks: Sequence[str] = tuple(TASKS), *, algorithm: str = "ppo") -> str | None:
    """The arm with a frozen, pretrained encoder that does best in the source.

    By its mean return on a single task, else by the IQM of its normalised scores; of the arms with `MIN_SEEDS` seeds,
    if there are any, those that have all tasks that any of these has. It is chosen by the numbers that it is then
    compared with, which favours it.

    Raises:
        ImportError: rliable is not installed, and there are several tasks.
    """
    frozen = [arm for arm, settings in ARMS.items() if settings.frozen and settings.encoder not in LEARNED_NOTHING]
    begun = [task for task in tasks if any(arm in study.of(task, algorithm) for arm in frozen)]
    take = mean_returns if len(begun) == 1 else normalised_scores
    scores = {arm: take(study, arm, begun, algorithm=algorithm) for arm in frozen}
    # of one with fewer nothing could be told then, and the others would have no best one
    enough = {arm: one for arm, one in scores.items() if one is not None and len(one.seeds) >= MIN_SEEDS}
    found = _of_all_tasks(enough or scores)
    means = {
        arm: float(scores.values.mean()) if len(begun) == 1 else float(_metrics().aggregate_iqm(scores.values))
        for arm, scores in found.items()
    }
    return max(means, key=means.__getitem__, default=None)


def compared_pairs(
    study: AgentStudy, tasks: Sequence[str] = tuple(TASKS), *, algorithm: str = "ppo"
) -> list[tuple[str, str]]:
    """The pairs of arms that answer the study's questions, whether or not they are finished.

    Every pretrained encoder against the untrained one, sparse against VAE and β-VAE, with perceptual loss against
    without, stronger L1 penalties against VAE and the usual one, denoised and robust encoders against those that saw
    clean frames, encoders of a second round against those of the first, sparse keypoints against keypoints and VAE,
    every recoded code against itself, expanded VAE and sparse codes and sparse keypoints against pixels, every
    fine-tuned encoder against itself frozen and against pixels, and the frozen one that is best on these tasks against
    pixels.
    """
    frozen = {str(arm.encoder): name for name, arm in ARMS.items() if arm.plain}
    pairs = [(name, frozen[UNTRAINED]) for encoder, name in frozen.items() if encoder != UNTRAINED]
    pairs += [("sparse", "vae"), ("sparse", "beta_vae"), ("sparse_perceptual", "sparse")]
    pairs += [(stronger, weaker) for stronger in ("sparse_4", "sparse_16") for weaker in ("vae", "sparse")]
    pairs += [("vae_denoised", "vae"), ("sparse_keypoints_denoised", "sparse_keypoints_10")]
    pairs += [("vae_robust", "vae"), ("sparse_keypoints_robust", "sparse_keypoints")]
    pairs += list(SECOND_ROUND.items())
    pairs += [("sparse_keypoints", "keypoints"), ("sparse_keypoints", "vae"), *recoded_pairs()]
    pairs += [(arm, "pixels") for arm in ("vae_expand", "sparse_expand", "sparse_keypoints")]
    tuned = {name: frozen[str(arm.encoder)] for name, arm in ARMS.items() if arm.fine_tuned}
    pairs += [(name, other) for name, itself in tuned.items() for other in (itself, "pixels")]
    best = best_frozen(study, tasks, algorithm=algorithm)
    return pairs if best is None else [*(pair for pair in pairs if pair != (best, "pixels")), (best, "pixels")]


def recoded_pairs() -> list[tuple[str, str]]:
    """Every arm whose codes are recoded, with the one that learns at the same rate from the same codes themselves."""
    plain = {arm.encoder: name for name, arm in ARMS.items() if arm.plain}
    return [(name, plain[arm.encoder]) for name, arm in ARMS.items() if arm.recode and arm.rate is None]


def performance_profiles(
    study: AgentStudy,
    thresholds: Matrix,
    tasks: Sequence[str] = tuple(TASKS),
    *,
    algorithm: str = "ppo",
    domain: str = "source",
) -> dict[str, Matrix]:
    """Share of the runs, over seeds and tasks, whose normalised score is above each threshold, by arm.

    An arm that lacks a task which others have is left out.

    Args:
        study: what is finished.
        thresholds: (k,), normalised scores.
        tasks: keys of `TASKS`.
        algorithm: ppo, sac or dqn.
        domain: where the agents were evaluated.

    Returns:
        Arm -> (k,), 0..1.
    """

    def shares(values: Matrix) -> Matrix:
        ordered = np.sort(values, axis=None)
        return 1 - np.searchsorted(ordered, thresholds, side="right") / values.size

    found = _comparable_scores(study, tasks, algorithm, domain)
    return {arm: shares(scores.values) for arm, scores in found.items()}
