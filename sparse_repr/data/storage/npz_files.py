"""Arrays of a `.npz` file, slab by slab: nothing is unpickled, and headers are held against the bytes there are."""

from __future__ import annotations

import contextlib
import dataclasses
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparse_repr.files.kinds import refuse_foreign

# numpy writes some hundred bytes; parsing more than it reads itself would only cost time.
_LONGEST_HEADER = 10_000
_SLAB_BYTES = 12 * 1024**2


class ArrayHeader(NamedTuple):
    """What a `.npy` header states."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]


@dataclasses.dataclass(frozen=True)
class NpzFile:
    """A `.npz` file of someone else's."""

    path: Path
    unreadable: Callable[[Path, object], ValueError]
    """Makes the error for a damaged file."""

    def names(self) -> tuple[str, ...]:
        """Names of its arrays, in the order of the file."""
        with self._archive() as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())

    def header(self, name: str) -> ArrayHeader:
        """What an array's header states; its size is that of the array's bytes.

        Raises:
            ValueError: no such array, or damaged.
        """
        with self._opened(name) as (header, _, _):
            return header

    def read(self, name: str) -> npt.NDArray[Any]:
        """A whole array, for those that are small beside the images.

        Raises:
            ValueError: no such array, damaged, or of pickled objects.
        """
        header = self.header(name)
        if header.fortran_order and header.shape and not header.dtype.hasobject:
            size = int(np.prod(header.shape, dtype=object)) * header.dtype.itemsize
            with self._opened(name) as (_, file, _), self._explained():
                data = file.read(size)
                if len(data) != size:
                    raise EOFError(f"{name} is cut off")
            whole = np.frombuffer(data, dtype=header.dtype).reshape(header.shape, order="F")
            return np.ascontiguousarray(whole)
        rows = list(self.slabs(name))
        return np.concatenate(rows) if rows else np.empty(self.header(name).shape, self.header(name).dtype)

    def slabs(self, name: str, *, rows: int | None = None) -> Iterator[npt.NDArray[Any]]:
        """The rows of an array in order, some megabytes (or this many rows) at a time.

        Raises:
            ValueError: no such array, damaged, of pickled objects, in Fortran order, or without an axis.
        """
        with self._opened(name) as (header, file, _):
            if header.dtype.hasobject or header.fortran_order or not header.shape:
                kind = "pickled objects" if header.dtype.hasobject else "Fortran order or no axis"
                raise ValueError(
                    f"{self.path}: {name} needs numbers or text in C order (np.ascontiguousarray), found {kind}"
                )
            row_bytes = int(np.prod(header.shape[1:], dtype=object)) * header.dtype.itemsize
            step = rows if rows is not None else max(1, _SLAB_BYTES // max(1, row_bytes))
            for start in range(0, header.shape[0], step):
                count = min(step, header.shape[0] - start)
                with self._explained():
                    data = file.read(count * row_bytes)
                    if len(data) != count * row_bytes:
                        raise EOFError(f"{name} ends after row {start}")
                    slab = np.frombuffer(data, dtype=header.dtype) if row_bytes else np.empty(0, header.dtype)
                    slab = slab.reshape(count, *header.shape[1:])
                yield slab

    def plain_offset(self, name: str) -> int | None:
        """Where the array's bytes start in the file; None where they are compressed."""
        with self._opened(name) as (_, file, member):
            if member.compress_type != zipfile.ZIP_STORED:
                return None
            # behind the member's local header, which ends in two fields of stated size, stands the array's own
            with self.path.open("rb") as raw:
                raw.seek(member.header_offset + 26)
                name_bytes, extra_bytes = np.frombuffer(raw.read(4), dtype="<u2").tolist()
            return int(member.header_offset + 30 + name_bytes + extra_bytes + file.tell())

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # zipfile, its decompressors and numpy raise nearly any type on damaged files
            raise self.unreadable(self.path, str(error) or type(error).__name__) from error

    @contextlib.contextmanager
    def _archive(self) -> Iterator[zipfile.ZipFile]:
        refuse_foreign(self.path, "a .npz file")
        with self._explained():
            archive = zipfile.ZipFile(self.path)
        with archive:
            yield archive

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[tuple[ArrayHeader, IO[bytes], zipfile.ZipInfo]]:
        """An array's header, and the file positioned behind it."""
        with self._archive() as archive:
            with self._explained():
                member = archive.getinfo(f"{name}.npy")
                file = archive.open(member)
            with file:
                with self._explained():
                    header = _read_header(file)
                    if not header.dtype.hasobject:
                        _check_size(name, header, member.file_size - file.tell())
                yield header, file, member


def _read_header(file: IO[bytes]) -> ArrayHeader:
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): (2, np.lib.format.read_array_header_1_0), (2, 0): (4, np.lib.format.read_array_header_2_0)}
    if version not in readers:
        raise ValueError(f"unknown .npy version {version}")
    length_bytes, read = readers[version]
    start = file.tell()
    length = int.from_bytes(file.read(length_bytes), "little")
    if length > _LONGEST_HEADER:
        raise ValueError(f"a .npy header of {length} bytes")
    file.seek(start)
    header = ArrayHeader(*read(file))
    if any(isinstance(size, bool) or size < 0 for size in header.shape):
        raise ValueError(f"shape {header.shape}")
    return header


def _check_size(name: str, header: ArrayHeader, found: int) -> None:
    # exact numbers: a product of damaged sizes may exceed 64 bits
    expected = int(np.prod(header.shape, dtype=object)) * header.dtype.itemsize
    if found != expected:
        raise ValueError(f"{name} claims {header.dtype} {header.shape}, {expected} bytes, and has {found}")
