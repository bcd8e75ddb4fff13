"""How few units a code uses."""

from __future__ import annotations

from typing import Any

import numpy as np

from sparse_repr.metrics.validation import check_codes


def active_units(codes: Any, *, threshold: float = 0.01) -> int:
    """Number of units whose code varies: Var_x(E[z_d | x]) > threshold (Burda et al. 2016, section 5.2).

    Args:
        codes: (N, D) posterior means.
        threshold: variance above which a unit counts as active.

    Returns:
        0..D.

    Raises:
        TypeError, ValueError: codes of the wrong shape or dtype, or NaN.
    """
    return int((check_codes("codes", codes).var(axis=0, dtype=np.float64) > threshold).sum())


def hoyer_sparsity(codes: Any) -> float:
    """Hoyer's measure, averaged over items: (sqrt(D) - ||c||_1 / ||c||_2) / (sqrt(D) - 1).

    Hoyer 2004, section 3.1. 1 where one unit is non-zero, 0 where all have the same size. An all-zero code counts as 0
    (its ratio is undefined; it is not a code in which few units speak). Units are taken as they are, not scaled, so
    dead units near zero raise it.

    Args:
        codes: (N, D), D at least 2.

    Returns:
        0..1, higher is sparser.

    Raises:
        TypeError, ValueError: codes of the wrong shape or dtype, NaN, or a single unit.
    """
    array = check_codes("codes", codes).astype(np.float64)
    units = array.shape[1]
    if units < 2:
        raise ValueError(f"hoyer_sparsity needs at least 2 units, got {units}")
    l1, l2 = np.abs(array).sum(axis=1), np.sqrt((array**2).sum(axis=1))
    ratio = np.divide(l1, l2, out=np.full_like(l1, np.sqrt(units)), where=l2 > 0)
    return float(((np.sqrt(units) - ratio) / (np.sqrt(units) - 1)).mean().clip(0, 1))


def near_zero_fraction(codes: Any, *, tolerance: float = 0.01) -> float:
    """Share of the entries with |c| <= tolerance; with tolerance 0 the share of exact zeros.

    Args:
        codes: (N, D).
        tolerance: largest size that counts as zero.

    Returns:
        0..1.

    Raises:
        TypeError, ValueError: codes of the wrong shape or dtype, or NaN.
    """
    return float((np.abs(check_codes("codes", codes)) <= tolerance).mean())
