"""Scores of several encoders against each other, without factors: UDR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from sparse_repr.metrics.sampling import draw_items
from sparse_repr.metrics.validation import check_codes, live_units

FloatArray = npt.NDArray[np.float64]


class UDR(NamedTuple):
    """Result of `udr_scores`."""

    scores: FloatArray
    """(M,), 0..1: median agreement of each encoder with the others."""
    pairwise: FloatArray
    """(M, M), 0..1: agreement of two encoders; 1 on the diagonal by convention."""


def udr_scores(
    codes: Sequence[Any],
    kl_nats: Sequence[Any] | None = None,
    *,
    seed: int = 0,
    method: str = "spearman",
    samples: int = 10_000,
    least_kl_nats: float = 0.01,
) -> UDR:
    """Unsupervised disentanglement ranking: do encoders that differ in their seed find the same units?

    Duan et al. 2020. With R (D, D) the similarity of the units of two encoders,
    UDR = (sum_b max_a R_ab^2 / sum_a R_ab + sum_a max_b R_ab^2 / sum_b R_ab) / (D_a + D_b) over the informative units,
    and an encoder's score is the median over its partners.

    Deviations from the authors' code in disentanglement_lib. It averages the two means over units with equal weight,
    so that a unit of the encoder with fewer live ones counts more; here, as in the paper's formula, every unit counts
    the same (with unequal numbers of live units 0.652 where that code gives 0.728). By lasso, this score's pairs
    (a, b) predict the units of b from those of a and a's score is the median over b; that code takes the median over
    the encoders that predict a, which differs as the lasso is not symmetric.

    Args:
        codes: M arrays (N, D) of the same items, M at least 2, D equal.
        kl_nats: M arrays (D,), mean KL divergence of each unit; None counts all live units as informative.
        seed: of the draw.
        method: "spearman" (|rank correlation|) or "lasso" (|weights| with penalty 0.1 on standardised units).
        samples: different items drawn; all where there are no more.
        least_kl_nats: units at or below it are left out.

    Returns:
        Scores and pairwise agreements; 0 for an encoder without an informative unit.

    Raises:
        TypeError, ValueError: fewer than 2 encoders, different shapes, NaN, or an unknown method.

    Example:
        >>> codes = np.argwhere(np.ones((3, 4)))  # (12, 2)
        >>> udr_scores([codes, -codes[:, ::-1], codes @ [[1, 1], [1, -1]]]).scores.round(2)  # the last mixes its units
        array([0.71, 0.71, 0.41])
    """
    if len(codes) < 2:
        raise ValueError(f"udr_scores needs at least 2 encoders, got {len(codes)}")
    if method not in ("spearman", "lasso"):
        raise ValueError(f"method needs 'spearman' or 'lasso', got {method!r}")
    arrays = [check_codes(f"codes[{position}]", array) for position, array in enumerate(codes)]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ValueError(f"udr_scores needs codes of the same items and size D, got shapes {sorted(shapes)}")
    informative = [live_units(array) for array in arrays]
    if kl_nats is not None:
        divergences = [np.asarray(values, dtype=np.float64) for values in kl_nats]
        if len(divergences) != len(arrays) or any(values.shape != arrays[0].shape[1:] for values in divergences):
            raise ValueError(
                f"kl_nats needs {len(arrays)} arrays of {arrays[0].shape[1]} numbers, "
                f"got shapes {[values.shape for values in divergences]}"
            )
        if not all(np.isfinite(values).all() for values in divergences):
            raise ValueError("kl_nats needs finite numbers, got NaN or infinity")
        informative = [live & (kl > least_kl_nats) for live, kl in zip(informative, divergences, strict=True)]
    items = draw_items(len(arrays[0]), samples, np.random.default_rng(seed))
    prepared = [
        _standardised(array[items][:, units], ranks=method == "spearman")
        for array, units in zip(arrays, informative, strict=True)
    ]
    pairwise = np.eye(len(arrays))
    for first in range(len(arrays)):
        for second in range(len(arrays)):
            if first < second or (first != second and method == "lasso"):
                pairwise[first, second] = _agreement(prepared[first], prepared[second], method)
                if method == "spearman":
                    pairwise[second, first] = pairwise[first, second]
    others = ~np.eye(len(arrays), dtype=bool)
    scores = np.array([np.median(pairwise[row][others[row]]) for row in range(len(arrays))])
    return UDR(scores, pairwise)


def _standardised(codes: npt.NDArray[Any], *, ranks: bool) -> FloatArray:
    values = rankdata(codes, axis=0) if ranks and codes.size else codes.astype(np.float64)
    deviation = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1))


def _agreement(first: FloatArray, second: FloatArray, method: str) -> float:
    if not first.shape[1] or not second.shape[1]:
        return 0.0
    if method == "spearman":
        similarity = np.abs(first.T @ second) / len(first)
    else:
        from sklearn.linear_model import Lasso

        similarity = np.abs(Lasso(alpha=0.1).fit(first, second).coef_).reshape(second.shape[1], first.shape[1]).T
    parts = 0.0
    for matrix in (similarity, similarity.T):
        total = matrix.sum(axis=0)
        parts += float(np.divide(matrix.max(axis=0) ** 2, total, out=np.zeros_like(total), where=total > 0).sum())
    return min(1.0, parts / sum(similarity.shape))
