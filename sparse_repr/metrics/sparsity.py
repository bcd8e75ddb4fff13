"""How few units a code uses, and how few items a unit answers to."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sparse_repr.metrics.validation import check_codes, live_units


def active_units(codes: Any, *, threshold: float = 0.01) -> int:
    """Number of units whose code varies: Var_x(E[z_d | x]) > threshold (active units of Burda et al. 2016).

    Args:
        codes: (N, D) posterior means.
        threshold: variance above which a unit counts as active.

    Returns:
        0..D.

    Raises:
        TypeError, ValueError: codes of the wrong shape or dtype, or NaN.

    Example:
        >>> active_units([[0.0, 1.0], [0.0, -1.0]])
        1
    """
    return int((check_codes("codes", codes).var(axis=0, dtype=np.float64) > threshold).sum())


def hoyer_sparsity(codes: Any) -> float:
    """Hoyer's measure, averaged over items: (sqrt(D) - ||c||_1 / ||c||_2) / (sqrt(D) - 1).

    Hoyer 2004, sparseness. 1 where one unit is non-zero, 0 where all have the same size. An all-zero code counts as 0
    (its ratio is undefined; it is not a code in which few units speak). Units are taken as they are, not scaled, so
    dead units near zero raise it.

    Args:
        codes: (N, D), D at least 2.

    Returns:
        0..1, higher is sparser.

    Raises:
        TypeError, ValueError: codes of the wrong shape or dtype, NaN, or a single unit.

    Example:
        >>> hoyer_sparsity(np.eye(4)), hoyer_sparsity(np.ones((2, 4)))
        (1.0, 0.0)
    """
    array = check_codes("codes", codes, least_items=1).astype(np.float64)
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

    Example:
        >>> near_zero_fraction([[0.0, 0.005], [1.0, -2.0]])
        0.5
    """
    return float((np.abs(check_codes("codes", codes, least_items=1)) <= tolerance).mean())


def exact_zero_fraction(codes: Any) -> float:
    """Share of the entries that are exactly 0, as a spike-and-slab or rectified code has them.

    Args:
        codes: (N, D).

    Returns:
        0..1; 0 for the posterior mean of a Gaussian encoder, whose small entries `near_zero_fraction` counts.

    Raises:
        TypeError, ValueError: codes of the wrong shape or dtype, or NaN.

    Example:
        >>> exact_zero_fraction([[0.0, 0.005], [1.0, -2.0]])
        0.25
    """
    return near_zero_fraction(codes, tolerance=0)


def population_sparseness(codes: Any) -> float:
    """Treves-Rolls sparseness of the units' answers to one item, averaged over items.

    Treves & Rolls 1991; Vinje & Gallant 2000, in the form (1 - (sum_d |c_d| / D)^2 / (sum_d c_d^2 / D)) / (1 - 1/D).
    Deviation: firing rates are positive, codes are not, so their sizes are taken. Units count as they are, dead ones
    too: a unit that never answers makes the population sparser. An all-zero item counts as 0.

    Args:
        codes: (N, D), D at least 2.

    Returns:
        0..1; 1 where one unit answers to each item, 0 where all answer alike.

    Raises:
        TypeError, ValueError: codes of the wrong shape or dtype, NaN, or a single unit.

    Example:
        >>> population_sparseness([[0.0, 3.0], [-2.0, 0.0]]), population_sparseness([[1.0, 1.0], [2.0, -2.0]])
        (1.0, 0.0)
    """
    array = np.abs(check_codes("codes", codes, least_items=1)).astype(np.float64)
    if array.shape[1] < 2:
        raise ValueError(f"population_sparseness needs at least 2 units, got {array.shape[1]}")
    return float(_treves_rolls(array.T).mean())


def lifetime_sparseness(codes: Any) -> float:
    """Treves-Rolls sparseness of one unit's answers to all items, averaged over live units.

    As `population_sparseness`, with items in the place of units.

    Args:
        codes: (N, D).

    Returns:
        0..1; 1 where each unit answers to one item only; 0 where none is live.

    Raises:
        TypeError, ValueError: codes of the wrong shape or dtype, or NaN.

    Example:
        >>> lifetime_sparseness([[0.0, 3.0], [-2.0, 0.0]]), lifetime_sparseness([[1.0, -2.0], [-1.0, 2.0]])
        (1.0, 0.0)
    """
    array = check_codes("codes", codes)
    live = live_units(array)
    return float(_treves_rolls(np.abs(array[:, live]).astype(np.float64)).mean()) if live.any() else 0.0


def _treves_rolls(sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sparseness of each column: (n, m) sizes >= 0 -> (m,)."""
    count = len(sizes)
    square = (sizes**2).mean(axis=0)
    activity = np.divide(sizes.mean(axis=0) ** 2, square, out=np.ones_like(square), where=square > 0)
    return np.asarray(((1 - activity) / (1 - 1 / count)).clip(0, 1))
