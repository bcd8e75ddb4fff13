"""The small network that reads places and classes from codes: what a code holds that no line finds."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from sparse_repr.metrics.validation import live_units

# a code that is anything but aligned with the factors hides them from trees and from lines, not from a small network
NETWORK: dict[str, Any] = {"hidden_layer_sizes": (128, 128), "max_iter": 30, "early_stopping": True}
"""Arguments of scikit-learn's MLPRegressor and MLPClassifier."""


def standardised(
    train: npt.NDArray[Any], test: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Codes (N, D) and (M, D) by the mean and the deviation of the units over the first ones, dead units 0.

    A unit is dead that all scores leave out as rounding noise: divided by its deviation it would drown the others as
    soon as it speaks in an image of the second ones.
    """
    live = live_units(train)
    mean, deviation = train.mean(0, dtype=np.float64), train.std(0, dtype=np.float64)
    factor = np.where(live, 1 / np.where(live, deviation, 1), 0)
    return (train - mean) * factor, (test - mean) * factor


def fit(probe: Any, inputs: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> Any:
    """Fit a probe of scikit-learn to inputs (N, D), with so many passes and no more: every encoder gets the same."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return probe.fit(inputs, wanted)


def axis_r2(told: npt.NDArray[Any], truth: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """R² of every column of what was told (N, K) of the truth (N, K) -> (K,); below 0 where the mean tells more."""
    return np.asarray(1 - ((truth - told) ** 2).sum(0) / ((truth - truth.mean(0)) ** 2).sum(0), np.float64)
