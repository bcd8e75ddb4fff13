"""The one check that every metric makes of its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

# The squares of what is larger would soon be too large for float32.
_LARGEST_CODE = 1e15
_ROUNDING_STEPS = 4


def as_array(values: Any) -> npt.NDArray[Any]:
    """An array of what numpy or lists hold, or torch: on any device, with a gradient, and bfloat16 as float32."""
    if isinstance(values, torch.Tensor):
        known = values.detach().cpu()
        return (known.float() if known.dtype == torch.bfloat16 else known).numpy()
    return np.asarray(values)


def require_counts(least: int = 1, **counts: int) -> None:
    """Check numbers of items, points or bins of a score.

    Raises:
        ValueError: one is below `least`, or no whole number; it is named.
    """
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < least:
            raise ValueError(f"{name} needs a whole number of at least {least}, got {count!r}")


def check_codes(
    name: str, codes: Any, *, largest: float = _LARGEST_CODE, least_items: int = 2
) -> npt.NDArray[np.floating[Any]]:
    """Codes (N, D) as a finite array of float32 or float64 with at least `least_items` rows, none beyond `largest`.

    Raises:
        TypeError: not an array of real numbers.
        ValueError: wrong number of axes, too few items, NaN, infinity or too large numbers; `name` is named.
    """
    array = as_array(codes)
    if not np.issubdtype(array.dtype, np.number) or np.issubdtype(array.dtype, np.complexfloating):
        raise TypeError(f"{name} needs real numbers, got dtype {array.dtype}")
    if array.ndim != 2 or array.shape[1] < 1:
        raise ValueError(f"{name} needs shape (N, D), got {array.shape}")
    if len(array) < least_items:
        raise ValueError(f"{name} needs at least {least_items} item{'s' * (least_items > 1)}, got {len(array)}")
    floats = array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
    if not np.isfinite(floats).all():
        unit = int(np.argmin(np.isfinite(floats).all(axis=0)))
        raise ValueError(f"{name} needs finite numbers, got NaN or infinity in unit {unit}")
    sizes = np.abs(floats).max(axis=0)
    if sizes.max() > largest:
        unit = int(sizes.argmax())
        raise ValueError(
            f"{name} needs numbers of at most {largest:g} in size, got {sizes[unit]:g} in unit {unit}: "
            "what made them has diverged"
        )
    return floats


def check_factors(factors: Any, items: int, *, name: str = "factors") -> npt.NDArray[np.int64]:
    """Factor indices (N, K) as int64: whole numbers >= 0 or truth values, no constant factor, one row per item.

    Raises:
        TypeError: not whole numbers.
        ValueError: wrong shape or length, a negative index, or a factor with a single value; `name` is named.
    """
    array = as_array(factors)
    if array.dtype == np.bool_:
        array = array.astype(np.int64)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(
            f"{name} needs integer indices (N, K), got dtype {array.dtype}; "
            "use dataset.factors, or sort continuous values into bins first"
        )
    if array.ndim != 2 or array.shape[1] < 1:
        raise ValueError(f"{name} needs shape (N, K), got {array.shape}")
    if len(array) != items:
        raise ValueError(f"codes and {name} need the same number of items, got {items} and {len(array)}")
    if array.min() < 0:
        raise ValueError(f"{name} needs indices of at least 0, got {array.min()}")
    if array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} needs indices that fit int64, got {array.max()}: number the values from 0")
    indices = array.astype(np.int64, copy=False)
    constant = [k for k in range(indices.shape[1]) if (indices[:, k] == indices[0, k]).all()]
    if constant:
        raise ValueError(
            f"{name} needs at least 2 values in every column, but column {constant[0]} is constant: "
            f"leave it out ({name}[:, keep]); nothing can be measured about it"
        )
    return indices


def check_codes_and_factors(
    codes: Any, factors: Any, *, least_factors: int = 1
) -> tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.int64]]:
    """What every score of codes against factors starts with: the checked arrays, without the dead units.

    A unit is dead when it is constant, or its standard deviation is at most 1e-5 of the largest, or its range a few
    steps of its own numbers (rounding noise). It tells nothing: it is left out of every score, so that adding or
    removing one changes none, and a code without a live unit, for which D is 0 here, scores 0.

    Args:
        codes: (N, D).
        factors: (N, K) integer indices.
        least_factors: K for which the score is defined.

    Raises:
        TypeError, ValueError: as `check_codes` and `check_factors`, or too few factors.
    """
    array = check_codes("codes", codes)
    indices = check_factors(factors, len(array))
    if indices.shape[1] < least_factors:
        raise ValueError(f"this score needs at least {least_factors} factors, got {indices.shape[1]}")
    return array[:, live_units(array)], indices


def live_units(codes: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which units vary over the items, by the rule of `check_codes_and_factors`: (N, D) -> (D,)."""
    deviation = codes.std(axis=0, dtype=np.float64)
    # of what has no fraction, every step is meant
    step = np.finfo(codes.dtype).eps if np.issubdtype(codes.dtype, np.floating) else 0
    # the deviation of a constant that is no binary fraction is not exactly 0
    varies = np.ptp(codes, axis=0) > _ROUNDING_STEPS * step * np.abs(codes).max(axis=0)
    return np.asarray(varies & (deviation > 1e-5 * deviation.max()))
