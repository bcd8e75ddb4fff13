"""Factors as users write them into their own files: checked, and named with the file when they do not fit."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sparse_repr.data.base import FactorDataset, FloatArray, IntArray, full_grid

# Scores count the values of every factor.
_MOST = 1_000_000


def factor_indices(array: npt.NDArray[Any], where: str) -> IntArray:
    """Indices of factor values as int64 (N, K).

    Args:
        array: (N, K) whole numbers of any type.
        where: the file and the entry, for messages.

    Raises:
        ValueError: not two axes, or not whole numbers.
    """
    if array.ndim != 2:
        raise ValueError(f"{where} needs whole numbers (N, K), found {array.dtype} {array.shape}")
    if array.dtype.kind not in "iu":
        whole = array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.floor(array)).all()
        if not whole or np.abs(array).max(initial=0) > 2**53:
            raise ValueError(
                f"{where} needs whole numbers (N, K), the index of each factor's value, found {array.dtype}"
                f"{' with fractions' if array.dtype.kind == 'f' else ''}; values in a unit go into factor_values"
            )
    elif array.dtype == np.uint64 and array.max(initial=0) > np.iinfo(np.int64).max:
        raise ValueError(f"{where} needs indices from 0 on, found {array.max()}")
    return array.astype(np.int64)


def factor_units(array: npt.NDArray[Any], where: str) -> FloatArray:
    """Factor values in their own units as float32 (N, K).

    Raises:
        ValueError: not two axes, not numbers, or not finite ones.
    """
    if array.ndim != 2 or array.dtype.kind not in "iuf":
        raise ValueError(f"{where} needs float32 (N, K), found {array.dtype} {array.shape}")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused by name
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise ValueError(f"{where} needs finite numbers, found {array[row].tolist()} in row {row}")
    return values


def factor_names(found: Any, where: str) -> tuple[str, ...]:
    """Names of factors from a list of strings or an array of them.

    Raises:
        ValueError: not a list of strings, or a name that is empty or there twice.
    """
    array = np.asarray(found)
    if array.shape == (0,):  # of any type: an empty list spells none
        return ()
    items = array.tolist() if array.ndim == 1 and array.dtype.kind in "OUS" else [None]
    texts = [item.decode(errors="replace") if isinstance(item, bytes) else item for item in items]
    names = tuple(text for text in texts if isinstance(text, str) and text)
    if len(set(names)) < len(items):
        raise ValueError(f"{where} needs K different strings, found {str(found)[:100]!r}")
    return names


def factor_sizes(found: Any, where: str) -> tuple[int, ...]:
    """Numbers of values of factors from a list or array of whole numbers.

    Raises:
        ValueError: not a list of whole numbers in 1..1,000,000.
    """
    array = np.asarray(found)
    if array.ndim != 1 or (array.size and (array.dtype.kind not in "iu" or array.min() < 1 or array.max() > _MOST)):
        raise ValueError(f"{where} needs K whole numbers in 1..{_MOST:,}, found {str(found)[:100]!r}")
    return tuple(int(size) for size in array)


def parse_factor_sizes(given: str | Sequence[int]) -> tuple[int, ...]:
    """Numbers of values of factors, from numbers or a text such as ``"6,6,2,3,3,40,40"``.

    Raises:
        ValueError: not whole numbers of at least 1, or in a text not separated by commas.
    """
    parts = given.split(",") if isinstance(given, str) else given
    try:
        sizes = tuple(int(part) if isinstance(part, str) else operator.index(part) for part in parts)
    except (TypeError, ValueError):
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise ValueError(
            "factor_sizes needs whole numbers of at least 1, separated by commas, such as 6,6,2,3,3,40,40, got "
            f"{given!r}"
        )
    return sizes


def label_by_order(dataset: FactorDataset, sizes: Sequence[int]) -> FactorDataset:
    """A data set whose images are in the order of a full grid, the last factor changing fastest, with its factors.

    Args:
        dataset: of unknown factors.
        sizes: numbers of values of the factors.

    Raises:
        ValueError: the data set has factors of its own, or not as many images as the grid.
    """
    if dataset.factors is not None or dataset.factor_values is not None:
        raise ValueError(
            f"factor_sizes is for images without factors, and data set {dataset.name!r} ({dataset.source}) has them "
            f"({', '.join(dataset.factor_names)}); leave factor_sizes out"
        )
    # exact: the product of what a user types may exceed 64 bits
    product = int(np.prod(np.asarray(sizes, dtype=object)))
    if product != len(dataset):
        raise ValueError(
            f"{dataset.source}: factor_sizes {','.join(map(str, sizes))} make {product:,} images, found "
            f"{len(dataset):,}"
        )
    names = dataset.factor_names or tuple(f"factor_{k}" for k in range(len(sizes)))
    if len(names) != len(sizes):
        raise ValueError(f"{dataset.source}: factor_sizes has {len(sizes)} numbers for the factors {', '.join(names)}")
    factors = full_grid(tuple(sizes))
    return dataclasses.replace(
        dataset,
        factor_names=names,
        factor_sizes=tuple(sizes),
        factors=factors,
        factor_values=factors.astype(np.float32),
    )
