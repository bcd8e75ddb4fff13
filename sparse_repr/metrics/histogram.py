"""Scores from histograms of mean codes: the histogram MIG and modularity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sparse_repr.metrics.information import factor_entropies, mig_score
from sparse_repr.metrics.sampling import draw_items
from sparse_repr.metrics.validation import check_codes_and_factors, require_counts


def mig_histogram_score(
    codes: Any,
    factors: Any,
    *,
    seed: int = 0,
    samples: int = 10_000,
    bins: int = 20,
    include: Sequence[int] | None = None,
    exclude: Sequence[int] = (),
) -> float:
    """MIG from a histogram of mean codes: discrete mutual information, divided by the empirical H(v_k).

    The protocol of disentanglement_lib (Locatello et al. 2019): 10,000 random items, 20 equal-width bins per unit. Its
    numbers differ from `mig_score`; report it beside that one, never instead of it.

    Args:
        codes: (N, D) posterior means.
        factors: (N, K) integer indices.
        seed: of the draw; items are drawn with replacement, all are used when N <= samples.
        samples: number of items drawn.
        bins: equal-width bins between each unit's minimum and maximum.
        include: factor indices to average over; None means all.
        exclude: factor indices to leave out.

    Returns:
        0..1, higher is better; 0 for a code without a live unit.

    Raises:
        TypeError, ValueError: arrays of the wrong shape or dtype, NaN, a constant factor, or no factor left.

    Example:
        >>> factors = np.argwhere(np.ones((3, 4))).repeat(50, axis=0)  # (600, 2): every pair of values 50 times
        >>> tangled = factors @ [[1, 1], [1, -1]]  # the sum and the difference
        >>> round(mig_histogram_score(factors, factors), 3), round(mig_histogram_score(tangled, factors), 3)
        (1.0, 0.0)
    """
    require_counts(bins=bins)
    require_counts(2, samples=samples)
    array, indices = check_codes_and_factors(codes, factors)
    if not array.shape[1]:
        return 0.0
    if len(array) > samples:
        drawn = np.random.default_rng(seed).integers(0, len(array), samples)
        array, indices = array[drawn], indices[drawn]
        for k, column in enumerate(indices.T):
            if (column == column[0]).all():
                raise ValueError(
                    f"factors needs values that are not as rare: of column {k} only one is among {samples} random "
                    "items; leave the factor out, or give samples=len(codes)"
                )
    matrix = discrete_mutual_information(discretise(array, bins), indices)
    return mig_score(matrix, factor_entropies(indices), include=include, exclude=exclude)


def discretise(codes: npt.NDArray[Any], bins: int) -> npt.NDArray[np.int64]:
    """Equal-width bins of each unit between its minimum and maximum: (N, D) -> (N, D) in 0..bins-1."""
    low, high = codes.min(axis=0), codes.max(axis=0)
    width = np.where(high > low, high - low, 1)
    return np.minimum(((codes - low) / width * bins).astype(np.int64), bins - 1)


def discrete_mutual_information(
    binned: npt.NDArray[np.int64], factors: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Mutual information of each factor with each binned unit: (N, D) and (N, K) -> (K, D) nats."""
    matrix = np.empty((factors.shape[1], binned.shape[1]))
    for k, column in enumerate(factors.T):
        present, ranks = np.unique(column, return_inverse=True)
        values = len(present)
        for unit in range(binned.shape[1]):
            joint = np.bincount(binned[:, unit] * values + ranks).astype(np.float64)
            joint = np.pad(joint, (0, -len(joint) % values)).reshape(-1, values) / len(binned)
            independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
            seen = joint > 0
            matrix[k, unit] = (joint[seen] * np.log(joint[seen] / independent[seen])).sum()
    return matrix


def modularity_score(codes: Any, factors: Any, *, seed: int = 0, samples: int = 10_000, bins: int = 20) -> float:
    """Modularity: whether each unit has information about one factor only.

    Ridgeway & Mozer 2018, modularity: the mean over units of 1 - (sum_k m_dk^2 - max_k m_dk^2) / (max_k m_dk^2 (K - 1))
    with m_dk the mutual information of unit d and factor k, from `bins` equal-width bins. Units without information
    are left out (public code counts them as 0). Finite samples bias mutual information upwards, alike for all factors
    with the same number of values: pure noise scores 0.65 on dSprites, not 0.

    Args:
        codes: (N, D).
        factors: (N, K) integer indices, K at least 2.
        seed: of the draw.
        samples: different items drawn; all where there are no more.
        bins: equal-width bins between each unit's minimum and maximum.

    Returns:
        0..1, higher is better; 0 for a code without a live unit.

    Raises:
        TypeError, ValueError: as `mig_histogram_score`, or a single factor.

    Example:
        >>> factors = np.argwhere(np.ones((3, 4))).repeat(50, axis=0)  # (600, 2): every pair of values 50 times
        >>> tangled = factors @ [[1, 1], [1, -1]]  # the sum and the difference
        >>> round(modularity_score(factors, factors), 2), round(modularity_score(tangled, factors), 2)
        (1.0, 0.72)
    """
    require_counts(bins=bins)
    array, indices = check_codes_and_factors(codes, factors, least_factors=2)
    items = draw_items(len(array), samples, np.random.default_rng(seed))
    array, indices = array[items], indices[items]
    squares = discrete_mutual_information(discretise(array, bins), indices) ** 2  # (K, D)
    largest = squares.max(axis=0, initial=0)
    informative = largest > 1e-20
    if not informative.any():
        return 0.0
    squares, largest = squares[:, informative], largest[informative]
    return float((1 - (squares.sum(axis=0) - largest) / (largest * (len(squares) - 1))).mean())
