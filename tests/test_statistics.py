from __future__ import annotations

from statistics import fmean

import pytest
import scipy.stats

from experiments.statistics import difference_interval, t_interval, wilson_interval


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


def test_t_interval_is_students() -> None:
    values = [0.31, 0.27, 0.35, 0.29]
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    mean, half = t_interval(values)
    assert (mean - half, mean + half) == pytest.approx((expected.low, expected.high))
    assert t_interval([1.0, 3.0]) == pytest.approx((2.0, 12.7062047))  # t with one degree of freedom
    with pytest.raises(ValueError, match="at least 2 values, got 1: one value has no interval"):
        t_interval([1.0])


def test_difference_interval_is_welchs() -> None:
    first, second = [1.0, 1.4, 1.1], [2.0, 2.9, 2.2, 2.6]
    expected = scipy.stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    difference, half = difference_interval(first, second)
    assert difference == pytest.approx(fmean(first) - fmean(second))
    assert (difference - half, difference + half) == pytest.approx((expected.low, expected.high))
    assert difference_interval([1.0, 1.0], [3.0, 3.0]) == (-2.0, 0.0)
    with pytest.raises(ValueError, match="at least 2 values each, got 3 and 1"):
        difference_interval(first, second[:1])
