"""Downstream probes: how well simple learners read each factor from the code."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sparse_repr.metrics.linear import fit_logistic
from sparse_repr.metrics.sampling import split_items
from sparse_repr.metrics.validation import as_array, check_codes, check_factors, live_units
from sparse_repr.registry import lookup

_PROBES = {"linear": "logistic or linear regression", "boosted": "histogram gradient boosting"}


def probe_scores(
    codes: Any, targets: Any, *, seed: int = 0, learner: str = "linear", train: int = 10_000, test: int = 5_000
) -> npt.NDArray[np.float64]:
    """Held-out accuracy (whole-number targets) or R² (real targets) of a probe for each factor.

    Träuble, Dittadi et al. 2022 relate such proxy tasks on a frozen code to the reward that an agent gets from it.

    Args:
        codes: (N, D).
        targets: (N, K): integers and truth values are classes, as in `dataset.factors`; floats are quantities, as in
            `dataset.factor_values`.
        seed: of the draw and of the learner.
        learner: "linear" (logistic or linear regression on standardised codes) or "boosted" (scikit-learn's histogram
            gradient boosting: its defaults for quantities, 20 rounds at rate 0.3 for classes).
        train: items that the probe is trained on.
        test: other items, on which it is scored.

    Returns:
        (K,), at most 1, higher is better; R² below 0 counts as 0. Zeros for a code without a live unit.

    Raises:
        TypeError, ValueError: arrays of the wrong shape or dtype, NaN, a constant target, an unknown learner.

    Example:
        >>> factors = np.argwhere(np.ones((3, 4))).repeat(50, axis=0)  # (600, 2): every pair of values 50 times
        >>> probe_scores(factors, factors)
        array([1., 1.])
    """
    lookup(_PROBES, learner, "probe")
    quantities = as_array(targets)
    if np.issubdtype(quantities.dtype, np.floating):
        array, values = _check_quantities(codes, quantities)
        wanted: npt.NDArray[Any] = values
        regression = True
    else:
        array = check_codes("codes", codes)
        wanted = check_factors(quantities, len(array), name="targets")
        array = array[:, live_units(array)]
        regression = False
    if not array.shape[1]:
        return np.zeros(wanted.shape[1])
    chosen, held_out = split_items(len(array), train, test, np.random.default_rng(seed))
    fit = _fit_regression if regression else _fit_classes
    scores = np.empty(wanted.shape[1])
    for k, column in enumerate(wanted.T):
        predicted = fit(array[chosen].astype(np.float64), column[chosen], learner, seed).predict(array[held_out])
        truth = column[held_out]
        if regression:
            spread = ((truth - truth.mean()) ** 2).sum()
            scores[k] = max(0.0, 1 - ((truth - predicted) ** 2).sum() / spread) if spread > 0 else 0.0
        else:
            scores[k] = (predicted == truth).mean()
    return scores


def _check_quantities(codes: Any, quantities: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    array = check_codes("codes", codes)
    wanted = check_codes("targets", quantities).astype(np.float64)
    if len(wanted) != len(array):
        raise ValueError(f"codes and targets need the same number of items, got {len(array)} and {len(wanted)}")
    constant = np.flatnonzero(np.ptp(wanted, axis=0) == 0)
    if len(constant):
        raise ValueError(f"targets needs at least 2 values in every column, but column {constant[0]} is constant")
    return array[:, live_units(array)], wanted


def _fit_classes(inputs: npt.NDArray[Any], labels: npt.NDArray[Any], learner: str, seed: int) -> Any:
    if learner == "linear" or (labels == labels[0]).all():
        return fit_logistic(inputs, labels)
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=20, learning_rate=0.3, random_state=seed).fit(inputs, labels)


def _fit_regression(inputs: npt.NDArray[Any], wanted: npt.NDArray[Any], learner: str, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if learner == "linear":
        return make_pipeline(StandardScaler(), LinearRegression()).fit(inputs, wanted)
    return HistGradientBoostingRegressor(random_state=seed).fit(inputs, wanted)


def linear_probe_score(codes: Any, factors: Any, *, seed: int = 0) -> float:
    """Mean over factors of `probe_scores` with the linear learner: held-out accuracy, 0..1; of integer indices alone.

    Example:
        >>> codes = np.arange(600)[:, None] % 3
        >>> linear_probe_score(codes, codes)
        1.0
        >>> linear_probe_score(codes, np.where(codes == 1, 1, 0)) < 0.8  # no line cuts out the middle
        True
    """
    return _mean_accuracy(codes, factors, "linear", seed)


def boosted_probe_score(codes: Any, factors: Any, *, seed: int = 0) -> float:
    """Mean over factors of `probe_scores` with the boosted learner: held-out accuracy, 0..1; of integer indices alone.

    Example:
        >>> codes = np.arange(600)[:, None] % 3
        >>> boosted_probe_score(codes, np.where(codes == 1, 1, 0))
        1.0
    """
    return _mean_accuracy(codes, factors, "boosted", seed)


def _mean_accuracy(codes: Any, factors: Any, learner: str, seed: int) -> float:
    indices = check_factors(factors, len(check_codes("codes", codes)))
    return float(probe_scores(codes, indices, seed=seed, learner=learner).mean())
