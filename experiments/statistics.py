"""Intervals for the tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, variance
from typing import NamedTuple

from scipy.stats import t as student_t


class Interval(NamedTuple):
    """An estimate and the half width of its 95 % interval."""

    centre: float
    half: float


def wilson_interval(successes: int, trials: int, *, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a success rate (Wilson 1927): stays inside 0..1 and is right for rates of 0 and 1 too.

    Raises:
        ValueError: no trials, or more successes than trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"wilson_interval needs 0 <= successes <= trials and trials >= 1, got {successes} of {trials}")
    rate = successes / trials
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * math.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def t_interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % interval of values that are taken as normal (Student's t), such as a score over seeds.

    Raises:
        ValueError: fewer than 2 values: one has no spread.
    """
    if len(values) < 2:
        raise ValueError(f"t_interval needs at least 2 values, got {len(values)}: one value has no interval")
    half = student_t.ppf(0.975, len(values) - 1) * math.sqrt(variance(values) / len(values))
    return Interval(fmean(values), float(half))


def difference_interval(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Difference of the means, first minus second, and its 95 % interval (Welch 1947: the variances may differ).

    Raises:
        ValueError: fewer than 2 values on a side.
    """
    if len(first) < 2 or len(second) < 2:
        raise ValueError(f"difference_interval needs at least 2 values each, got {len(first)} and {len(second)}")
    parts = [variance(values) / len(values) for values in (first, second)]
    difference = fmean(first) - fmean(second)
    if not sum(parts):
        return Interval(difference, 0.0)
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True)
    )
    return Interval(difference, float(student_t.ppf(0.975, freedom) * math.sqrt(sum(parts))))
