"""InfoMEC: modularity, compactness and explicitness from information estimates."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparse_repr.metrics.histogram import discrete_mutual_information
from sparse_repr.metrics.information import factor_entropies
from sparse_repr.metrics.linear import fit_logistic
from sparse_repr.metrics.sampling import draw_items, require_repeated, split_items
from sparse_repr.metrics.validation import check_codes, check_codes_and_factors, live_units

FloatArray = npt.NDArray[np.float64]
# of the authors' optimiser: without a penalty the weights of separable values grow for ever
_STEPS = 100


class InfoMEC(NamedTuple):
    """Result of `infomec_scores`."""

    modularity: float
    """0..1: whether each unit is informative about one factor only (InfoM)."""
    compactness: float
    """0..1: whether each factor is told by one unit only (InfoC)."""
    explicitness: float
    """0..1: whether a linear model can read the factors (InfoE), from all live units."""
    information: FloatArray
    """(K, D), share of each factor's entropy, 0 for units that are not active."""


_MOST_LEVELS = 20
_MOST_COUNTED = 256
_NOTHING = 1e-10


def infomec_scores(
    codes: Any,
    factors: Any,
    *,
    seed: int = 0,
    neighbours: int = 10,
    samples: int = 10_000,
    train: int = 10_000,
    test: int = 5_000,
    discrete: bool | None = None,
) -> InfoMEC:
    """InfoM, InfoC and InfoE of a code.

    Hsu et al. 2023. With R the nearest-neighbour estimate of I(v_k; z_d) / H(v_k) of
    standardised units (Ross 2014), InfoM = (mean over units of max_k R / sum_k R - 1/K) / (1 - 1/K) and InfoC = (mean
    over factors of max_d R / sum_d R - 1/D) / (1 - 1/D), over the D active units; units that know nothing, and factors
    that no unit knows, are left out of these means. This is the variant of that paper,
    whose active units are those whose *range* exceeds a twentieth of the largest; the authors' later one (Hsu et al.
    2024) takes an inter-quartile range above a tenth of the largest, and gives other numbers.

    Of units that take a few values each, such as quantised ones, R comes from the counts of pairs of values, all that
    vary are active, and the regression is on their values as one-hot, as in the authors' code.

    InfoE = mean over factors of 1 - cross-entropy / log |V_k| of a multinomial logistic regression on all units,
    standardised: without a penalty, every value with the same weight (so that one which knows nothing has log |V_k|),
    100 steps of L-BFGS, as the authors estimate it. Deviations: the cross-entropy is that of held-out items, and a
    factor's share is at least 0. A chance-corrected share below chance counts as 0 too.

    Args:
        codes: (N, D).
        factors: (N, K) integer indices, K at least 2.
        seed: of the draws, and of the noise of 1e-10 that breaks ties between neighbours.
        neighbours: nearest neighbours of the estimate.
        samples: different items for R; all where there are no more.
        train: items for the regression of InfoE.
        test: other items, on which it is scored.
        discrete: whether units take a few values each; None finds out: none takes more than 20, nor more than half as
            many as there are items.

    Returns:
        Three scores in 0..1, higher is better, and R. Compactness is 0 with one active unit, where it is not better
        than chance; all are 0 for a code without a live unit.

    Raises:
        TypeError, ValueError: arrays of the wrong shape or dtype, NaN, a constant or continuous factor, a single one,
            `discrete` units of more than 256 values.

    Example:
        >>> factors = np.argwhere(np.ones((3, 4))).repeat(50, axis=0)  # (600, 2): every pair of values 50 times
        >>> tangled = factors @ [[1, 1], [1, -1]]  # the sum and the difference
        >>> perfect, mixed = infomec_scores(factors, factors), infomec_scores(tangled, factors)
        >>> perfect.modularity > 0.95, mixed.modularity < 0.3
        (True, True)
        >>> round(perfect.explicitness, 2), round(mixed.explicitness, 2)  # a linear model undoes the mixture
        (1.0, 1.0)
    """
    from sklearn.feature_selection import mutual_info_classif

    array, indices = check_codes_and_factors(codes, factors, least_factors=2)
    live = np.flatnonzero(live_units(check_codes("codes", codes)))
    share = np.zeros((indices.shape[1], np.shape(codes)[1]))
    if not len(live):
        return InfoMEC(0.0, 0.0, 0.0, share)
    counted = takes_few_values(array) if discrete is None else discrete
    reach = np.ptp(array, axis=0).astype(np.float64)
    active = reach > (0 if counted else reach.max() / 20)
    rng = np.random.default_rng(seed)
    items = draw_items(len(array), samples, rng)
    values = indices[items]
    require_repeated(values)
    entropies = np.maximum(factor_entropies(values), 1e-12)
    if counted:
        levels = np.stack([np.unique(unit, return_inverse=True)[1] for unit in array.T], axis=1)
        if (most := int(levels.max()) + 1) > _MOST_COUNTED:
            raise ValueError(f"discrete=True needs units of at most {_MOST_COUNTED} values, got one of {most}")
        information = discrete_mutual_information(levels[items], values)
        information[information < _NOTHING] = 0  # of independent units rounding is left
    else:
        drawn = array[items][:, active].astype(np.float64)
        drawn = (drawn - drawn.mean(axis=0)) / np.maximum(drawn.std(axis=0), 1e-300)
        told_of = [
            mutual_info_classif(drawn, column, discrete_features=False, n_neighbors=neighbours, random_state=seed)
            for column in values.T
        ]
        information = np.stack(told_of)
    share[:, live[active]] = information / entropies[:, None]
    chosen, held_out = split_items(len(array), train, test, rng)
    read, unseen = (_one_hot(levels, part) if counted else array[part] for part in (chosen, held_out))
    readable = [_linear_share(read, unseen, column[chosen], column[held_out], not counted) for column in indices.T]
    told = share[:, live[active]]
    return InfoMEC(_largest_share(told.T), _largest_share(told), float(np.mean(readable)), share)


def takes_few_values(codes: npt.NDArray[np.floating[Any]]) -> bool:
    """Whether every unit takes at most 20 values, and at most half as many as there are items."""
    few = min(_MOST_LEVELS, len(codes) // 2)
    return all(len(np.unique(unit[:1000])) <= few and len(np.unique(unit)) <= few for unit in codes.T)


def _one_hot(levels: npt.NDArray[np.int64], items: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Which value each unit has: (N, D) levels and n items -> (n, sum of the numbers of values)."""
    return np.hstack([np.eye(1 + unit.max(), dtype=np.float32)[unit[items]] for unit in levels.T])


def _largest_share(information: FloatArray) -> float:
    """Mean over rows of max / sum, corrected for chance; rows without information are left out."""
    columns = information.shape[1]
    total = information.sum(axis=1)
    told = total > 0
    if columns < 2 or not told.any():
        return 0.0
    share = float((information[told].max(axis=1) / total[told]).mean())
    return max(0.0, (share - 1 / columns) / (1 - 1 / columns))


def _linear_share(
    train: npt.NDArray[np.floating[Any]],
    test: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.int64],
    test_labels: npt.NDArray[np.int64],
    standardised: bool,
) -> float:
    """Share of the held-out entropy of a factor with equally weighted values that a regression explains, at least 0."""
    model = fit_logistic(train, labels, penalty_c=np.inf, balanced=True, steps=_STEPS, standardised=standardised)
    known = np.isin(test_labels, model.classes_)
    if len(model.classes_) < 2 or not known.any():
        return 0.0
    probability = model.predict_proba(test[known].astype(np.float64))
    truth = np.searchsorted(model.classes_, test_labels[known])
    cross_entropy = -np.log(np.maximum(probability[np.arange(len(truth)), truth], 1e-300)).mean()
    return float(max(0.0, 1 - cross_entropy / np.log(len(model.classes_))))
