"""Images recorded from any environment or put together by the user, in one documented HDF5 layout.

====================  =========================================================================================
entry                 content
====================  =========================================================================================
``images``            uint8 (N, C, H, W), C = 1 or 3; uncompressed and in one piece it is read as it lies there
``factors``           optional, int64 (N, K): index of each factor's value
``factor_values``     optional, float32 (N, K): the value in its own unit
``factor_names``      attribute, K strings; needed with either of the two
``factor_sizes``      optional attribute, K whole numbers; the largest index and 1 where there are none
``nominal_factors``   optional attribute, strings: names of the factors whose values are in no order, such as shapes
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

import numpy as np
import numpy.typing as npt

from sparse_repr.data.base import ArrayImages, FactorDataset, ImageStore, IntArray
from sparse_repr.data.own_factors import factor_indices, factor_names, factor_sizes, factor_units
from sparse_repr.data.pixel_range import warn_of_dark_images
from sparse_repr.data.storage.hdf5_files import entries, find_dataset, open_hdf5, read_attributes, read_dataset
from sparse_repr.data.storage.hdf5_images import ChunkedImages, hdf5_slabs
from sparse_repr.data.storage.image_cache import CacheKey, ImageStream, cached_images, fits_in_memory, open_images
from sparse_repr.data.storage.pictures import fingerprint


def bin_factors(values: npt.ArrayLike, bins: Sequence[npt.ArrayLike]) -> IntArray:
    """Index of the bin that each continuous factor value falls into.

    Args:
        values: (N, K).
        bins: K ascending arrays of edges between bins; E edges make E + 1 bins, a value on an edge belongs above it.

    Returns:
        int64 (N, K), 0..E.

    Raises:
        ValueError: not K arrays, or edges that are not finite or do not ascend.
    """
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != len(bins):
        raise ValueError(f"bin_factors needs values (N, {len(bins)}) for {len(bins)} sets of edges, got {array.shape}")
    binned = np.empty(array.shape, dtype=np.int64)
    for k, edges in enumerate(bins):
        row = np.asarray(edges, dtype=np.float64)
        require_ascending("bin_factors", row, k)
        binned[:, k] = np.digitize(array[:, k].astype(np.float64), row)
    return binned


def require_ascending(caller: str, edges: npt.NDArray[np.float64], factor: int | str) -> None:
    """Check the edges of the bins of one factor.

    Raises:
        ValueError: not one axis, not finite, or not ascending; the message begins with `caller` and names `factor`.
    """
    if edges.ndim != 1 or not np.isfinite(edges).all() or not (np.diff(edges) > 0).all():
        raise ValueError(f"{caller} needs finite ascending edges, got {edges.tolist()} for factor {factor!r}")


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
    with open_hdf5(path) as file:
        images = _find_images(path, file)
        store = _images(path, images, progress, in_memory, unpack)
        found_names, found_sizes, found_nominal = read_attributes(
            path, file, ("factor_names", "factor_sizes", "nominal_factors"), images
        )
        names = () if found_names is None else factor_names(found_names, f"{path}: factor_names")
        sizes = () if found_sizes is None else factor_sizes(found_sizes, f"{path}: factor_sizes")
        nominal = () if found_nominal is None else factor_names(found_nominal, f"{path}: nominal_factors")
        factor_set, value_set = (_find_numbers(path, file, name, len(images)) for name in ("factors", "factor_values"))
        if (factor_set is not None or value_set is not None) and not names:
            raise ValueError(f"{path}: an entry with factors needs the attribute 'factor_names' (K strings)")
        factors = values = None
        if factor_set is not None:
            factors = factor_indices(read_dataset(path, factor_set), f"{path}: factors")
            if found_sizes is None:
                sizes = factor_sizes(factors.max(axis=0) + 1, f"{path}: 1 + the largest of factors")
        if value_set is not None:
            values = factor_units(read_dataset(path, value_set), f"{path}: factor_values")
        if factors is None and values is not None and "factor_bins" in file:
            factors, sizes = _binned(path, values, names, file)
    return warn_of_dark_images(
        FactorDataset(
            name="h5",
            store=store,
            source=str(path),
            factor_names=names,
            factor_sizes=sizes,
            factors=factors,
            # indices are the values where no others are known, as in an .npz
            factor_values=values if values is not None or factors is None else factors.astype(np.float32),
            nominal_factors=nominal,
        )
    )


def _find_images(path: Path, file: Any) -> Any:
    images = find_dataset(path, file, "images")
    if images is None:
        raise ValueError(f"{path}: needs an entry 'images' of uint8 (N, C, H, W), found {entries(path, file)}")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or not images.size:
        raise ValueError(
            f"{path}: images needs uint8 (N, C, H, W), none of them 0, with C = 1 or 3, found {images.dtype} "
            f"{images.shape}"
        )
    return images


def _find_numbers(path: Path, file: Any, name: str, items: int) -> Any:
    """An entry with a row for each image, or None."""
    found = find_dataset(path, file, name)
    if found is not None and (found.ndim != 2 or len(found) != items):
        raise ValueError(f"{path}: {name} needs shape ({items}, K), a row for each image, found {found.shape}")
    return found


def _images(path: Path, images: Any, progress: bool, in_memory: bool | None, unpack: bool) -> ImageStore:
    offset, shape = images.id.get_offset(), images.shape
    if offset is not None:
        return open_images(path, offset, shape, in_memory=in_memory)
    if fits_in_memory(shape, in_memory):
        return ArrayImages(read_dataset(path, images))
    if not unpack:
        return ChunkedImages(path)
    key = CacheKey("h5", path, fingerprint(path), {})

    def build() -> ImageStream:
        return ImageStream(shape[0], shape[1:], hdf5_slabs(path, progress=progress))

    try:
        return cached_images(key, build, in_memory=False).store
    except OSError as error:
        warnings.warn(
            f"{path}: its images are unpacked at every read, which is slower, for there is no uncompressed copy of "
            f"them: {error}",
            stacklevel=4,
        )
        return ChunkedImages(path)


def _binned(
    path: Path, values: npt.NDArray[np.float32], names: tuple[str, ...], file: Any
) -> tuple[IntArray, tuple[int, ...]]:
    found = {name: find_dataset(path, file, f"factor_bins/{name}") for name in names}
    missing = [name for name, edges in found.items() if edges is None]
    if missing:
        raise ValueError(f"{path}: factor_bins needs edges for every factor, none found for {missing}")
    bins = []
    for name, edges in found.items():
        if edges.ndim != 1 or edges.dtype.kind not in "iuf":
            raise ValueError(f"{path}: factor_bins/{name} needs ascending numbers, found {edges.dtype} {edges.shape}")
        bins.append(read_dataset(path, edges))
    try:
        return bin_factors(values, bins), tuple(len(edges) + 1 for edges in bins)
    except ValueError as error:
        raise ValueError(f"{path}: factor_bins: {error}") from error
