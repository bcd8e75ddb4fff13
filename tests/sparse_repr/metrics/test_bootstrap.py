from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sparse_repr.metrics import bootstrap_interval, modularity_score


def _mean(codes: Any, factors: Any, *, seed: int = 0) -> float:
    return float(codes.mean())


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation() -> None:
    codes = np.random.default_rng(0).random((400, 1))
    interval = bootstrap_interval(_mean, codes, np.zeros((400, 1)), n_bootstrap=2000)
    half_width = 1.96 * codes.std() / np.sqrt(400)
    assert interval.score == codes.mean()
    assert interval.high - interval.score == pytest.approx(half_width, rel=0.1)
    assert interval.score - interval.low == pytest.approx(half_width, rel=0.1)


def test_intervals_repeat_and_are_clipped_to_the_range_of_scores() -> None:
    rng = np.random.default_rng(1)
    factors = rng.integers(0, 3, (200, 2))
    codes = factors + 0.3 * rng.standard_normal((200, 2))
    first = bootstrap_interval(modularity_score, codes, factors, n_bootstrap=20)
    assert first == bootstrap_interval(modularity_score, codes, factors, n_bootstrap=20)
    assert first.low < first.score < first.high <= 1
    perfect = bootstrap_interval(modularity_score, factors.astype(float), factors, n_bootstrap=20, bins=3)
    assert 0 <= perfect.low <= perfect.score <= perfect.high <= 1


def test_a_value_that_half_of_the_items_lacks_is_told_of() -> None:
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(0, 3, 200), np.arange(200) == 0], axis=1).astype(np.int64)
    with pytest.raises(ValueError, match=r"cannot score each half of these 200 items: .* column 1 is constant"):
        bootstrap_interval(modularity_score, factors.astype(float), factors, n_bootstrap=20)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="n_bootstrap needs at least 2 repetitions, got 1"):
        bootstrap_interval(_mean, np.zeros((9, 1)), np.zeros((9, 1)), n_bootstrap=1)
    with pytest.raises(ValueError, match="at least 4 items, got 3"):
        bootstrap_interval(_mean, np.zeros((3, 1)), np.zeros((3, 1)))


def test_a_score_with_other_ends_is_not_clipped() -> None:
    codes = np.random.default_rng(0).standard_normal((200, 1))
    wide = bootstrap_interval(lambda codes, _, **__: 3 + float(codes.mean()), codes, codes, n_bootstrap=20)
    assert 2 < wide.low < wide.score < wide.high < 4
    with pytest.raises(ValueError, match="needs a score that is a number on every half, got nan"):
        bootstrap_interval(lambda *_, **__: float("nan"), codes, codes, n_bootstrap=2)
