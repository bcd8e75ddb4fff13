"""95 % intervals of scores that depend on which items were drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparse_repr.metrics.validation import as_array, check_codes

_SEEDS = 2**32
"""Learners take seeds below it."""


class Interval(NamedTuple):
    """Result of `bootstrap_interval`."""

    score: float
    """On all items."""
    low: float
    """Lower end of the 95 % interval, at least 0."""
    high: float
    """Upper end, at most 1."""


def bootstrap_interval(
    metric: Callable[..., float], codes: Any, factors: Any, *, n_bootstrap: int = 100, seed: int = 0, **options: Any
) -> Interval:
    """A score and its 95 % interval over the choice of items, by half-sampling.

    Each of `n_bootstrap` repetitions scores a random half of the items with a seed of its own. Half-samples spread as
    much as whole samples do (1 / (N/2) - 1/N = 1/N; McCarthy 1969), and, unlike draws with replacement, put no item
    into both a training and a test part. The interval is the score plus the 2.5 % and 97.5 % quantiles of their
    deviations from their mean. It tells how much the score depends on the items and the draw, not on the training of
    the encoder: for that, evaluate several runs.

    For `irs`, which divides by the largest deviation of all items, the interval is too narrow: extremes do not spread
    as means do. In simulations it covered the score's expectation in 83 % of samples instead of 95 %.

    Args:
        metric: f(codes, factors, *, seed, **options) -> float, as in `METRICS`, whose are in 0..1.
        codes: (N, D), N at least 4.
        factors: (N, K).
        n_bootstrap: repetitions, at least 2.
        seed: of the halves and of the score.
        **options: handed to the metric.

    Returns:
        The score and the ends of its interval, clipped to 0..1 where it is in there on every half.

    Raises:
        TypeError, ValueError: as the metric, or too few items or repetitions, or values so rare that a half of the
            items cannot be scored.

    Example:
        >>> factors = np.argwhere(np.ones((3, 4))).repeat(50, axis=0)  # (600, 2): every pair of values 50 times
        >>> from sparse_repr.metrics import mig_histogram_score
        >>> score, low, high = bootstrap_interval(mig_histogram_score, factors, factors, n_bootstrap=20)
        >>> low <= score <= high
        True
    """
    found = bootstrap_intervals(_Alone(metric), codes, factors, n_bootstrap=n_bootstrap, seed=seed, **options)["score"]
    if isinstance(found, str):
        raise ValueError(found)
    return found


def bootstrap_intervals(
    family: Callable[..., Mapping[str, float]],
    codes: Any,
    factors: Any,
    *,
    n_bootstrap: int = 100,
    seed: int = 0,
    **options: Any,
) -> dict[str, Interval | str]:
    """What `bootstrap_interval` says of one score, of all scores that one fit gives together, from the same halves.

    Args:
        family: f(codes, factors, *, seed, **options) -> {name: score}, as in `FAMILIES`.
        codes: (N, D), N at least 4.
        factors: (N, K).
        n_bootstrap: repetitions, at least 2.
        seed: of the halves and of the scores.
        **options: handed to the family.

    Returns:
        Name -> the interval, or why there is none.

    Raises:
        TypeError, ValueError: as `bootstrap_interval`.

    Example:
        >>> factors = np.argwhere(np.ones((3, 4))).repeat(50, axis=0)  # (600, 2): every pair of values 50 times
        >>> from sparse_repr.metrics import FAMILIES
        >>> found = bootstrap_intervals(FAMILIES["dci_lasso"], factors, factors, n_bootstrap=5)
        >>> sorted(found)
        ['dci_lasso_completeness', 'dci_lasso_disentanglement', 'dci_lasso_informativeness']
    """
    if n_bootstrap < 2:
        raise ValueError(f"n_bootstrap needs at least 2 repetitions, got {n_bootstrap}")
    array, indices = check_codes("codes", codes), as_array(factors)
    if len(array) < 4:
        raise ValueError(f"bootstrap_interval needs at least 4 items, got {len(array)}")
    if decide := getattr(family, "decided_once", None):  # the halves take the score's own estimator
        options = {**decide(array), **options}
    scores = family(array, indices, seed=seed, **options)
    rng = np.random.default_rng(seed)
    halves = []
    for repetition in range(n_bootstrap):
        half = rng.choice(len(array), len(array) // 2, replace=False)
        try:
            halves.append(family(array[half], indices[half], seed=(seed + 1 + repetition) % _SEEDS, **options))
        except ValueError as error:
            raise ValueError(
                f"bootstrap_interval cannot score each half of these {len(array)} items: in one of them {error}. The "
                "score of all items stands; for an interval leave out the factor with the rare value, or give more"
            ) from error
    return {
        name: _interval(score, np.array([half[name] for half in halves], dtype=np.float64))
        for name, score in scores.items()
    }


def _interval(score: float, repeated: npt.NDArray[np.float64]) -> Interval | str:
    everything = np.append(repeated, score)
    finite = np.isfinite(everything)
    if not finite.all():
        return f"bootstrap_interval needs a score that is a number on every half, got {everything[~finite][0]}"
    low, high = score + np.quantile(repeated - repeated.mean(), (0.025, 0.975))
    if ((everything >= 0) & (everything <= 1)).all():  # else a score of one's own that has other ends
        low, high = np.clip((low, high), 0, 1)
    return Interval(float(score), float(low), float(high))


class _Alone:
    """A score as the only one of a family."""

    def __init__(self, metric: Callable[..., float]) -> None:
        self._metric = metric
        self.decided_once = getattr(metric, "decided_once", None)

    def __call__(self, codes: Any, factors: Any, **options: Any) -> dict[str, float]:
        return {"score": self._metric(codes, factors, **options)}
