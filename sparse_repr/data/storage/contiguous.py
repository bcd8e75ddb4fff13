"""Data sets of an HDF5 file that lie in one piece and are filled through plain writes.

After a failed write, on a full disk, HDF5 can no longer close its file: it keeps the space of the removed one until the
process ends, and may end it by a segmentation fault. So HDF5 writes only where room was proved a moment before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import RawIOBase
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

# More than HDF5 writes for the names, shapes and attributes of a file.
_METADATA_BYTES = 64 * 1024


class Layout(NamedTuple):
    """One data set to be filled: its shape and the type of its values."""

    shape: tuple[int, ...]
    dtype: npt.DTypeLike


def create_contiguous(
    path: Path,
    layouts: Mapping[str, Layout],
    *,
    attributes: Mapping[str, Any] | None = None,
    small: Mapping[str, npt.NDArray[Any]] | None = None,
) -> dict[str, int]:
    """Write an HDF5 file with unfilled data sets; returns the offset of the first byte of each.

    Args:
        path: file to write; what is there is replaced.
        layouts: name -> shape and type of each data set to be filled.
        attributes: attributes of the file.
        small: name -> values of further data sets, some kilobytes together.

    Raises:
        OSError: no room, or the file may not be that large.
    """
    size = sum(int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize for shape, dtype in layouts.values())
    path.write_bytes(b"")
    prove_room(path, 0, length=size + _METADATA_BYTES)
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(path, "w") as file:
        for name, values in (small or {}).items():
            file.create_dataset(name, data=values)
        file.attrs.update(attributes or {})
        offsets = {}
        for name, (shape, dtype) in layouts.items():
            space, kind = h5py.h5s.create_simple(shape), h5py.h5t.py_create(np.dtype(dtype), logical=True)
            offsets[name] = int(h5py.h5d.create(file.id, name.encode(), kind, space, creation).get_offset())
    return offsets


def prove_room(path: Path, needed_bytes: int, *, length: int = 0) -> None:
    """Write to the end of a file what HDF5 is about to, and take it away again.

    Args:
        path: an existing file; its content stays.
        needed_bytes: how much will be written beside names, shapes and attributes.
        length: a length in bytes that the file must be allowed to have.

    Raises:
        OSError: no room, or the file may not be that large.
    """
    with path.open("rb+", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            write_array(file, np.zeros(needed_bytes + _METADATA_BYTES, dtype=np.uint8))
            if length > file.tell():
                file.truncate(length)
            # a file system over a network may say it only now
            os.fsync(file.fileno())
        finally:
            file.truncate(end)


def write_array(file: RawIOBase, array: npt.NDArray[Any]) -> None:
    """Write all values of `array`, in C order, at the position of an unbuffered file.

    Raises:
        OSError: no room.
    """
    rest = memoryview(array.tobytes())
    while len(rest):
        rest = rest[file.write(rest) or 0 :]
