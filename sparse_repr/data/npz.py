"""Any `.npz` file of pictures, as `numpy.savez` writes it.

==================  ================================================================================================
entry               content
==================  ================================================================================================
``images``          uint8 (N, H, W), (N, H, W, C) or (N, C, H, W), C = 1 or 3, 0..255
``factors``         optional, whole numbers (N, K): index of each factor's value
``factor_values``   optional, float32 (N, K): the value in its own unit
``factor_names``    optional, K strings; ``factor_0``, ``factor_1`` … where there are none
``factor_sizes``    optional, K whole numbers; the largest index and 1 where there are none
``nominal_factors`` optional, strings: names of the factors whose values are in no order, such as shapes
==================  ================================================================================================
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparse_repr.data.base import FactorDataset
from sparse_repr.data.own_factors import factor_indices, factor_names, factor_sizes, factor_units
from sparse_repr.data.pixel_range import warn_of_dark_images
from sparse_repr.data.storage.npz_files import NpzFile
from sparse_repr.data.storage.npz_images import npz_images

__all__ = ["load_npz"]


def load_npz(path: Path | None = None, *, progress: bool = True, in_memory: bool | None = None) -> FactorDataset:
    """Your own `.npz` of pictures (`images`), with factors where it has them (`factors`); nothing is unpickled.

    Images that lie in the file uncompressed (`numpy.savez`) are read from there batch by batch; others are unpacked
    once into the cache. Where the images are in the order of a grid, `factor_sizes` of `load_dataset` labels them.

    Args:
        path: the file.
        progress: show a progress bar on the first use, while images are unpacked.
        in_memory: hold the images in memory (True) or read each batch from a file (False); None chooses.

    Raises:
        ValueError: no path, or the file does not follow the layout; the message names the file and the entry.
        FileNotFoundError: no such file.
        OSError: no room for the cached copy.
    """
    if path is None:
        raise ValueError("data set 'npz' needs a path (--data-path): the .npz file with an array 'images'")
    if not path.exists():
        raise FileNotFoundError(f"no .npz file at {path}")
    file = NpzFile(path, _unreadable)
    names = file.names()
    if "images" not in names:
        raise ValueError(f"{path}: needs an array 'images', found {sorted(names)[:20]}; save it as images=…")
    header = file.header("images")
    shape, channels_last = _layout(path, header.shape, header.dtype)
    if header.fortran_order:
        raise ValueError(f"{path}: images needs C order, found Fortran order; save numpy.ascontiguousarray(images)")
    count = shape[0]
    factors = _rows(file, "factors", count) if "factors" in names else None
    values = _rows(file, "factor_values", count) if "factor_values" in names else None
    indices = None if factors is None else factor_indices(factors, f"{path}: factors")
    units = None if values is None else factor_units(values, f"{path}: factor_values")
    known = indices if indices is not None else units
    labels: tuple[str, ...] = ()
    if "factor_names" in names:
        labels = factor_names(file.read("factor_names"), f"{path}: factor_names")
    elif known is not None:
        labels = tuple(f"factor_{k}" for k in range(known.shape[1]))
    sizes: tuple[int, ...] = ()
    if "factor_sizes" in names:
        sizes = factor_sizes(file.read("factor_sizes"), f"{path}: factor_sizes")
    elif indices is not None:
        sizes = factor_sizes(indices.max(axis=0) + 1, f"{path}: 1 + the largest of factors")
    nominal: tuple[str, ...] = ()
    if "nominal_factors" in names:
        nominal = factor_names(file.read("nominal_factors"), f"{path}: nominal_factors")
    store = npz_images(
        file, "images", shape, dataset="npz", channels_last=channels_last, progress=progress, in_memory=in_memory
    )
    return warn_of_dark_images(
        FactorDataset(
            name="npz",
            store=store,
            source=str(path),
            factor_names=labels,
            factor_sizes=sizes,
            factors=indices,
            factor_values=units if units is not None or indices is None else indices.astype(np.float32),
            nominal_factors=nominal,
        )
    )


def _layout(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[tuple[int, int, int, int], bool]:
    """Four axes of the images, and whether the channels come last."""
    if dtype != np.uint8:
        advice = {
            "f": "for pixels in 0..1 save numpy.rint(255 * images).astype('uint8')",
            "b": "save 255 * images.astype('uint8')",
            "O": "save one array of equal shapes",
        }.get(dtype.kind, "save images.astype('uint8') where they are in 0..255")
        raise ValueError(f"{path}: images needs uint8 in 0..255, found {dtype} {shape}; {advice}")
    last, first = len(shape) == 4 and shape[3] in (1, 3), len(shape) == 4 and shape[1] in (1, 3)
    if 0 in shape or not (len(shape) == 3 or last or first):
        raise ValueError(
            f"{path}: images needs shape (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3, found {shape}"
        )
    if last and first:
        raise ValueError(
            f"{path}: images of shape {shape} may be (N, H, W, C) or (N, C, H, W); save them at another height or width"
        )
    if len(shape) == 3:
        return (shape[0], 1, shape[1], shape[2]), False
    return (shape[0], shape[1], shape[2], shape[3]), last


def _rows(file: NpzFile, name: str, count: int) -> npt.NDArray[Any]:
    found = file.header(name).shape
    if len(found) != 2 or found[0] != count:
        raise ValueError(f"{file.path}: {name} needs shape ({count}, K), a row for each image, found {found}")
    return file.read(name)


def _unreadable(path: Path, error: object) -> ValueError:
    return ValueError(f"{path}: not a readable .npz file ({error}); get it again")
