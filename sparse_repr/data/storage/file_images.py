"""FileImages: images read from a file batch by batch, so that memory does not grow with their number."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from sparse_repr.data.base import ImageArray, ImageStore, IntArray, MappedImages, StoredForm

# Some systems refuse to read more than 2 GB by one call.
_MOST_BYTES = 1024**3


class FileImages:
    """Images read from an uncompressed stretch of a file by position: memory holds the batch and nothing else.

    The pages of a memory map count as the process's own once touched, and each that has to come from the disk brings
    its neighbours along, which a shuffled order never uses: from a cold disk a map took five times as long. Pages read
    here stay in the system's page cache alone, so a second epoch costs one copy of a batch.

    The file is opened at once, so a newer file renamed over it later does not change the pixels. A copy sent to another
    process opens the file again by its path. Threads and forked processes may read at the same time.

    Args:
        path: any file that holds the pixels uncompressed and in one piece, as raw uint8.
        offset: position of the first pixel in bytes.
        shape: (N, C, H, W), or (N, H, W, C) with `channels_last`.
        channels_last: the order of the axes in the file; `read` gives (n, C, H, W) either way.

    Raises:
        ValueError: the file is shorter than `offset` and `shape` say.
    """

    in_memory = False

    def __init__(self, path: Path, offset: int, shape: tuple[int, int, int, int], channels_last: bool = False) -> None:
        self._arguments = {"path": path, "offset": offset, "shape": shape, "channels_last": channels_last}
        self._path, self._offset, self._count, self._channels_last = path, offset, shape[0], channels_last
        self._item_shape = shape[1:]
        self._item_bytes = int(np.prod(self._item_shape))
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        found, expected = os.fstat(self._descriptor).st_size, offset + self._count * self._item_bytes
        if found < expected:
            raise ValueError(f"{path}: expected at least {expected} bytes for images {shape}, found {found}")

    def __getstate__(self) -> dict[str, Any]:
        return self._arguments

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        a, b, c = self._item_shape
        return (c, a, b) if self._channels_last else (a, b, c)

    def __len__(self) -> int:
        return self._count

    def read(self, indices: IntArray) -> ImageArray:
        """Images at `indices` (n,) as uint8 (n, C, H, W), 0..255.

        Raises:
            IndexError: an index is outside ``0..N-1``.
            OSError: the file cannot be read, or was cut off after it was opened.
        """
        index = np.asarray(indices, dtype=np.int64)
        if index.size and (index.min() < 0 or index.max() >= self._count):
            raise IndexError(f"{self._path}: needs indices 0..{self._count - 1}, got {index.min()}..{index.max()}")
        batch = np.empty((len(index), *self._item_shape), dtype=np.uint8)
        # images that follow each other in the file come by one call
        starts = np.flatnonzero(np.diff(index, prepend=-2) != 1)
        positions = (self._offset + index[starts] * self._item_bytes).tolist()
        edges = (np.append(starts, len(index)) * self._item_bytes).tolist()
        if len(positions) > 1 and hasattr(os, "posix_fadvise"):
            # a disk serves requests that it knows of all at once far sooner than one after another
            for position, start, end in zip(positions, edges[:-1], edges[1:], strict=True):
                os.posix_fadvise(self._descriptor, position, end - start, os.POSIX_FADV_WILLNEED)
        view = batch.reshape(-1).data
        for position, start, end in zip(positions, edges[:-1], edges[1:], strict=True):
            self._fill(view[start:end], position)
        return np.ascontiguousarray(batch.transpose(0, 3, 1, 2)) if self._channels_last else batch

    def stored(self) -> StoredForm:
        # a map of the open file: the path may lead to a newer one by now
        with open(os.dup(self._descriptor), "rb") as file:
            rows = np.memmap(
                file, dtype=np.uint8, mode="r", offset=self._offset, shape=(self._count, *self._item_shape)
            ).view(np.ndarray)
        return StoredForm(rows, "channels_last" if self._channels_last else "channels_first")

    def _fill(self, view: memoryview, position: int) -> None:
        done = 0
        while done < len(view):
            count = os.preadv(self._descriptor, [view[done : done + _MOST_BYTES]], position + done)
            if count == 0:
                raise OSError(f"{self._path}: was cut off at byte {position + done} while it was read; get it again")
            done += count


def stored_images(path: Path, offset: int, shape: tuple[int, int, int, int], channels_last: bool = False) -> ImageStore:
    """`FileImages`, or `MappedImages` on systems that cannot read by position (Windows); arguments as theirs."""
    return (FileImages if hasattr(os, "preadv") else MappedImages)(path, offset, shape, channels_last)
