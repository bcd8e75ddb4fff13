"""Mutual information by quadrature against closed forms and a Monte Carlo oracle; MIG and AAM by hand."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from sparse_repr.metrics import (
    aam_score,
    extrapolated_information,
    factor_entropies,
    mig_score,
    mutual_information_matrix,
)

Array = npt.NDArray[np.float64]


def _grid(*sizes: int) -> npt.NDArray[np.int64]:
    return np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), axis=1).astype(np.int64)


def _monte_carlo(mean: Array, log_variance: Array, factors: npt.NDArray[np.int64], samples: int, seed: int) -> Array:
    """The published estimator: samples of z, log of the mixture density, per factor value."""
    rng = np.random.default_rng(seed)
    sigma = np.exp(log_variance / 2)

    def entropy(chosen: npt.NDArray[np.int64], unit: int) -> float:
        draw = rng.choice(chosen, samples)
        z = mean[draw, unit] + sigma[draw, unit] * rng.standard_normal(samples)
        m, s = mean[chosen, unit], sigma[chosen, unit]
        density = np.exp(-0.5 * ((z[:, None] - m) / s) ** 2) / (s * math.sqrt(2 * math.pi))
        return float(-np.log(density.mean(1)).mean())

    matrix = np.zeros((factors.shape[1], mean.shape[1]))
    for unit in range(mean.shape[1]):
        marginal = entropy(np.arange(len(mean)), unit)
        for k in range(factors.shape[1]):
            values, counts = np.unique(factors[:, k], return_counts=True)
            conditional = [entropy(np.flatnonzero(factors[:, k] == value), unit) for value in values]
            matrix[k, unit] = marginal - np.average(conditional, weights=counts)
    return matrix


def test_a_noiseless_code_has_the_factors_entropy_and_a_dead_unit_none() -> None:
    factors = _grid(4, 5)
    mean = np.stack([factors[:, 0] * 10.0, factors[:, 1] * 10.0, np.zeros(20)], axis=1)
    log_variance = np.full((20, 3), -4.0)
    result = mutual_information_matrix(mean, log_variance, factors)
    np.testing.assert_allclose(result.matrix, [[math.log(4), 0, 0], [0, math.log(5), 0]], atol=1e-4)
    np.testing.assert_allclose(result.factor_entropies_nats, [math.log(4), math.log(5)])
    assert mig_score(result.matrix, result.factor_entropies_nats) == pytest.approx(1, abs=1e-4)
    assert aam_score(result.matrix) == pytest.approx(1, abs=1e-3)


def test_two_overlapping_gaussians_give_the_channels_capacity() -> None:
    # I(v; z) of a binary input over a Gaussian channel with means -1 and 1, sigma 1: 0.3369 nats (textbook integral)
    z = np.linspace(-12, 12, 200_001)
    normal = np.exp(-0.5 * (z - 1) ** 2) / math.sqrt(2 * math.pi)
    mixture = 0.5 * (normal + normal[::-1])
    step = z[1] - z[0]
    expected = -(mixture * np.log(mixture)).sum() * step - 0.5 * math.log(2 * math.pi * math.e)
    result = mutual_information_matrix([[-1.0], [1.0]], [[0.0], [0.0]], [[0], [1]])
    assert result.matrix[0, 0] == pytest.approx(expected, abs=1e-4)
    assert result.matrix[0, 0] == pytest.approx(0.3369, abs=1e-4)


@pytest.mark.parametrize(("low", "high"), [(0.05, 0.3), (0.003, 0.01), (0.003, 0.9)])
def test_the_matrix_agrees_with_monte_carlo_within_its_noise(low: float, high: float) -> None:
    rng = np.random.default_rng(0)
    factors = _grid(3, 4, 10)
    mean = np.stack([factors[:, 0] + 0.1 * factors[:, 1], np.sin(factors[:, 2]), 0.01 * rng.normal(size=120)], axis=1)
    log_variance = 2 * rng.uniform(math.log(low), math.log(high), mean.shape)
    result = mutual_information_matrix(mean, log_variance, factors)
    oracle = np.stack([_monte_carlo(mean, log_variance, factors, 4000, seed) for seed in range(4)])
    noise = oracle.std(0, ddof=1) / 2 + 1e-3
    assert (np.abs(result.matrix - oracle.mean(0)) < 5 * noise).all()


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.2), (3e-4, 1e-3), (3e-4, 0.5)])
def test_error_is_below_1e_3_nats_against_a_four_times_finer_grid(low: float, high: float) -> None:
    rng = np.random.default_rng(1)
    factors = _grid(3, 6, 16)
    mean = np.stack([factors[:, 1] * 0.8 + 0.05 * rng.normal(size=288), np.cos(factors[:, 2] * 0.4) * 3], axis=1)
    log_variance = 2 * rng.uniform(math.log(low), math.log(high), mean.shape)
    result = mutual_information_matrix(mean, log_variance, factors)
    finer = mutual_information_matrix(mean, log_variance, factors, points_per_sigma=7.2)
    assert np.abs(result.matrix - finer.matrix).max() < 1e-3
    assert np.abs(result.matrix - finer.matrix).max() <= result.error_nats + 1e-6


def _fine_quadrature(mean: Array, log_variance: Array, factors: npt.NDArray[np.int64]) -> Array:
    """I(v_k; z_j) from densities summed component by component, 4 points per deviation of the sharpest: (K, D)."""
    matrix = np.empty((factors.shape[1], mean.shape[1]))
    for unit in range(mean.shape[1]):
        m, s = mean[:, unit], np.exp(log_variance[:, unit] / 2)
        step = s.min() / 4
        z = np.arange((m - 9 * s).min(), (m + 9 * s).max(), step)
        density = np.exp(-0.5 * ((z - m[:, None]) / s[:, None]) ** 2) / (s[:, None] * math.sqrt(2 * math.pi))

        def entropy(mixture: Array, step: float = step) -> float:
            return float(-(mixture * np.log(np.where(mixture > 0, mixture, 1))).sum() * step)

        for k, column in enumerate(factors.T):
            values, counts = np.unique(column, return_counts=True)
            conditional = [entropy(density[column == value].mean(0)) for value in values]
            matrix[k, unit] = entropy(density.mean(0)) - np.average(conditional, weights=counts)
    return matrix


@pytest.mark.parametrize("repeats", [1, 2])
@pytest.mark.parametrize(
    ("low", "high"), [(0.1, 0.2), (0.02, 0.3), (0.01, 2.0), (0.003, 0.5), (0.15, 0.16), (1.0, 8.0), (0.02, 0.021)]
)
def test_the_error_is_bounded_where_widths_spread_over_octaves(low: float, high: float, repeats: int) -> None:
    rng = np.random.default_rng(repeats)
    factors = np.tile(_grid(3, 6, 16)[:: 3 - repeats], (repeats, 1))
    noise = rng.normal(size=(2, len(factors)))
    mean = np.stack([factors[:, 1] * 0.8 + 0.05 * noise[0], factors[:, 0] + noise[1]], axis=1)
    log_variance = 2 * rng.uniform(math.log(low), math.log(high), mean.shape)
    result = mutual_information_matrix(mean, log_variance, factors)
    error = np.abs(result.matrix - _fine_quadrature(mean, log_variance, factors)).max()
    assert error <= result.error_nats
    assert error < 2e-4
    assert result.error_nats < 3e-3  # a bound that says something


def test_the_error_counts_what_widening_the_sharpest_posteriors_costs() -> None:
    # 600 points at random in 0..1, all sharper than the grid can be: apart, they tell the value with certainty
    rng = np.random.default_rng(0)
    factors = np.arange(600)[:, None] % 2
    result = mutual_information_matrix(rng.random((600, 1)), np.full((600, 1), 2 * math.log(1e-9)), factors)
    error = abs(result.matrix[0, 0] - math.log(2))
    assert 1e-4 < error <= result.error_nats


def test_permuting_units_or_items_and_shifting_change_nothing() -> None:
    rng = np.random.default_rng(2)
    factors = _grid(3, 8)
    mean, log_variance = rng.normal(size=(24, 3)), rng.uniform(-4, -1, (24, 3))
    matrix = mutual_information_matrix(mean, log_variance, factors).matrix
    order, items = [2, 0, 1], rng.permutation(24)
    permuted = mutual_information_matrix(mean[:, order], log_variance[:, order], factors)
    np.testing.assert_allclose(permuted.matrix, matrix[:, order], atol=1e-9)
    shuffled = mutual_information_matrix(mean[items], log_variance[items], factors[items])
    np.testing.assert_allclose(shuffled.matrix, matrix, atol=1e-6)
    scaled = mutual_information_matrix(mean * 7 + 100, log_variance + 2 * math.log(7), factors)
    np.testing.assert_allclose(scaled.matrix, matrix, atol=1e-3)


def test_torch_input_gives_the_same_matrix() -> None:
    rng = np.random.default_rng(3)
    mean, log_variance = rng.normal(size=(12, 2)).astype(np.float32), np.full((12, 2), -2, np.float32)
    factors = _grid(3, 4)
    expected = mutual_information_matrix(mean, log_variance, factors).matrix
    tensors = (torch.from_numpy(array) for array in (mean, log_variance, factors))
    assert np.array_equal(mutual_information_matrix(*tensors).matrix, expected)


def test_unbalanced_values_are_weighted_by_their_share() -> None:
    factors = np.array([[0]] * 9 + [[5]])  # values need not be 0..n-1
    mean = np.array([[0.0]] * 9 + [[50.0]])
    result = mutual_information_matrix(mean, np.full((10, 1), -2.0), factors)
    expected = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert result.matrix[0, 0] == pytest.approx(expected, abs=1e-4)
    assert result.factor_entropies_nats[0] == pytest.approx(expected)


MATRIX = [[1.0, 0.4, 0.1], [0.0, 0.6, 0.6]]


def test_mig_by_hand() -> None:
    assert mig_score(MATRIX, [2.0, 1.0]) == pytest.approx((0.6 / 2 + 0) / 2)
    assert mig_score(MATRIX, [2.0, 1.0], exclude=(1,)) == pytest.approx(0.3)
    assert mig_score(MATRIX, [2.0, 1.0], include=(1,)) == 0
    assert mig_score([[1.0]], [2.0]) == 0.5  # one unit: nothing to subtract
    assert isinstance(mig_score(MATRIX, [2.0, 1.0]), float)


def test_aam_by_hand() -> None:
    assert aam_score(MATRIX) == pytest.approx(((1 - 0.5) / 1 + 0) / 2)
    assert aam_score(MATRIX, exclude=(-1,)) == pytest.approx(0.5)
    assert aam_score([[0.0, -1e-9], [1.0, 0.0]]) == pytest.approx(0.5)  # no information counts as 0


def test_a_rotated_code_scores_zero() -> None:
    factors = _grid(8, 8)
    turned = np.stack([factors[:, 0] + factors[:, 1], factors[:, 0] - factors[:, 1]], axis=1) * 3.0
    result = mutual_information_matrix(turned, np.full((64, 2), -4.0), factors)
    assert mig_score(result.matrix, result.factor_entropies_nats) == pytest.approx(0, abs=1e-3)
    assert aam_score(result.matrix) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"mean": np.zeros(4)}, ValueError, r"mean needs shape \(N, D\), got \(4,\)"),
        ({"mean": np.full((4, 2), np.nan)}, ValueError, "mean needs finite numbers, got NaN or infinity in unit 0"),
        ({"log_variance": np.zeros((4, 1))}, ValueError, "need the same shape"),
        ({"factors": np.zeros((4, 1))}, TypeError, "factors needs integer indices"),
        ({"factors": np.zeros((4, 1), int)}, ValueError, "column 0 is constant"),
        ({"factors": np.array([[0], [1]])}, ValueError, "same number of items, got 4 and 2"),
        ({"factors": np.array([[-1], [0], [1], [1]])}, ValueError, "at least 0, got -1"),
        ({"points_per_sigma": 0.1}, ValueError, "points_per_sigma needs at least 0.5"),
    ],
)
def test_bad_input_is_named(change: dict[str, object], error: type[Exception], message: str) -> None:
    arguments: dict[str, object] = {
        "mean": np.zeros((4, 2)),
        "log_variance": np.zeros((4, 2)),
        "factors": np.array([[0], [0], [1], [1]]),
    }
    with pytest.raises(error, match=message):
        mutual_information_matrix(**{**arguments, **change})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 2 items, got 1"):
        mutual_information_matrix([[0.0]], [[0.0]], [[0]])


def test_scores_check_their_arguments() -> None:
    with pytest.raises(ValueError, match="needs 2 positive numbers"):
        mig_score(MATRIX, [1.0])
    with pytest.raises(ValueError, match="needs 2 positive numbers"):
        mig_score(MATRIX, [1.0, 0.0])
    with pytest.raises(ValueError, match="no factor is left"):
        aam_score(MATRIX, exclude=(0, 1))
    with pytest.raises(ValueError, match=r"factor index 2 is outside 0\.\.1"):
        aam_score(MATRIX, exclude=(2,))
    with pytest.raises(ValueError, match="NaN"):
        aam_score([[np.nan]])


def test_factor_entropies_by_hand() -> None:
    assert factor_entropies([[0, 0], [1, 0], [2, 0], [3, 7]]).tolist() == pytest.approx(
        [math.log(4), -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))]
    )


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param("cuda", marks=pytest.mark.gpu),
    ],
)
def test_tensors_are_integrated_on_their_device(device: str) -> None:
    factors = _grid(4, 5, 6)
    mean = np.random.default_rng(0).normal(factors @ np.eye(3), 0.3)
    log_variance = np.random.default_rng(1).uniform(-6, 0, mean.shape)
    wanted = mutual_information_matrix(mean, log_variance, factors)
    tensors = (torch.from_numpy(array).to(device) for array in (mean, log_variance, factors))
    found = mutual_information_matrix(*tensors)
    np.testing.assert_allclose(found.matrix, wanted.matrix, atol=1e-9)
    assert found.error_nats == pytest.approx(wanted.error_nats, abs=1e-9)


def _tangled_posteriors() -> tuple[Array, Array, npt.NDArray[np.int64]]:
    """Two factors mixed in two sharp units, and a unit that knows little of each: 14,400 items of a full grid."""
    factors = _grid(12, 12, 100)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((len(factors), 3))
    first, second = factors[:, 0] / 12, factors[:, 1] / 12
    mean = np.stack([first + 2 * noise[:, 0], second + first + 2 * noise[:, 1], 3 * noise[:, 2]], axis=1)
    return mean, np.full(mean.shape, 2 * math.log(0.01)), factors[:, :2]


def test_a_sample_is_extrapolated_to_all_items() -> None:
    mean, log_variance, factors = _tangled_posteriors()
    all_items = mutual_information_matrix(mean, log_variance, factors).matrix
    items = np.random.default_rng(1).choice(len(mean), 4_800, replace=False)
    sample = mean[items], log_variance[items], factors[items]
    raw, extrapolated = mutual_information_matrix(*sample), extrapolated_information(*sample)
    bias = raw.matrix - all_items
    assert bias.min() > 0.01  # every unit seems to know more
    assert np.abs(extrapolated.matrix - all_items).mean() < 0.5 * bias.mean()
    # of twelve values each
    missing = np.abs(raw.factor_entropies_nats - math.log(12))
    assert (np.abs(extrapolated.factor_entropies_nats - math.log(12)) < 0.5 * missing).all()
    np.testing.assert_array_equal(extrapolated_information(*sample).matrix, extrapolated.matrix)
    assert (extrapolated_information(*sample, seed=1).matrix != extrapolated.matrix).any()


def test_a_sample_is_extrapolated_to_the_items_that_there_are() -> None:
    mean, _, factors = _tangled_posteriors()
    log_variance = np.full(mean.shape, 2 * math.log(0.1))
    all_items = mutual_information_matrix(mean, log_variance, factors)
    items = np.random.default_rng(1).choice(len(mean), 7_200, replace=False)
    sample = mean[items], log_variance[items], factors[items]
    bias = (mutual_information_matrix(*sample).matrix - all_items.matrix).mean()
    found = extrapolated_information(*sample, population=len(mean))
    assert abs((found.matrix - all_items.matrix).mean()) < 0.15 * bias
    limit = extrapolated_information(*sample)  # of infinitely many items: half of them are missing twice
    assert (limit.matrix - all_items.matrix).mean() == pytest.approx(-bias, rel=0.15)
    whole = extrapolated_information(mean, log_variance, factors, population=len(mean))
    np.testing.assert_allclose(whole.matrix, all_items.matrix, atol=1e-12)
    with pytest.raises(ValueError, match="population needs at least the 7200 items of the sample, got 7199"):
        extrapolated_information(*sample, population=7_199)


def test_halves_without_a_value_leave_the_sample_as_it_is() -> None:
    factors = np.array([[0], [1], [1], [1], [1], [1]])
    mean = np.arange(6.0)[:, None]
    log_variance = np.full((6, 1), -4.0)
    np.testing.assert_array_equal(
        extrapolated_information(mean, log_variance, factors).matrix,
        mutual_information_matrix(mean, log_variance, factors).matrix,
    )


def test_the_rounding_of_a_code_that_carries_nothing_is_no_alignment() -> None:
    rounding = np.array([[3e-12, 0, 0], [0, 5e-15, 1e-15]])
    assert aam_score(rounding) == 0
    assert aam_score(np.maximum(rounding, [[0.01, 0, 0], [0, 0, 0]])) == pytest.approx(0.5)  # however little it is


@pytest.mark.parametrize(
    ("items", "mean", "log_variance"),
    [(1, 0.0, 20.0), (1, 0.0, 40.0), (1, 1e6, -6.0), (30, 1e6, -6.0), (60, 1e7, -6.0)],
)
def test_the_error_tells_of_a_few_items_far_from_the_rest(items: int, mean: float, log_variance: float) -> None:
    factors = (np.arange(2000) % 10)[:, None]
    means, widths = factors.astype(float), np.full((2000, 1), -6.0)
    told = mutual_information_matrix(means, widths, factors)
    assert told.matrix[0, 0] == pytest.approx(math.log(10), abs=1e-3)
    assert told.error_nats < 1e-3
    means[:items], widths[:items] = mean, log_variance
    blurred = mutual_information_matrix(means, widths, factors)
    assert abs(blurred.matrix[0, 0] - told.matrix[0, 0]) <= blurred.error_nats + 0.15


def test_a_perfect_code_scores_no_more_than_1_on_a_sample_of_a_grid() -> None:
    factors = _grid(32, 1440)[:, :1]
    items = np.random.default_rng(0).choice(len(factors), 300, replace=False)
    found = extrapolated_information(
        factors[items].astype(float), np.full((300, 1), -12.0), factors[items], population=len(factors)
    )
    assert mig_score(found.matrix, found.factor_entropies_nats) == pytest.approx(1, abs=1e-4)


def test_the_place_of_a_code_does_not_count() -> None:
    rng = np.random.default_rng(0)
    factors = np.arange(60)[:, None] % 2
    mean = 0.01 * rng.standard_normal((60, 1)) + 0.01 * factors
    # one blurred component, all others sharp: these are added point by point
    log_variance = 2 * np.log(np.where(np.arange(60)[:, None] == 0, 2, 3e-3))
    here = mutual_information_matrix(mean, log_variance, factors)
    for offset in (1e4, 1e6):
        there = mutual_information_matrix(mean + offset, log_variance, factors)
        np.testing.assert_allclose(there.matrix, here.matrix, atol=here.error_nats + there.error_nats)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
def test_tensors_may_have_a_gradient_and_half_the_digits(kind: torch.dtype) -> None:
    factors = torch.arange(60)[:, None] % 3
    mean = factors.to(kind).requires_grad_()
    log_variance = torch.full((60, 1), -8.0, dtype=kind, requires_grad=True)
    for found in (
        mutual_information_matrix(mean, log_variance, factors),
        extrapolated_information(mean, log_variance, factors, population=60),
    ):
        assert found.matrix.item() == pytest.approx(math.log(3), abs=1e-4)


def test_lists_will_do_and_a_single_axis_is_told_of() -> None:
    mean, log_variance, factors = [[float(k % 2)] for k in range(40)], [[-8.0]] * 40, [[k % 2] for k in range(40)]
    arrays = extrapolated_information(*map(np.array, (mean, log_variance, factors)))
    assert extrapolated_information(mean, log_variance, factors).matrix == arrays.matrix
    with pytest.raises(ValueError, match=r"factors needs shape \(N, K\), got \(3,\)"):
        factor_entropies([0, 1, 2])
