from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sparse_repr.metrics import (
    FAMILIES,
    METRICS,
    Interval,
    bootstrap_interval,
    bootstrap_intervals,
    modularity_score,
)


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


def test_a_family_is_fitted_once_for_each_half(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 3, (200, 2))
    codes = factors + 0.3 * rng.standard_normal((200, 2))
    fits = []

    def counted(codes: Any, factors: Any, *, seed: int = 0) -> dict[str, float]:
        fits.append(seed)
        return FAMILIES["dci_lasso"](codes, factors, seed=seed)

    found = bootstrap_intervals(counted, codes, factors, n_bootstrap=4)
    assert len(fits) == 5
    assert len(found) == 3
    for name, interval in found.items():
        assert interval == bootstrap_interval(METRICS[name], codes, factors, n_bootstrap=4)


def test_a_score_without_a_number_leaves_the_others_their_intervals() -> None:
    codes = np.random.default_rng(0).standard_normal((40, 1))

    def family(codes: Any, factors: Any, *, seed: int = 0) -> dict[str, float]:
        return {"mean": float(codes.mean()), "odd": float("inf") if len(codes) < 40 else 1.0}

    found = bootstrap_intervals(family, codes, np.zeros((40, 1)), n_bootstrap=4)
    assert isinstance(found["mean"], Interval)
    assert found["odd"] == "bootstrap_interval needs a score that is a number on every half, got inf"


def test_halves_take_the_estimator_of_the_units_that_live() -> None:
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 4, (400, 2))
    codes = np.column_stack([factors + (rng.random((400, 2)) < 0.2), 1e-7 * rng.standard_normal(400)])
    score = METRICS["infomec_modularity"](codes, factors)
    assert bootstrap_interval(METRICS["infomec_modularity"], codes, factors, n_bootstrap=2).score == score
    assert score == METRICS["infomec_modularity"](codes, factors, discrete=True)


def test_the_last_seed_will_do() -> None:
    factors = np.stack([np.arange(80) % 2, np.arange(80) // 2 % 2], axis=1)
    interval = bootstrap_interval(
        METRICS["boosted_probe"], factors.astype(float), factors, n_bootstrap=2, seed=2**32 - 1
    )
    assert 0 <= interval.low <= interval.high <= 1
