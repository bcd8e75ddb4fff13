"""The learners of DCI: each gives the importance of every unit for one factor, and its held-out score."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Fitted = tuple[npt.NDArray[np.float64], float]
Learner = Callable[
    [npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[np.int64], int],
    Fitted,
]

_FOLDS = 5
_FAR = 1_000


def fit_learner(
    fit: Learner,
    train: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    test: npt.NDArray[Any],
    test_labels: npt.NDArray[np.int64],
    seed: int,
) -> Fitted:
    """What `fit` makes of one factor; where the training items hold one value only, no importance and that answer."""
    if (labels == labels[0]).all():
        return np.zeros(train.shape[1]), float((test_labels == labels[0]).mean())
    # scikit-learn's trees take float32, and a spread of 1e-7 for none: powers of two change no split, and of what lies
    # far from 0 float32 would not leave enough
    spread, centre = train.std(axis=0, dtype=np.float64), train.mean(axis=0, dtype=np.float64)
    scale = np.exp2(-np.floor(np.log2(np.where(spread > 0, spread, 1))))
    centre = np.where(np.abs(centre) > _FAR * spread, centre, 0)
    return fit((train - centre) * scale, labels, (test - centre) * scale, test_labels, seed)


def gradient_boosting(
    train: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    test: npt.NDArray[Any],
    test_labels: npt.NDArray[np.int64],
    seed: int,
) -> Fitted:
    """scikit-learn's GradientBoostingClassifier with its defaults (Locatello et al. 2019); impurity importances."""
    from sklearn.ensemble import GradientBoostingClassifier

    model = GradientBoostingClassifier(random_state=seed).fit(train, labels)
    return model.feature_importances_, float(model.score(test, test_labels))


def histogram_boosting(
    train: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    test: npt.NDArray[Any],
    test_labels: npt.NDArray[np.int64],
    seed: int,
) -> Fitted:
    """HistGradientBoostingClassifier; importance = loss of held-out accuracy when a unit is permuted (5 times), >= 0.

    A variant with numbers of its own: permutation importances of units that repeat each other are small, and a code
    without information has nothing but the positive half of their noise. 20 rounds at rate 0.3 instead of
    scikit-learn's 100 at 0.1, which take five times as long.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.inspection import permutation_importance

    model = HistGradientBoostingClassifier(max_iter=20, learning_rate=0.3, random_state=seed).fit(train, labels)
    lost = permutation_importance(model, test, test_labels, n_repeats=5, random_state=seed).importances_mean
    return np.maximum(lost, 0), float(model.score(test, test_labels))


def random_forest(
    train: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    test: npt.NDArray[Any],
    test_labels: npt.NDArray[np.int64],
    seed: int,
) -> Fitted:
    """RandomForestClassifier of 100 trees whose splits choose among all units; impurity importances.

    All units, as in the forests of Eastwood & Williams: scikit-learn's default for classes, a random sqrt(D) of them,
    makes trees split by units that know nothing, and even a perfect code would spread its importance.
    """
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(max_features=None, random_state=seed).fit(train, labels)
    return model.feature_importances_, float(model.score(test, test_labels))


def lasso(
    train: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    test: npt.NDArray[Any],
    test_labels: npt.NDArray[np.int64],
    seed: int,
) -> Fitted:
    """Lasso on standardised codes and indices, penalty by 5-fold cross-validation; |weights|, held-out R² (>= 0).

    The order of a factor's values matters to it: for factors without one, such as shape, prefer a classifier.
    """
    if len(train) < _FOLDS:
        raise ValueError(f"dci_lasso needs at least {_FOLDS} items to choose its penalty on, got {len(train)}")
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LassoCV
    from sklearn.preprocessing import StandardScaler

    scaler, target = StandardScaler().fit(train), labels.astype(np.float64)
    centre, scale = target.mean(), target.std()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LassoCV(cv=_FOLDS, random_state=seed).fit(scaler.transform(train), (target - centre) / scale)
    truth = (test_labels - centre) / scale
    spread = ((truth - truth.mean()) ** 2).sum()
    missed = ((truth - model.predict(scaler.transform(test))) ** 2).sum()
    return np.abs(model.coef_), float(max(0.0, 1 - missed / spread)) if spread > 0 else 0.0


LEARNERS: dict[str, Learner] = {
    "gradient_boosting": gradient_boosting,
    "histogram_boosting": histogram_boosting,
    "random_forest": random_forest,
    "lasso": lasso,
}
"""Name -> f(train codes, train values, test codes, test values, seed) -> (importances (D,), held-out score)."""
