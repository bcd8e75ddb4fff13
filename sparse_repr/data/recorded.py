"""Images recorded from any environment or put together by the user, in one documented HDF5 layout.

====================  =========================================================================================
entry                 content
====================  =========================================================================================
``images``            uint8 (N, C, H, W), C = 1 or 3; uncompressed and in one piece it is read as it lies there
``factors``           optional, int64 (N, K): index of each factor's value
``factor_values``     optional, float32 (N, K): the value in its own unit
``factor_names``      attribute, K strings; needed with either of the two
``factor_sizes``      attribute, K whole numbers; needed with ``factors``
``factor_bins``       optional group: one float data set per factor name, the ascending edges between its bins; with
                      ``factor_values`` it stands in for ``factors``
====================  =========================================================================================

`rl.record` writes this layout, with the images uncompressed and in one piece. Images in any other form, compressed or
in chunks, are unpacked once into the cache.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from sparse_repr.data.base import ArrayImages, FactorDataset, ImageStore, IntArray
from sparse_repr.data.hdf5_images import ChunkedImages, hdf5_slabs
from sparse_repr.data.image_cache import CacheKey, ImageStream, cached_images, fits_in_memory, open_images
from sparse_repr.data.pictures import fingerprint


def bin_factors(values: npt.ArrayLike, bins: Sequence[npt.ArrayLike]) -> IntArray:
    """Index of the bin that each continuous factor value falls into.

    Args:
        values: (N, K).
        bins: K ascending arrays of edges between bins; E edges make E + 1 bins, a value on an edge belongs above it.

    Returns:
        int64 (N, K), 0..E.

    Raises:
        ValueError: not K arrays, or edges that do not ascend.
    """
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != len(bins):
        raise ValueError(f"bin_factors needs values (N, {len(bins)}) for {len(bins)} sets of edges, got {array.shape}")
    binned = np.empty(array.shape, dtype=np.int64)
    for k, edges in enumerate(bins):
        row = np.asarray(edges, dtype=np.float64)
        if row.ndim != 1 or not (np.diff(row) > 0).all():
            raise ValueError(f"bin_factors needs ascending edges, got {row.tolist()} for factor {k}")
        binned[:, k] = np.digitize(array[:, k].astype(np.float64), row)
    return binned


def load_recorded(
    path: Path | None = None, *, progress: bool = True, in_memory: bool | None = None, unpack: bool = True
) -> FactorDataset:
    """Your own HDF5 file of images, with factors where it has them (written by rl.record).

    Up to 32 MB of images are held in memory. Of more, each batch is read from the file when it is drawn, so that memory
    grows by the factors alone: 12 K bytes an image. Images that are compressed or in chunks are unpacked once into the
    cache; where that has no room a warning says so, and each read unpacks the chunks that it needs, which is slower.

    Args:
        path: the file.
        progress: show a progress bar on the first use, while images are unpacked.
        in_memory: hold the images in memory (True) or read each batch from the file (False); None chooses by size.
        unpack: keep an uncompressed copy of compressed images in the cache; False unpacks at every read.

    Raises:
        ValueError: no path, or the file does not follow the layout; the message names the entry.
        FileNotFoundError: no such file.
    """
    if path is None:
        raise ValueError("data set 'h5' needs a path (--data-path): the HDF5 file to read, for example from rl.record")
    if not path.is_file():
        raise FileNotFoundError(f"no HDF5 file at {path}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        _check_images(path, file)
        store = _images(path, file["images"], progress, in_memory, unpack)
        names = tuple(str(name) for name in file.attrs.get("factor_names", ()))
        sizes = tuple(int(size) for size in file.attrs.get("factor_sizes", ()))
        factors = np.asarray(file["factors"], dtype=np.int64) if "factors" in file else None
        values = np.asarray(file["factor_values"], dtype=np.float32) if "factor_values" in file else None
        if (factors is not None or values is not None) and not names:
            raise ValueError(f"{path}: an entry with factors needs the attribute 'factor_names' (K strings)")
        if factors is None and values is not None and "factor_bins" in file:
            factors, sizes = _binned(path, values, names, file["factor_bins"])
    return FactorDataset(
        name="h5",
        store=store,
        source=str(path),
        factor_names=names,
        factor_sizes=sizes,
        factors=factors,
        factor_values=values,
    )


def _check_images(path: Path, file: Any) -> None:
    if "images" not in file:
        raise ValueError(f"{path}: needs an entry 'images' of uint8 (N, C, H, W), found {sorted(file)}")
    images = file["images"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise ValueError(
            f"{path}: images needs uint8 (N, C, H, W) with C = 1 or 3, found {images.dtype} {images.shape}"
        )


def _images(path: Path, images: Any, progress: bool, in_memory: bool | None, unpack: bool) -> ImageStore:
    offset, shape = images.id.get_offset(), images.shape
    if offset is not None:
        return open_images(path, offset, shape, in_memory=in_memory)
    if fits_in_memory(shape, in_memory):
        try:
            return ArrayImages(images[:])
        except OSError as error:
            raise _unreadable(path, error) from error
    if not unpack:
        return ChunkedImages(path)
    key = CacheKey("h5", path, fingerprint(path), {})

    def build() -> ImageStream:
        return ImageStream(shape[0], shape[1:], hdf5_slabs(path, progress=progress, unreadable=_unreadable))

    try:
        return cached_images(key, build, in_memory=False).store
    except OSError as error:
        warnings.warn(
            f"{path}: its images are unpacked at every read, which is slower, for there is no uncompressed copy of "
            f"them: {error}",
            stacklevel=4,
        )
        return ChunkedImages(path)


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: not a readable HDF5 file ({error})")


def _binned(
    path: Path, values: npt.NDArray[np.float32], names: tuple[str, ...], group: Any
) -> tuple[IntArray, tuple[int, ...]]:
    missing = [name for name in names if name not in group]
    if missing:
        raise ValueError(f"{path}: factor_bins needs edges for every factor, none found for {missing}")
    bins = [np.asarray(group[name]) for name in names]
    try:
        return bin_factors(values, bins), tuple(len(edges) + 1 for edges in bins)
    except ValueError as error:
        raise ValueError(f"{path}: factor_bins: {error}") from error
