"""Images in an HDF5 data set of any layout: compressed, in chunks, or in one piece."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sparse_repr.data.base import ImageArray, IntArray
from sparse_repr.data.storage.hdf5_files import Unreadable, damaged, find_dataset, open_hdf5
from sparse_repr.data.storage.image_cache import Slab

_SLAB_BYTES = 12 * 1024**2
# A slab is a whole number of the file's chunks, unless those are enormous.
_MOST_BYTES = 192 * 1024**2


class ChunkedImages:
    """Images decompressed at every read, for who has no room for an uncompressed copy.

    A read decompresses each chunk that it touches once and keeps none, so memory holds one chunk beside the batch. In a
    shuffled order nearly every image needs a chunk of its own: the more images a chunk holds, the slower.

    The file is opened at once; a copy sent to another process opens it again by its path.

    Args:
        path: an HDF5 file whose data set ``images`` is uint8 (N, C, H, W).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._images = find_dataset(path, open_hdf5(path), "images")

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self._path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        _, channels, height, width = self._images.shape
        return channels, height, width

    def __len__(self) -> int:
        return len(self._images)

    def read(self, indices: IntArray) -> ImageArray:
        """Images at `indices` (n,) as uint8 (n, C, H, W), 0..255.

        Raises:
            OSError: a chunk is damaged.
        """
        wanted, places = np.unique(indices, return_inverse=True)
        images = np.empty((len(wanted), *self.image_shape), dtype=np.uint8)
        rows = _chunk_rows(self._images)
        edges = [*np.flatnonzero(np.diff(wanted // rows, prepend=-1)).tolist(), len(wanted)]
        for start, end in itertools.pairwise(edges):
            first, last = int(wanted[start]), int(wanted[end - 1])
            try:
                images[start:end] = self._images[first : last + 1][wanted[start:end] - first]
            except Exception as error:  # h5py raises nearly any type on a damaged file
                raise OSError(f"{self._path}: images {first}..{last} cannot be read ({error}); get it again") from error
        return images[places]


def hdf5_slabs(
    path: Path,
    *,
    progress: bool,
    unreadable: Unreadable = damaged,
    channels_last: bool = False,
    slab_bytes: int = _SLAB_BYTES,
    most_bytes: int = _MOST_BYTES,
) -> Generator[Slab, None, None]:
    """The data set ``images`` of an HDF5 file from its first image to its last, some chunks at a time.

    Args:
        path: the file.
        progress: show a progress bar.
        unreadable: the error to raise for a damaged chunk.
        channels_last: the file holds (N, H, W, C); slabs are (n, C, H, W) either way.
        slab_bytes: a slab is the fewest whole chunks that hold as much,
        most_bytes: but no more images than this holds.

    Raises:
        ValueError: as `find_dataset`, or a damaged chunk.
    """
    with open_hdf5(path) as file:
        images = find_dataset(path, file, "images")
        count, chunk = len(images), _chunk_rows(images)
        item_bytes = int(np.prod(images.shape[1:]))
        rows = min(-(-slab_bytes // (item_bytes * chunk)) * chunk, max(1, most_bytes // item_bytes))
        with tqdm(total=count, desc=f"unpacking {path.name}", unit="img", disable=not progress) as bar:
            for start in range(0, count, rows):
                try:
                    slab = images[start : start + rows]
                except Exception as error:  # h5py raises nearly any type on a damaged file
                    raise unreadable(path, error) from error
                yield Slab(slab.transpose(0, 3, 1, 2) if channels_last else slab)
                bar.update(len(slab))


def _chunk_rows(images: Any) -> int:
    return int(images.chunks[0]) if images.chunks else 1
