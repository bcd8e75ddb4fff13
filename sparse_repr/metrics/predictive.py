"""Scores that predict factors from codes: DCI, SAP, explicitness."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparse_repr.metrics.learners import LEARNERS, fit_learner
from sparse_repr.metrics.linear import fit_logistic
from sparse_repr.metrics.sampling import split_items
from sparse_repr.metrics.validation import check_codes, check_codes_and_factors, live_units
from sparse_repr.registry import lookup

FloatArray = npt.NDArray[np.float64]


class DCI(NamedTuple):
    """Result of `dci_scores`."""

    disentanglement: float
    """0..1: whether a unit matters to one factor only."""
    completeness: float
    """0..1: whether a factor needs one unit only."""
    informativeness: float
    """0..1: held-out accuracy (R² for the lasso), averaged over factors."""
    importances: FloatArray
    """(D, K), at least 0; rows of dead units are 0."""


def dci_scores(
    codes: Any,
    factors: Any,
    *,
    seed: int = 0,
    learner: str = "gradient_boosting",
    train: int = 10_000,
    test: int = 5_000,
) -> DCI:
    """Disentanglement, completeness and informativeness of a code, from the importances R (D, K) of a learner.

    Eastwood & Williams 2018. Disentanglement is the mean over units of 1 - H_K(R_d / sum_k R_dk), weighted
    by sum_k R_dk; completeness the mean over factors of 1 - H_D(R_k / sum_d R_dk), weighted likewise, with entropies to
    base K and D; informativeness the held-out accuracy. The learner changes all three, so a score is only comparable
    beside its learner's name. Deviations: base D counts the live units, so that a dead one changes nothing; the paper
    averages completeness unweighted and reports an error instead of an accuracy.

    Args:
        codes: (N, D).
        factors: (N, K) integer indices, K at least 2.
        seed: of the draw and of the learner.
        learner: a name of `LEARNERS`: gradient_boosting (as published by Locatello et al. 2019: minutes for 10,000
            items), histogram_boosting (with permutation importance), random_forest or lasso.
        train: items that the learner is trained on.
        test: other items, on which it is scored.

    Returns:
        Three scores, higher is better, and the importances; zeros for a code without a live unit.

    Raises:
        TypeError, ValueError: arrays of the wrong shape or dtype, NaN, a constant factor, an unknown learner.

    Example:
        >>> factors = np.argwhere(np.ones((3, 4))).repeat(50, axis=0)  # (600, 2): every pair of values 50 times
        >>> dci_scores(factors, factors, learner="random_forest").importances.round(2)  # (D, K)
        array([[1., 0.],
               [0., 1.]])
    """
    fit = lookup(LEARNERS, learner, "learner")
    array, indices = check_codes_and_factors(codes, factors, least_factors=2)
    live = live_units(check_codes("codes", codes))
    importances = np.zeros((len(live), indices.shape[1]))
    if not live.any():
        return DCI(0.0, 0.0, 0.0, importances)
    chosen, held_out = split_items(len(array), train, test, np.random.default_rng(seed))
    accuracy = np.empty(indices.shape[1])
    for k, column in enumerate(indices.T):
        given, accuracy[k] = fit_learner(fit, array[chosen], column[chosen], array[held_out], column[held_out], seed)
        importances[live, k] = np.maximum(given, 0)  # boosting rounds to slightly negative ones
    alive = importances[live]
    return DCI(_one_minus_entropy(alive), _one_minus_entropy(alive.T), float(accuracy.mean()), importances)


def _one_minus_entropy(importances: FloatArray) -> float:
    """Mean over rows of 1 - entropy of the row to the base of its length, weighted by the row's sum."""
    total = importances.sum(axis=1, keepdims=True)
    if not total.sum():
        return 0.0
    share = np.divide(importances, total, out=np.zeros_like(importances), where=total > 0)
    logarithm = np.log(share, out=np.zeros_like(share), where=share > 0)
    base = np.log(importances.shape[1]) if importances.shape[1] > 1 else 1.0
    return float(np.average(1 + (share * logarithm).sum(axis=1) / base, weights=total[:, 0]))


def sap_score(
    codes: Any,
    factors: Any,
    *,
    seed: int = 0,
    continuous: bool = False,
    train: int = 10_000,
    test: int = 5_000,
    penalty_c: float = 0.01,
) -> float:
    """Separated attribute predictability: mean over factors of the gap between the best two units' scores.

    Kumar et al. 2018. The score of a unit for a factor is the held-out accuracy of a linear support vector
    machine on that unit alone (C = 0.01, balanced classes, as published by Locatello et al. 2019), or, for continuous
    factors, their squared correlation. A line in one dimension separates the values of a many-valued factor badly: a
    perfect code of dSprites scores 0.245. A code of one unit has 0 for its second. C acts on the scale of the units as
    they are: this score is not invariant to rescaling them, unless `continuous`.

    Args:
        codes: (N, D).
        factors: (N, K) integer indices.
        seed: of the draw.
        continuous: take squared correlations with the indices, over all `train` + `test` items.
        train: items that the machines are trained on.
        test: other items, on which they are scored.
        penalty_c: inverse strength of the penalty.

    Returns:
        0..1, higher is better; 0 for a code without a live unit.

    Raises:
        TypeError, ValueError: as `dci_scores`.

    Example:
        >>> factors = np.argwhere(np.ones((3, 4))).repeat(50, axis=0)  # (600, 2): every pair of values 50 times
        >>> tangled = factors @ [[1, 1], [1, -1]]  # the sum and the difference
        >>> [round(sap_score(codes, factors, continuous=True), 3) for codes in (factors, tangled)]
        [1.0, 0.0]
    """
    array, indices = check_codes_and_factors(codes, factors)
    if not array.shape[1]:
        return 0.0
    chosen, held_out = split_items(len(array), train, test, np.random.default_rng(seed))
    if continuous:
        items = np.concatenate([chosen, held_out])
        scores = _squared_correlations(indices[items], array[items])
    else:
        scores = _machine_accuracies(array, indices, chosen, held_out, penalty_c)
    ordered = -np.sort(-np.pad(scores, ((0, 0), (0, 1))), axis=1)
    return float((ordered[:, 0] - ordered[:, 1]).mean())


def _squared_correlations(factors: npt.NDArray[Any], codes: npt.NDArray[Any]) -> FloatArray:
    """(N, K) and (N, D) -> (K, D)."""
    first, second = (array - array.mean(axis=0, dtype=np.float64) for array in (factors, codes))
    scale = np.sqrt((first**2).sum(axis=0))[:, None] * np.sqrt((second**2).sum(axis=0))
    return np.divide(first.T @ second, scale, out=np.zeros_like(scale), where=scale > 0) ** 2


def _machine_accuracies(
    codes: npt.NDArray[Any],
    factors: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.int64],
    held_out: npt.NDArray[np.int64],
    penalty_c: float,
) -> FloatArray:
    """Held-out accuracy of a linear support vector machine for each factor on each unit alone, (K, D)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    scores = np.zeros((factors.shape[1], codes.shape[1]))
    for k, column in enumerate(factors.T):
        if (column[chosen] == column[chosen[0]]).all():
            scores[k] = (column[held_out] == column[chosen[0]]).mean()
            continue
        for unit in range(codes.shape[1]):
            inputs = codes[:, [unit]].astype(np.float64)
            # the primal problem has the same solution as the published dual one and needs no random order; a seed all
            # the same, or scikit-learn draws from numpy's global state
            machine = LinearSVC(C=penalty_c, class_weight="balanced", dual=False, random_state=0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                machine.fit(inputs[chosen], column[chosen])
            scores[k, unit] = (machine.predict(inputs[held_out]) == column[held_out]).mean()
    return scores


def explicitness_score(codes: Any, factors: Any, *, seed: int = 0, train: int = 10_000, test: int = 5_000) -> float:
    """Explicitness: mean area under the ROC curve of a logistic regression from the code to each factor value.

    Ridgeway & Mozer 2018, explicitness: one value against the rest, averaged over the values of a factor, then over
    factors, on held-out items, with scikit-learn's logistic regression on the standardised code (as published by
    Locatello et al. 2019). A value that is absent from, or alone in, the test items is left out. This is the area
    itself, as in both; who rescales it to 2 area - 1, so that chance is 0, reports another number.

    Args:
        codes: (N, D).
        factors: (N, K) integer indices.
        seed: of the draw.
        train: items that the regression is trained on.
        test: other items, on which it is scored.

    Returns:
        0..1, higher is better; chance is 0.5; 0 for a code without a live unit.

    Raises:
        TypeError, ValueError: as `dci_scores`.

    Example:
        >>> factors = np.argwhere(np.ones((3, 4))).repeat(50, axis=0)  # (600, 2): every pair of values 50 times
        >>> round(explicitness_score(factors, factors), 2)
        1.0
    """
    from sklearn.metrics import roc_auc_score

    array, indices = check_codes_and_factors(codes, factors)
    if not array.shape[1]:
        return 0.0
    chosen, held_out = split_items(len(array), train, test, np.random.default_rng(seed))
    scores = []
    for column in indices.T:
        model = fit_logistic(array[chosen], column[chosen])
        probability = model.predict_proba(array[held_out].astype(np.float64))
        truth = column[held_out]
        areas = [
            roc_auc_score(truth == value, probability[:, position])
            for position, value in enumerate(model.classes_)
            if 0 < (truth == value).sum() < len(truth)
        ]
        scores.append(float(np.mean(areas)) if areas else 0.5)
    return float(np.mean(scores))
