"""HDF5 files of someone else's: what lies in other files, or cannot lie in this one, is refused by name.

HDF5 lets a file name others, by external storage, links and virtual data sets, and reads them as if they were part of
it: a file from elsewhere could show any file of this machine as pixels. Here a data set is what the file itself holds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from sparse_repr.data.storage.hdf5_texts import broken_heap
from sparse_repr.files.kinds import refuse_foreign

Unreadable = Callable[[Path, object], ValueError]

# Deflate makes nothing smaller than this share of it. Up to the second number a size is believed all the same: images
# that were never written take no room and are black.
_BEST_COMPRESSION = 1032
_BELIEVED_BYTES = 64 * 1024**2
_TRIED_BYTES = 16 * 1024**2


def damaged(path: Path, error: object) -> ValueError:
    """The error for a file that HDF5 cannot read."""
    return ValueError(f"{path}: not a readable HDF5 file ({error})")


def open_hdf5(path: Path, *, unreadable: Unreadable = damaged) -> Any:
    """Open an HDF5 file for reading: an `h5py.File`, which the caller closes.

    Raises:
        ValueError: not an HDF5 file, or a damaged one.
    """
    refuse_foreign(path, "an HDF5 file")
    with _explained(path, unreadable):
        file = h5py.File(path, "r")
        # a damaged list of entries would otherwise hide some of them
        if not all(name in file for name in file):
            raise ValueError("its list of entries is damaged")
        return file


def entries(path: Path, file: Any, *, unreadable: Unreadable = damaged) -> list[str]:
    """Names of the first entries of a file or group, for messages."""
    with _explained(path, unreadable):
        return sorted(name for _, name in zip(range(20), file, strict=False))


def find_dataset(path: Path, file: Any, name: str, *, unreadable: Unreadable = damaged) -> Any:
    """The data set of that name whose numbers lie in this very file; None where there is none.

    Args:
        path: for messages.
        file: what `open_hdf5` gave.
        name: with ``/`` between groups.
        unreadable: makes the error for a damaged file.

    Raises:
        ValueError: a link or a group has its name, its numbers lie in another file, or the file is too small for it.
    """
    found = file
    for part in filter(None, name.split("/")):
        with _explained(path, unreadable):
            link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
            is_link = link is not None and not isinstance(link, h5py.HardLink)
            found = None if link is None or is_link else found[part]
        if is_link:
            raise _elsewhere(path, name, "is a link")
        if found is None:
            return None
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{path}: {name} needs to be a data set, found a {type(found).__name__.lower()}")
    with _explained(path, unreadable):
        layout = found.id.get_create_plist()
        outside = "has its numbers in another file" if layout.get_external_count() else ""
        outside = "is put together from other data sets" if layout.get_layout() == h5py.h5d.VIRTUAL else outside
        problem = "" if outside else _contradiction(found, layout, path.stat().st_size)
    if outside:
        raise _elsewhere(path, name, outside)
    if problem:
        raise ValueError(f"{path}: {name} {problem}; the file is damaged or incomplete: get it again")
    return found


def read_dataset(
    path: Path, dataset: Any, rows: slice = slice(None), *, unreadable: Unreadable = damaged
) -> npt.NDArray[Any]:
    """The numbers of what `find_dataset` gave, all or some rows of them.

    Raises:
        ValueError: they cannot be read.
    """
    with _explained(path, unreadable):
        return np.asarray(dataset[rows] if dataset.shape else dataset[()])


def read_attributes(
    path: Path, file: Any, names: Sequence[str], images: Any, *, unreadable: Unreadable = damaged
) -> list[Any]:
    """Attributes of the file, each None where there is none.

    Args:
        path: for messages.
        file: what `open_hdf5` gave.
        names: of the attributes.
        images: its largest data set, as `find_dataset` gave it.
        unreadable: makes the error for a damaged file.

    Raises:
        ValueError: they cannot be read.
    """
    with _explained(path, unreadable):
        found = [name for name in names if name in file.attrs]
        place = broken_heap(path, images) if found else None
        if place is not None:
            raise ValueError(f"the texts at byte {place} are damaged")
        return [file.attrs[name] if name in found else None for name in names]


@contextlib.contextmanager
def _explained(path: Path, unreadable: Unreadable) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # h5py raises nearly any type on a damaged file
        raise unreadable(path, str(error) or type(error).__name__) from error


def _elsewhere(path: Path, name: str, how: str) -> ValueError:
    return ValueError(
        f"{path}: {name} {how}, which is never followed: it could show any file of this machine; copy the numbers "
        "themselves into the file"
    )


def _contradiction(dataset: Any, layout: Any, file_bytes: int) -> str:
    """What of a data set's description the file cannot bear out, or nothing."""
    kind = dataset.id.get_type()
    shape = dataset.shape
    if shape is None:
        return "holds nothing"
    if isinstance(kind, h5py.h5t.TypeIntegerID) and (kind.get_precision() != 8 * kind.get_size() or kind.get_offset()):
        return f"has numbers of {kind.get_precision()} bits in {kind.get_size()} bytes"
    declared = int(np.prod(shape, dtype=object)) * kind.get_size()
    stored, offset = dataset.id.get_storage_size(), dataset.id.get_offset()
    whole = dataset.chunks is None and (offset is not None or layout.get_layout() == h5py.h5d.COMPACT)
    if whole and (stored != declared or (offset or 0) + declared > file_bytes):
        found = min(stored, max(0, file_bytes - (offset or 0)))
        return f"claims shape {shape} ({declared} bytes), and has {found} bytes"
    chunk = int(np.prod(dataset.chunks, dtype=object)) * kind.get_size() if dataset.chunks else 0
    if max(declared, chunk) > max(_BELIEVED_BYTES, _BEST_COMPRESSION * file_bytes):
        return f"claims {max(declared, chunk)} bytes, more than any compression gets into a file of {file_bytes}"
    return _misplaced_chunk(dataset) if dataset.chunks else ""


def _misplaced_chunk(dataset: Any) -> str:
    """The first chunk whose place in the data set is damaged: its numbers would be missing or stand for others."""
    places: list[tuple[tuple[int, ...], int]] = []
    dataset.id.chunk_iter(lambda chunk: places.append((tuple(chunk.chunk_offset), chunk.size)))
    seen: set[tuple[int, ...]] = set()
    for place, _ in places:
        inside = all(
            0 <= at < size and at % step == 0
            for at, size, step in zip(place, dataset.shape, dataset.chunks, strict=True)
        )
        if not inside or place in seen:
            return f"has a chunk at {place} that cannot be there"
        seen.add(place)
    # a chunk that is listed may still not be found; the last one is where the list ends, and many are not tried
    tried = 0
    for place, size in reversed(places):
        tried += size
        if tried > _TRIED_BYTES and place != places[-1][0]:
            break
        try:
            dataset.id.read_direct_chunk(place)
        except (OSError, RuntimeError, ValueError) as error:
            return f"has a chunk at {place} that is not found ({error})"
    return ""
