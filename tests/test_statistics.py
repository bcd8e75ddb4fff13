from __future__ import annotations

import pytest

from experiments.statistics import wilson_interval


def test_wilson_interval_of_known_cases() -> None:
    low, high = wilson_interval(10, 20)  # textbook: 0.299..0.701
    assert (low, high) == pytest.approx((0.299, 0.701), abs=1e-3)
    assert wilson_interval(0, 200) == pytest.approx((0, 0.01885), abs=1e-4)
    assert wilson_interval(200, 200) == pytest.approx((0.98115, 1), abs=1e-4)


def test_wilson_interval_checks_its_arguments() -> None:
    with pytest.raises(ValueError, match="got 3 of 2"):
        wilson_interval(3, 2)
    with pytest.raises(ValueError, match="got 0 of 0"):
        wilson_interval(0, 0)
