"""Histogram MIG and modularity against scikit-learn and by hand."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import mutual_info_score

from sparse_repr.metrics import METRICS, mig_histogram_score, modularity_score
from sparse_repr.metrics.histogram import discrete_mutual_information, discretise


def _grid(*sizes: int) -> npt.NDArray[np.int64]:
    return np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), axis=1).astype(np.int64)


def test_discrete_information_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(4)
    factors = rng.integers(0, 5, (500, 2))
    binned = discretise(factors @ [[1.0, 0.0], [0.5, 0.0]] + rng.normal(size=(500, 2)), 20)
    assert (binned.min(), binned.max()) == (0, 19)
    matrix = discrete_mutual_information(binned, factors)
    for k in range(2):
        for unit in range(2):
            assert matrix[k, unit] == pytest.approx(mutual_info_score(factors[:, k], binned[:, unit]))


def test_histogram_mig_of_known_codes() -> None:
    factors = _grid(4, 5, 20)
    assert mig_histogram_score(factors.astype(float), factors) == pytest.approx(1)
    duplicated = np.concatenate([factors, factors], axis=1).astype(float)
    assert mig_histogram_score(duplicated, factors) == pytest.approx(0)
    assert mig_histogram_score(np.zeros((400, 3)), factors) == 0
    assert mig_histogram_score(np.random.default_rng(0).normal(size=(400, 3)), factors) < 0.2


def test_histogram_mig_draws_by_its_seed() -> None:
    rng = np.random.default_rng(5)
    factors = rng.integers(0, 3, (300, 2))
    codes = factors + rng.normal(size=(300, 2))
    first = mig_histogram_score(codes, factors, seed=0, samples=100)
    assert first == mig_histogram_score(codes, factors, seed=0, samples=100)
    assert first != mig_histogram_score(codes, factors, seed=1, samples=100)
    assert METRICS["mig_histogram"] is mig_histogram_score


def test_modularity_by_hand() -> None:
    # unit 0 holds both bits (ln 2 each), unit 1 the first, unit 2 nothing: 1 - 1 / 1, 1, left out
    factors = _grid(2, 2)
    codes = np.stack([2 * factors[:, 0] + factors[:, 1], factors[:, 0], np.zeros(4)], axis=1).astype(float)
    assert modularity_score(codes, factors) == pytest.approx((0 + 1) / 2)
    assert modularity_score(codes[:, 1:], factors) == pytest.approx(1)
    with pytest.raises(ValueError, match="at least 2 factors, got 1"):
        modularity_score(codes, factors[:, :1])


def test_a_factor_whose_other_value_is_not_among_the_drawn_items_is_named() -> None:
    factors = np.stack([np.arange(20_000) % 4, np.arange(20_000) == 0], axis=1).astype(np.int64)
    assert mig_histogram_score(factors.astype(float), factors, samples=20_000) > 0.8
    with pytest.raises(ValueError, match=r"of column 1 only one is among 100 random items; leave the factor out"):
        mig_histogram_score(factors.astype(float), factors, samples=100)
