"""3D Shapes: 480,000 pictures of an object in a room, from the user's copy of ``3dshapes.h5``.

Burgess and Kim, "3D Shapes Dataset" (2018), made for Kim and Mnih, "Disentangling by Factorising" (ICML 2018).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sparse_repr.data.base import FactorDataset, FloatArray, ImageStore, IntArray, full_grid
from sparse_repr.data.storage.file_images import stored_images
from sparse_repr.data.storage.hdf5_files import entries, find_dataset, open_hdf5, read_dataset
from sparse_repr.data.storage.hdf5_images import hdf5_slabs
from sparse_repr.data.storage.image_cache import CacheKey, ImageStream, cached_images
from sparse_repr.data.storage.locate import locate
from sparse_repr.data.storage.pictures import fingerprint

__all__ = ["load_shapes3d"]

FACTOR_NAMES = ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")
FACTOR_SIZES = (10, 10, 10, 8, 4, 15)

_SIDE = 64
_ADVICE = (
    "Download 3dshapes.h5 (255 MB, see https://github.com/google-deepmind/3d-shapes) and name the file, or the folder "
    "that holds it, as the data path (--data-path), or put it into the folder named by SPARSE_REPR_DATA"
)


def load_shapes3d(
    path: Path | None = None, *, progress: bool = True, sizes: tuple[int, ...] = FACTOR_SIZES
) -> FactorDataset:
    """3D Shapes: an object in a room, 480,000 colour images, the full grid of six factors.

    The official file is compressed in chunks, far too slow to read at random, so its pixels are copied once to the
    cache (5.9 GB) and read from there; a file that holds them uncompressed is read where it is.

    Args:
        path: ``3dshapes.h5`` or a folder that holds it. Without it the folder named by ``SPARSE_REPR_DATA`` is
            searched.
        progress: show a progress bar on the first use.
        sizes: numbers of values of the six factors that the file must hold; other than the official ones only for
            smaller files of the same layout.

    Returns:
        Images uint8 (3, 64, 64); `factor_values` are the file's labels (hues 0..1, orientation in degrees).

    Raises:
        FileNotFoundError: no copy found; the message says what to download.
        ValueError: the file is not 3D Shapes; the message names the file, what was expected and what was found.
        OSError: no room for the cached copy.
    """
    file = locate("shapes3d", path, ("3dshapes.h5",), advice=_ADVICE)
    factors = full_grid(sizes)
    values, store = _open(file, factors, sizes, progress)
    return FactorDataset(
        name="shapes3d",
        store=store,
        source=str(file),
        factor_names=FACTOR_NAMES,
        factor_sizes=sizes,
        factors=factors,
        factor_values=values,
        nominal_factors=("shape",),
    )


def _open(path: Path, factors: IntArray, sizes: tuple[int, ...], progress: bool) -> tuple[FloatArray, ImageStore]:
    items = len(factors)
    shape = (items, _SIDE, _SIDE, 3)
    with open_hdf5(path, unreadable=_unreadable) as file:
        arrays = {}
        for entry, expected in (("images", (shape, np.uint8)), ("labels", ((items, len(sizes)), np.float64))):
            array = find_dataset(path, file, entry, unreadable=_unreadable)
            if array is None:
                raise _unreadable(path, f"no {entry} among {entries(path, file)}")
            if (array.shape, array.dtype) != (expected[0], np.dtype(expected[1])):
                raise ValueError(
                    f"{path}: {entry} needs shape {expected[0]} and dtype {np.dtype(expected[1])}, found "
                    f"{array.shape} and {array.dtype}; is this 3dshapes.h5?"
                )
            arrays[entry] = array
        labels = read_dataset(path, arrays["labels"], unreadable=_unreadable)
        offset = arrays["images"].id.get_offset()  # None where the data set is chunked
    # each factor's values, read along its axis of the grid, must explain all labels
    strides = [int(np.prod(sizes[k + 1 :])) for k in range(len(sizes))]
    for k, name in enumerate(FACTOR_NAMES):
        axis = labels[np.arange(sizes[k]) * strides[k], k]
        if not np.array_equal(axis[factors[:, k]], labels[:, k]) or len(np.unique(axis)) != sizes[k]:
            raise ValueError(
                f"{path}: labels of {name} are not in grid order (last factor fastest); is this 3dshapes.h5?"
            )
    if offset is not None:
        return labels.astype(np.float32), stored_images(path, int(offset), shape, channels_last=True)
    key = CacheKey("shapes3d", path, fingerprint(path), {})

    def build() -> ImageStream:
        slabs = hdf5_slabs(path, progress=progress, unreadable=_unreadable, channels_last=True)
        return ImageStream(items, (3, _SIDE, _SIDE), slabs)

    return labels.astype(np.float32), cached_images(key, build).store


def _unreadable(path: Path, error: object) -> ValueError:
    return ValueError(f"{path}: not a readable 3dshapes.h5 ({error}); download it again")
