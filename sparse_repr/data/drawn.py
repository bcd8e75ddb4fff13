"""What the drawn data sets share: the table of their factors, the check of a renderer's arguments, the full grid."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from sparse_repr.data.base import (
    ArrayImages,
    DrawnImages,
    FactorDataset,
    FloatArray,
    ImageArray,
    ImageStore,
    IntArray,
    full_grid,
)
from sparse_repr.data.storage.cache import cached_array

# Images per task while a grid is drawn.
_SLAB = 512


@dataclasses.dataclass(frozen=True)
class DrawnFactor:
    """One argument of a renderer: what it accepts, and which values of it make the grid."""

    name: str
    """Name of the argument and of the factor."""
    values: tuple[float, ...]
    """Value of each factor index, in the argument's unit."""
    low: float = -np.inf
    high: float = np.inf
    """The renderer accepts low..high, ends included."""
    choices: tuple[str, ...] = ()
    """What the whole numbers 0, 1, 2 … stand for; empty for a continuous argument."""


def categorical(name: str, *choices: str) -> DrawnFactor:
    """A factor whose values are the whole numbers that count `choices`."""
    values = tuple(float(index) for index in range(len(choices)))
    return DrawnFactor(name, values, 0.0, len(choices) - 1.0, choices)


def check_arguments(
    caller: str, factors: Sequence[DrawnFactor], columns: Sequence[npt.ArrayLike]
) -> list[npt.NDArray[np.float64]]:
    """Broadcast a renderer's arguments to (n,) float64 each and refuse what it cannot draw.

    Raises:
        ValueError: lengths that do not broadcast, a value outside its range, or a part of a category; the message
            names the argument.
    """
    arrays = [np.atleast_1d(np.asarray(column, dtype=np.float64)) for column in columns]
    try:
        arrays = list(np.broadcast_arrays(*arrays))
    except ValueError as error:
        shapes = [array.shape for array in arrays]
        raise ValueError(f"{caller} needs arrays of one length or scalars, got shapes {shapes}") from error
    if arrays[0].ndim != 1:
        raise ValueError(f"{caller} needs 1-D arrays or scalars, got shape {arrays[0].shape}")
    for factor, array in zip(factors, arrays, strict=True):
        # float32 factor values may round a hair beyond the bounds
        slack = 1e-6 * max(1.0, factor.high - factor.low) if np.isfinite(factor.high) else 0.0
        good = np.isfinite(array) & (array >= factor.low - slack) & (array <= factor.high + slack)
        if not good.all():
            bounds = f"in {factor.low:g}..{factor.high:g}" if np.isfinite(factor.high) else "that is finite"
            raise ValueError(f"{caller} needs {factor.name} {bounds}, got {array[~good][0]:g}")
        broken = array != np.floor(array)
        if factor.choices and broken.any():
            meanings = ", ".join(f"{index} {choice}" for index, choice in enumerate(factor.choices))
            raise ValueError(f"{caller} needs whole numbers as {factor.name} ({meanings}), got {array[broken][0]:g}")
    return arrays


def factor_values_of(factors: Sequence[DrawnFactor], indices: IntArray) -> FloatArray:
    """Values of factor indices in the units of the renderer: (n, K) int64 -> (n, K) float32."""
    tables = [np.asarray(factor.values) for factor in factors]
    return np.stack([table[indices[:, k]] for k, table in enumerate(tables)], axis=1).astype(np.float32)


def load_drawn_grid(
    name: str,
    factors: Sequence[DrawnFactor],
    render: Callable[..., ImageArray],
    image_shape: tuple[int, int, int],
    *,
    path: Path | None,
    version: int,
    progress: bool,
    cached: bool,
) -> FactorDataset:
    """Every combination of the factors' values as one data set, the last factor changing fastest.

    Args:
        name: name of the data set; the cache file is `name`-drawn-v`version`.npy.
        factors: K factors, in the order of the renderer's arguments.
        render: (n,) values per factor -> uint8 (n, C, H, W).
        image_shape: (C, H, W).
        path: must be None: there is nothing to read.
        version: raised whenever a drawn pixel changes.
        progress: show a progress bar while the cache is drawn.
        cached: draw all images once into the cache folder and memory-map them; otherwise draw at every read.

    Raises:
        ValueError: a path was given.
        OSError: no room for the cached copy.
    """
    if path is not None:
        raise ValueError(f"data set {name!r} is drawn from formulas and needs no path, got {path}: leave the path out")
    sizes = tuple(len(factor.values) for factor in factors)
    indices = full_grid(sizes)
    values = factor_values_of(factors, indices)
    drawn = DrawnImages(render, values, image_shape)

    store: ImageStore = drawn
    if cached:
        array = cached_array(
            f"{name}-drawn-v{version}",
            (len(indices), *image_shape),
            lambda: _draw_all(drawn, f"drawing {name}", progress),
            purpose=f"the {name} cache",
            memory_map=True,
        )
        store = ArrayImages(array)
    return FactorDataset(
        name=name,
        store=store,
        source="drawn",
        factor_names=tuple(factor.name for factor in factors),
        factor_sizes=sizes,
        factors=indices,
        factor_values=values,
        nominal_factors=tuple(factor.name for factor in factors if len(factor.choices) > 2),
    )


def _draw_all(images: DrawnImages, description: str, progress: bool) -> Iterator[ImageArray]:
    """All images in order, in slabs."""
    starts = range(0, len(images), _SLAB)
    everything = np.arange(len(images), dtype=np.int64)
    # numpy releases the interpreter lock inside its loops; more threads than two only contend for it
    with (
        ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool,
        tqdm(total=len(images), desc=description, unit="img", disable=not progress) as bar,
    ):
        for slab in pool.map(lambda start: images.read(everything[start : start + _SLAB]), starts):
            yield slab
            bar.update(len(slab))
