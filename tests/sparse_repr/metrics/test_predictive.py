from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sparse_repr.metrics import (
    LEARNERS,
    METRICS,
    bootstrap_interval,
    dci_scores,
    explicitness_score,
    infomec_scores,
    probe_scores,
    sap_score,
    suite,
)
from sparse_repr.metrics.predictive import _one_minus_entropy

GRID = np.stack(np.unravel_index(np.arange(240) % 12, (3, 4)), axis=1)
NOISE = np.random.default_rng(0).standard_normal((240, 2))


def test_dci_weights_units_by_their_importance() -> None:
    importances = np.array([[3.0, 0.0], [0.5, 0.5], [0.0, 0.0]])
    assert _one_minus_entropy(importances) == pytest.approx(3 / 4)
    # columns (3, 0.5) of 3.5 and (0, 0.5): entropies to base 3
    share = np.array([3 / 3.5, 0.5 / 3.5])
    entropy = -(share * np.log(share)).sum() / math.log(3)
    assert _one_minus_entropy(importances.T) == pytest.approx((3.5 * (1 - entropy) + 0.5) / 4)
    assert _one_minus_entropy(np.zeros((2, 2))) == 0


@pytest.mark.parametrize("learner", LEARNERS)
def test_importances_are_units_by_factors_and_zero_for_dead_units(learner: str) -> None:
    codes = np.column_stack([GRID[:, 1], np.zeros(240), GRID[:, 0], NOISE[:, 0]]).astype(float)
    result = dci_scores(codes, GRID, learner=learner)
    assert result.importances.shape == (4, 2)
    assert (result.importances >= 0).all()
    assert (result.importances[1] == 0).all()
    assert result.importances.argmax(axis=0).tolist() == [2, 0]
    assert result.informativeness == pytest.approx(1, abs=0.02)


def test_an_unknown_learner_is_named() -> None:
    with pytest.raises(ValueError, match=r"unknown learner 'gradient_bosting'.*Did you mean 'gradient_boosting'"):
        dci_scores(NOISE, GRID, learner="gradient_bosting")


def test_sap_with_correlations_by_hand() -> None:
    codes = np.column_stack([GRID[:, 0], GRID[:, 0] + GRID[:, 1]]).astype(float)
    # variances 2/3 and 5/4 of independent factors: r^2 with the sum is the share of the variance
    total = 2 / 3 + 5 / 4
    expected = ((1 - (2 / 3) / total) + (5 / 4) / total) / 2
    assert sap_score(codes, GRID, continuous=True) == pytest.approx(expected)
    assert sap_score(codes[:, :1], GRID[:, :1], continuous=True) == pytest.approx(1)


def test_sap_of_one_binary_factor_is_the_machines_accuracy_over_chance() -> None:
    factor = (np.arange(300) % 2)[:, None]
    codes = np.column_stack([10.0 * factor, np.random.default_rng(1).standard_normal(300)])
    assert sap_score(codes, factor) == pytest.approx(0.5, abs=0.12)


def test_explicitness_is_one_for_separated_values_and_one_half_for_an_exclusive_or() -> None:
    factor = (np.arange(300) % 3)[:, None]
    assert explicitness_score(factor.astype(float), factor) == pytest.approx(1)
    bits = np.stack([np.arange(400) % 2, np.arange(400) // 2 % 2], axis=1)
    exclusive = bits.sum(axis=1, keepdims=True) % 2
    assert explicitness_score(bits.astype(float), exclusive) == pytest.approx(0.5, abs=0.15)


def test_infomec_finds_entropies_and_drops_small_units() -> None:
    rng = np.random.default_rng(2)
    codes = GRID + 0.01 * rng.standard_normal(GRID.shape)
    small = np.column_stack([codes, 0.01 * rng.random(240)])
    result = infomec_scores(small, GRID)
    np.testing.assert_allclose(result.information, [[1, 0, 0], [0, 1, 0]], atol=0.1)
    assert (result.information[:, 2] == 0).all()
    assert result.modularity == pytest.approx(1, abs=0.05)
    alone = infomec_scores(codes[:, :1], GRID)
    assert alone.compactness == 0


def test_infomec_agrees_with_the_binned_information_of_a_gaussian_channel() -> None:
    rng = np.random.default_rng(3)
    factors = rng.integers(0, 2, (10_000, 2))
    codes = (2 * factors - 1) + rng.standard_normal(factors.shape)
    expected = 0.3369 / math.log(2)  # nats of a binary input over a channel with signal to noise 1
    np.testing.assert_allclose(np.diag(infomec_scores(codes, factors).information), expected, atol=0.03)


def test_infoe_of_a_code_that_tells_every_value_is_one_however_many_values_there_are() -> None:
    # the authors' estimator gives 0.9998 on a perfect code of dSprites; with a penalty 40 values on a line gave 0.4
    factors = np.stack([np.arange(4000) % 40, np.arange(4000) // 40 % 4], axis=1)
    codes = (factors - factors.mean(0)) / factors.std(0)
    assert infomec_scores(codes, factors).explicitness == pytest.approx(1, abs=2e-3)
    small = codes * [1.0, 0.01]  # below a twentieth of the largest range: no part in InfoM and InfoC, but in InfoE
    assert infomec_scores(small, factors).explicitness == pytest.approx(1, abs=2e-3)
    assert (infomec_scores(small, factors).information[:, 1] == 0).all()


def test_infomec_of_units_that_take_a_few_values_counts_them() -> None:
    # two units of three values each: the first tells the factor's parity, the second nothing but two of its values
    factors = np.stack([np.arange(1200) % 4, np.arange(1200) // 4 % 3], axis=1)
    shape = factors[:, 0]
    codes = np.stack([shape % 2, np.where(shape == 3, 0.01, 0.0), 0.001 * factors[:, 1]], axis=1)
    found = infomec_scores(codes, factors)
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    expected = [[0.5, quarter / math.log(4), 0], [0, 0, 1]]
    np.testing.assert_allclose(found.information, expected, atol=1e-6)  # small units are active, too
    assert found.modularity == pytest.approx(1)
    assert found.compactness == pytest.approx(((0.5 / (0.5 + expected[0][1]) + 1) / 2 - 1 / 3) * 1.5)
    # of a value known up to its parity, and one of the odd ones known: even ones keep log 2 of log 4, odd ones nothing
    assert found.explicitness == pytest.approx((0.75 + 1) / 2, abs=0.01)
    # which values they are does not count: a line could not tell the middle one of three
    middle = np.stack([np.choose(factors[:, 1], [0.0, 5.0, 1.0]), shape], axis=1)
    assert infomec_scores(middle, factors).explicitness == pytest.approx(1, abs=0.01)
    # asked for otherwise, and where units are continuous, neighbours are looked at
    assert infomec_scores(codes, factors, discrete=False).information[1, 2] == 0
    noisy = codes + 1e-4 * np.random.default_rng(0).standard_normal(codes.shape)
    as_they_are, with_neighbours = infomec_scores(noisy, factors), infomec_scores(noisy, factors, discrete=False)
    assert (as_they_are.information == with_neighbours.information).all()


@pytest.mark.parametrize("shape", [(2, 9, 8, 5), (2, 6, 6, 2), (6, 7, 5, 9)])
def test_infomec_leaves_out_a_factor_that_no_counted_unit_knows(shape: tuple[int, ...]) -> None:
    factors = np.argwhere(np.ones(shape))
    factors = factors.repeat(-(-1000 // len(factors)), axis=0)
    found = infomec_scores(factors[:, :3].astype(np.float32), factors)
    assert (found.modularity, found.compactness) == (pytest.approx(1), pytest.approx(1))
    assert (found.information[3] == 0).all()


def test_infoe_of_counted_units_is_that_of_plain_one_hot_values() -> None:
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(0, 4, 3000), rng.integers(0, 3, 3000)], axis=1)
    levels = np.minimum(rng.geometric(0.25, (3000, 4)), 18)  # the largest ones are rare
    levels[:, 0] = np.where(rng.random(3000) < 0.5, factors[:, 0], levels[:, 0])
    found = infomec_scores(levels.astype(float), factors)
    half = np.full((4, 4), 1 / 16) + np.eye(4) * 0.25  # about what the first unit tells
    assert 0.05 < found.explicitness < -(half.sum(0) * np.log(half.sum(0))).sum()
    shifted = levels * [1.0, 50.0, 0.1, -3.0] + 7  # which values they are does not count
    assert infomec_scores(shifted, factors).explicitness == pytest.approx(found.explicitness, abs=1e-9)


@pytest.mark.parametrize("more", [0, 1])
def test_the_interval_of_infomec_takes_the_estimator_of_its_score(more: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    factors = rng.integers(0, 5, (300, 2))
    codes = (4 * factors + rng.integers(0, 4, factors.shape)).astype(float)  # 20 levels
    codes[0] += 100 * more  # a 21st, which most halves lack
    seen: list[Any] = []
    usual = suite.infomec_scores
    monkeypatch.setattr(suite, "infomec_scores", lambda *a, **k: seen.append(k["discrete"]) or usual(*a, **k))
    score, low, high = bootstrap_interval(METRICS["infomec_modularity"], codes, factors, n_bootstrap=6)
    assert low <= score <= high
    assert seen == [not more] * 7


def test_units_that_are_said_to_be_discrete_take_few_values() -> None:
    factors = np.stack([np.arange(600) % 4, np.arange(600) // 4 % 3], axis=1)
    with pytest.raises(ValueError, match="discrete=True needs units of at most 256 values, got one of 600"):
        infomec_scores(np.random.default_rng(0).random((600, 2)), factors, discrete=True)


@pytest.mark.parametrize("learner", ["random_forest", "gradient_boosting"])
def test_trees_see_units_of_any_scale(learner: str) -> None:
    factors = np.argwhere(np.ones((3, 4))).repeat(20, axis=0)
    usual = dci_scores(1.0 * factors, factors, learner=learner)[:3]
    assert usual[0] > 0.99
    for offset in (0.0, 1.0, -1e4):
        small = dci_scores(offset + 1e-9 * factors, factors, learner=learner)[:3]
        assert small == pytest.approx(usual, abs=1e-6), offset


def test_lasso_says_how_many_items_it_needs() -> None:
    few = np.array([[0, 0], [1, 1], [0, 1], [1, 0], [0, 0], [1, 1]])
    with pytest.raises(ValueError, match="dci_lasso needs at least 5 items to choose its penalty on, got"):
        dci_scores(few + np.random.default_rng(0).random(few.shape), few, learner="lasso")


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_infoe_of_a_gaussian_channel_is_its_information_whatever_the_values_shares(share: float) -> None:
    # log-odds of a binary input over a Gaussian channel of signal to noise 1 are linear, and with equally weighted
    # values both lose the same: 0.3369 of log 2 nats are told, also where one value is nine times as frequent
    rng = np.random.default_rng(4)
    factors = (rng.random((15_000, 2)) < share).astype(np.int64)
    codes = (2 * factors - 1) + rng.standard_normal(factors.shape)
    assert infomec_scores(codes, factors, samples=100).explicitness == pytest.approx(0.3369 / math.log(2), abs=0.015)


def test_a_forest_finds_the_one_unit_of_every_factor() -> None:
    # each split may take any unit, as in the original: no importance falls to units that know nothing of the factor
    factors = np.stack(np.unravel_index(np.random.default_rng(5).permutation(3 * 6 * 8 * 8), (3, 6, 8, 8)), axis=1)
    result = dci_scores(factors.astype(float), factors, learner="random_forest")
    np.testing.assert_allclose(result.importances, np.eye(4), atol=1e-12)
    assert result[:3] == pytest.approx((1, 1, 1))


def test_probes_classify_integers_and_regress_floats() -> None:
    values = np.column_stack([np.linspace(0, 1, 240), np.linspace(0, 1, 240) ** 2])
    codes = np.column_stack([values[:, 0], NOISE])
    linear = probe_scores(codes, values)
    assert linear[0] == pytest.approx(1)
    assert linear[1] == pytest.approx(0.94, abs=0.03)  # 15/16 of a parabola's variance is linear
    boosted = probe_scores(codes, values, learner="boosted")
    assert (boosted > 0.97).all()
    assert probe_scores(GRID.astype(float), GRID, learner="boosted").tolist() == [1, 1]
    assert probe_scores(NOISE, values).tolist() == pytest.approx([0, 0], abs=0.1)
    assert probe_scores(np.zeros((240, 2)), values).tolist() == [0, 0]
    with pytest.raises(ValueError, match="unknown probe 'boost'"):
        probe_scores(codes, values, learner="boost")
    with pytest.raises(ValueError, match="same number of items, got 240 and 10"):
        probe_scores(codes, values[:10])
    with pytest.raises(ValueError, match="column 1 is constant"):
        probe_scores(codes, values * [1, 0])


def test_sap_leaves_numpy_s_own_random_numbers_alone() -> None:
    factors = np.argwhere(np.ones((3, 4))).repeat(10, axis=0)
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]  # noqa: NPY002
    sap_score(factors.astype(float), factors)
    assert np.random.get_state()[1].tolist() == expected  # type: ignore[index, union-attr]  # noqa: NPY002
