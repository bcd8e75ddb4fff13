"""The linear classifiers of the scores, on standardised inputs."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt


def fit_logistic(
    inputs: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    *,
    penalty_c: float = 1.0,
    balanced: bool = False,
    steps: int = 1000,
    standardised: bool = True,
) -> Any:
    """Multinomial logistic regression with scikit-learn's L2 penalty (C = 1) on standardised inputs.

    Args:
        inputs: (n, D).
        labels: (n,) integers; a single class gives a classifier that always answers it.
        penalty_c: inverse strength of the penalty; infinity for none.
        balanced: weigh items so that every class counts the same.
        steps: of the optimiser (L-BFGS) at most, which separable classes may use up.
        standardised: whether inputs are standardised first.

    Returns:
        A fitted scikit-learn classifier.
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if (labels == labels[0]).all():
        return DummyClassifier(strategy="most_frequent").fit(inputs, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression = LogisticRegression(C=penalty_c, class_weight="balanced" if balanced else None, max_iter=steps)
        model = make_pipeline(StandardScaler(), regression) if standardised else regression
        return model.fit(inputs.astype(np.float64), labels)
