"""Scores that fix one factor and look at what the code does: BetaVAE score, FactorVAE score, IRS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from sparse_repr.metrics.linear import fit_logistic
from sparse_repr.metrics.sampling import SharedValues, draw_items, require_repeated
from sparse_repr.metrics.validation import check_codes_and_factors, require_counts

FloatArray = npt.NDArray[np.float64]
# Points made at a time: their codes take some ten megabytes.
_POINTS_AT_ONCE = 1000


def _draw_points(
    points: int, factors: int, rng: np.random.Generator, make: Callable[[int, int], npt.NDArray[Any]]
) -> tuple[list[npt.NDArray[Any]], npt.NDArray[np.int64]]:
    """Points made by make(factor, how many), a random fixed factor for each, and which factor that is."""
    count = np.bincount(rng.integers(0, factors, points), minlength=factors)
    made = [
        make(factor, min(_POINTS_AT_ONCE, int(count[factor]) - start))
        for factor in range(factors)
        for start in range(0, int(count[factor]), _POINTS_AT_ONCE)
    ]
    return made, np.repeat(np.arange(factors), count)


def beta_vae_score(
    codes: Any,
    factors: Any,
    *,
    seed: int = 0,
    batch_size: int = 64,
    train: int = 10_000,
    test: int = 5_000,
) -> float:
    """Accuracy of telling which factor two items share, from how much their codes differ.

    The disentanglement metric of Higgins et al. 2017. A point is the mean of |c_1 - c_2| over `batch_size` pairs, each
    of which shares one value of factor k; a logistic regression predicts k. Deviations: the differences are
    standardised before the regression, so that its penalty does not depend on the scale of the units, and pairs are
    drawn from the items given: two different ones, of values that occur more than once.

    Args:
        codes: (N, D).
        factors: (N, K) integer indices, K at least 2, whose values occur more than once.
        seed: of the draw.
        batch_size: pairs averaged into one point.
        train: points that the classifier is trained on.
        test: points on which it is scored.

    Returns:
        0..1, higher is better; chance is 1 / K; 0 for a code without a live unit.

    Raises:
        TypeError, ValueError: arrays of the wrong shape or dtype, NaN, a constant or continuous factor, or no pair or
            point.

    Example:
        >>> factors = np.argwhere(np.ones((3, 4))).repeat(50, axis=0)  # (600, 2): every pair of values 50 times
        >>> beta_vae_score(factors, factors, train=300, test=300)
        1.0
    """
    require_counts(batch_size=batch_size, train=train, test=test)
    array, indices = check_codes_and_factors(codes, factors, least_factors=2)
    rng = np.random.default_rng(seed)
    shared = SharedValues(indices)
    if not array.shape[1]:
        return 0.0

    def differences(factor: int, points: int) -> FloatArray:
        first = shared.draw((points, batch_size), factor, rng)
        second = shared.partners(first, factor, rng)
        return np.asarray(np.abs(array[first] - array[second]).mean(axis=1, dtype=np.float64))  # (points, D)

    parts = [_draw_points(points, indices.shape[1], rng, differences) for points in (train, test)]
    (train_x, train_y), (test_x, test_y) = ((np.concatenate(made), label) for made, label in parts)
    return float((fit_logistic(train_x, train_y).predict(test_x) == test_y).mean())


def factor_vae_score(
    codes: Any,
    factors: Any,
    *,
    seed: int = 0,
    batch_size: int = 64,
    train: int = 10_000,
    test: int = 5_000,
    variance_samples: int = 10_000,
    least_std: float = 0.05,
) -> float:
    """Accuracy of a majority vote: the unit that varies least, relative to its variance, names the fixed factor.

    The metric of Kim & Mnih 2018. A vote is argmin_d of the variance of c_d over `batch_size` items that share one
    value of factor k, divided by its variance over all items. Deviation: items are drawn from those given, of values
    that occur more than once.

    Args:
        codes: (N, D).
        factors: (N, K) integer indices, K at least 2, whose values occur more than once.
        seed: of the draw.
        batch_size: items per vote, at least 2.
        train: votes from which each unit's majority factor is taken.
        test: votes on which it is scored.
        variance_samples: items over which the variance of each unit is taken (ddof 1).
        least_std: units below this standard deviation take no part; it is absolute, so this score is not invariant
            to rescaling the code.

    Returns:
        0..1, higher is better; chance is 1 / K; 0 where no unit takes part.

    Raises:
        TypeError, ValueError: as `beta_vae_score`.

    Example:
        >>> factors = np.argwhere(np.ones((3, 4))).repeat(50, axis=0)  # (600, 2): every pair of values 50 times
        >>> tangled = factors @ [[1, 1], [1, -1]]  # the sum and the difference
        >>> factor_vae_score(factors, factors)
        1.0
        >>> factor_vae_score(tangled, factors) < 0.6  # chance is 0.5
        True
    """
    require_counts(2, batch_size=batch_size)  # one item alone has no variance
    require_counts(train=train, test=test)
    array, indices = check_codes_and_factors(codes, factors, least_factors=2)
    rng = np.random.default_rng(seed)
    shared = SharedValues(indices)
    variance = array[draw_items(len(array), variance_samples, rng)].var(axis=0, ddof=1, dtype=np.float64)
    taking_part = np.sqrt(variance) >= least_std
    if not taking_part.any():
        return 0.0
    array, variance = array[:, taking_part], variance[taking_part]

    def votes(factor: int, points: int) -> npt.NDArray[np.int64]:
        first = shared.draw((points, 1), factor, rng)
        items = shared.alike(np.repeat(first, batch_size, axis=1), factor, rng)
        local = array[items].var(axis=1, ddof=1, dtype=np.float64)  # (points, D)
        return np.argmin(local / variance, axis=1)

    parts = [_draw_points(points, indices.shape[1], rng, votes) for points in (train, test)]
    (train_votes, train_y), (test_votes, test_y) = ((np.concatenate(made), label) for made, label in parts)
    count = np.zeros((array.shape[1], indices.shape[1]), dtype=np.int64)
    np.add.at(count, (train_votes, train_y), 1)
    return float((count.argmax(axis=1)[test_votes] == test_y).mean())


def irs_score(codes: Any, factors: Any, *, seed: int = 0, samples: int = 10_000, quantile: float = 0.99) -> float:
    """Interventional robustness: how little a unit moves while the one factor that it stands for is fixed.

    Suter et al. 2019: 1 - (mean over values c of the `quantile` of |c_d - E[c_d | v_k = c]|
    over the items with v_k = c) / max |c_d - E[c_d]|, of the best factor for each unit, averaged over units weighted
    by that maximum. Deviations: the quantile of the published code (0.99) instead of the paper's maximum, and values
    that one item alone has are left out, around which nothing can move. A unit's mean over few items with a value
    follows them, so that the fewer there are, the higher noise scores: 0.3 with 500 items per value, 0.6 with 7.

    Args:
        codes: (N, D).
        factors: (N, K) integer indices.
        seed: of the draw.
        samples: different items drawn; all where there are no more.
        quantile: 0..1, of the deviations.

    Returns:
        0..1, higher is better; 0 for a code without a live unit. A unit that depends on several factors can still
        score high for one of them. Its half-sample interval covers some 83 %, not 95 % (`bootstrap_interval`).

    Raises:
        TypeError, ValueError: as `beta_vae_score`, or `quantile` outside 0..1.

    Example:
        >>> factors = np.argwhere(np.ones((3, 4))).repeat(50, axis=0)  # (600, 2): every pair of values 50 times
        >>> tangled = factors @ [[1, 1], [1, -1]]  # the sum and the difference
        >>> round(irs_score(factors, factors), 2), round(irs_score(tangled, factors), 2)
        (1.0, 0.6)
    """
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile needs a number in 0..1, got {quantile}")
    array, indices = check_codes_and_factors(codes, factors)
    items = draw_items(len(array), samples, np.random.default_rng(seed))
    array, indices = array[items].astype(np.float64), indices[items]
    if not array.shape[1]:
        return 0.0
    largest = np.abs(array - array.mean(axis=0)).max(axis=0)  # (D,)
    require_repeated(indices)
    deviations = np.zeros((indices.shape[1], array.shape[1]))
    for k, column in enumerate(indices.T):
        present, counts = np.unique(column, return_counts=True)
        values = present[counts > 1]
        for value in values:
            group = array[column == value]
            deviations[k] += np.quantile(np.abs(group - group.mean(axis=0)), quantile, axis=0) / len(values)
    moving = largest > 0
    if not moving.any():
        return 0.0
    robustness = 1 - (deviations[:, moving] / largest[moving]).min(axis=0)
    return float(np.average(robustness, weights=largest[moving]).clip(0, 1))
