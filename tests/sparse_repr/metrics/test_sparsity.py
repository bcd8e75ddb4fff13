from __future__ import annotations

import math

import numpy as np
import pytest

from sparse_repr.metrics import (
    active_units,
    exact_zero_fraction,
    hoyer_sparsity,
    lifetime_sparseness,
    near_zero_fraction,
    population_sparseness,
)


def test_active_units_by_hand() -> None:
    codes = np.array([[0.0, 1.0, 0.05], [0.0, -1.0, -0.05]])  # variances 0, 1, 0.0025
    assert active_units(codes) == 1
    assert active_units(codes, threshold=0.001) == 2
    assert isinstance(active_units(codes), int)


def test_hoyer_by_hand() -> None:
    assert hoyer_sparsity([[0.0, 5.0, 0.0, 0.0]] * 2) == pytest.approx(1)
    assert hoyer_sparsity([[1.0, -1.0, 1.0, 1.0]] * 2) == pytest.approx(0)
    # l1 / l2 = 7 / 5 in two units
    expected = (math.sqrt(2) - 7 / 5) / (math.sqrt(2) - 1)
    assert hoyer_sparsity([[3.0, 4.0], [0.3, -0.4]]) == pytest.approx(expected)
    assert hoyer_sparsity(np.zeros((3, 4))) == 0
    assert hoyer_sparsity([[0.0, 5.0, 0.0, 0.0]]) == pytest.approx(1)  # of one item, too
    assert population_sparseness([[0.0, 5.0, 0.0, 0.0]]) == pytest.approx(1)
    with pytest.raises(ValueError, match="needs at least 1 item, got 0"):
        hoyer_sparsity(np.zeros((0, 4)))


def test_near_zero_fraction_by_hand() -> None:
    codes = [[0.0, 0.005, -0.005, 1.0], [0.0, 0.02, 3.0, -2.0]]
    assert near_zero_fraction(codes) == 0.5
    assert near_zero_fraction(codes, tolerance=0) == 0.25


@pytest.mark.parametrize("metric", [active_units, hoyer_sparsity, near_zero_fraction])
def test_bad_codes_are_refused(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ValueError, match=r"codes needs shape \(N, D\)"):
        metric(np.zeros(3))
    with pytest.raises(ValueError, match="NaN or infinity in unit 1"):
        metric([[0.0, np.nan], [0.0, 0.0]])
    with pytest.raises(TypeError, match="real numbers"):
        metric([["a", "b"], ["c", "d"]])


def test_hoyer_needs_two_units() -> None:
    with pytest.raises(ValueError, match="at least 2 units"):
        hoyer_sparsity([[1.0], [2.0]])


def test_treves_rolls_by_hand() -> None:
    codes = np.array([[3.0, 0.0], [-1.0, 1.0]])
    # items: (3, 0) one of two answers; (1, 1) both alike
    assert population_sparseness(codes) == pytest.approx((1 + 0) / 2)
    # units: (3, 1): mean 2, mean square 5: (1 - 4/5) / (1/2); (0, 1): 1
    assert lifetime_sparseness(codes) == pytest.approx((0.4 + 1) / 2)
    with_dead = np.concatenate([codes, np.zeros((2, 1))], axis=1)
    assert lifetime_sparseness(with_dead) == pytest.approx(0.7)  # a dead unit answers to nothing: left out
    assert population_sparseness(with_dead) > 0.5  # and makes the population sparser
    assert lifetime_sparseness(np.zeros((3, 2))) == 0
    assert population_sparseness(np.zeros((3, 2))) == 0
    with pytest.raises(ValueError, match="at least 2 units, got 1"):
        population_sparseness(codes[:, :1])


def test_exact_zeros_are_counted_exactly() -> None:
    assert exact_zero_fraction([[0.0, 1e-30, -0.0, 1.0], [1.0, 2.0, 3.0, 4.0]]) == 0.25
