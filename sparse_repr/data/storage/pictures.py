"""Collections of compressed pictures: a zip, a tar or a folder. Members are read into memory, never put on disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import tarfile
import threading
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from stat import S_ISREG
from typing import Protocol

from sparse_repr.files.kinds import refuse_foreign

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})

# No picture is larger than this; a small compressed member may claim any size.
_LARGEST_PICTURE_BYTES = 256 * 1024**2
_TAR_BLOCK = 512
# What the files of each program begin with, and how it is undone, whatever the file is called.
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gzip -dc <"),
    b"BZh91AY&SY": ("bzip2", "bzip2 -dc <"),
    b"\xfd7zXZ": ("xz", "xz -dc <"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -dc <"),
}
_LONGEST_MAGIC = max(map(len, _COMPRESSED))
# Long names and the like; tarfile needs quadratic time for some contents of them.
_LARGEST_TAR_EXTENSION_BYTES = 16 * 1024
_TAR_EXTENSIONS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
)  # fmt: skip


class Pictures(Protocol):
    """Compressed pictures by name; `read` may be called from several threads."""

    @property
    def names(self) -> tuple[str, ...]:
        """Paths inside the collection, with ``/`` between folders, sorted."""

    def read(self, name: str) -> bytes:
        """The compressed bytes of one picture."""


def fingerprint(place: Path, suffixes: Iterable[str] = PICTURE_SUFFIXES) -> str:
    """A digest that changes when a file, or the listing of a folder (names, sizes, times), changes."""
    if not place.is_dir():
        stat = place.stat()
        return f"{stat.st_size}-{stat.st_mtime_ns}"
    # the sum of one digest per file does not depend on their order, so that a million files need not be held and sorted
    total = 0
    for name, size, time_ns in _walk(place, frozenset(suffixes)):
        line = f"{name}|{size}|{time_ns}".encode("utf-8", "surrogateescape")
        total += int.from_bytes(hashlib.sha256(line).digest(), "big")
    return f"{total % 2**256:064x}"


@contextlib.contextmanager
def open_pictures(place: Path) -> Iterator[Pictures]:
    """Open a `.zip`, a `.tar` or a folder.

    Raises:
        ValueError: another kind of file, a damaged or cut-off archive, or a member that points outside the archive
            (an absolute path, ``..``, a link) or is sparse; the message names the file.
    """
    if place.is_dir():
        yield _FolderPictures(place)
        return
    refuse_foreign(place, "a folder, a .zip or an uncompressed .tar")
    if place.suffix.lower() == ".zip":
        try:
            archive = zipfile.ZipFile(place)
        except Exception as error:  # zipfile raises more than it documents on damaged directories
            raise _damaged(place, error) from error
        with archive:
            yield _ZipPictures(place, archive)
        return
    with place.open("rb") as file:
        first = file.read(_LONGEST_MAGIC)
        for magic, (program, unpack) in _COMPRESSED.items():
            if first.startswith(magic):
                raise ValueError(
                    f"{place}: expected a folder, a .zip or an uncompressed .tar, found a file that {program} "
                    f"compressed; unpack it: {unpack} {shlex.quote(str(place))} > unpacked.tar"
                )
        if place.suffix.lower() == ".tar":
            yield _TarPictures(place, file.fileno())
            return
    raise ValueError(f"{place}: expected a folder, a .zip or an uncompressed .tar, found a file of another kind")


def _damaged(place: Path, reason: object) -> ValueError:
    return ValueError(f"{place}: damaged or cut-off archive ({reason}); download it again")


def _is_picture(name: str) -> bool:
    parts = name.split("/")
    # hidden files and the resource forks of macOS archives have the suffix of the picture they stand beside
    hidden = any(part == "__MACOSX" or (part.startswith(".") and part != ".") for part in parts)
    return not hidden and os.path.splitext(parts[-1])[1].lower() in PICTURE_SUFFIXES


def _refuse_outside(place: Path, name: str) -> None:
    plain = name.replace("\\", "/")
    if plain.startswith("/") or plain[1:2] == ":" or ".." in plain.split("/"):
        raise ValueError(
            f"{place}: member {name!r} points outside the archive, which no official file does; nothing was read: "
            "get the archive from its official place"
        )


class _FolderPictures:
    def __init__(self, place: Path) -> None:
        self._place = place
        self.names = tuple(sorted(name for name, _, _ in _walk(place, PICTURE_SUFFIXES)))

    def read(self, name: str) -> bytes:
        path = self._place / name
        if path.stat().st_size > _LARGEST_PICTURE_BYTES:
            raise ValueError(f"larger than {_LARGEST_PICTURE_BYTES} bytes")
        return path.read_bytes()


class _ZipPictures:
    def __init__(self, place: Path, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in archive.infolist():
            _refuse_outside(place, member.filename)
            if not member.is_dir() and _is_picture(member.filename):
                self._members[member.filename] = member
        self.names = tuple(sorted(self._members))

    def read(self, name: str) -> bytes:
        member = self._members[name]
        if member.file_size > _LARGEST_PICTURE_BYTES:
            raise ValueError(f"claims to hold {member.file_size} bytes")
        return self._archive.read(member)


class _PlainMember(tarfile.TarInfo):
    """A tar header that claims nothing which tarfile would follow in circles or for hours."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _PlainMember:
        member = super().frombuf(buf, encoding, errors)
        if member.size < 0:
            raise ValueError(f"{member.name!r} claims {member.size} bytes")
        if member.type in _TAR_EXTENSIONS and member.size > _LARGEST_TAR_EXTENSION_BYTES:
            raise ValueError(f"{member.name!r} is a header of {member.size} bytes")
        return member


class _TarPictures:
    def __init__(self, place: Path, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._members: dict[str, tuple[int, int]] = {}
        size = os.fstat(descriptor).st_size
        end = 0
        for member, next_header in _tar_members(place):
            end = next_header
            _refuse_outside(place, member.name)
            kind = "a link" if member.issym() or member.islnk() else "sparse" if member.issparse() else None
            if kind is not None:
                raise ValueError(
                    f"{place}: member {member.name!r} is {kind}, which no official file holds; nothing was read: get "
                    "the archive from its official place, or store whole files in one of your own (GNU tar: "
                    "--dereference --hard-dereference, without --sparse)"
                )
            if member.size < 0 or (member.isfile() and member.offset_data + member.size > size):
                raise _damaged(place, f"member {member.name!r} claims {member.size} bytes, the archive has {size}")
            if member.isfile() and _is_picture(member.name):
                self._members[member.name] = (member.offset_data, member.size)
        self.names = tuple(sorted(self._members))
        # A whole archive ends in a block of zeros; one cut off between two members looks complete to tarfile.
        if self._read_at(end, _TAR_BLOCK) != bytes(_TAR_BLOCK):
            raise _damaged(place, f"no end mark after {len(self.names)} pictures")

    def _read_at(self, offset: int, size: int) -> bytes:
        # not os.pread, which Windows lacks
        with self._lock:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            pieces = []
            while size > 0 and (piece := os.read(self._descriptor, size)):
                pieces.append(piece)
                size -= len(piece)
        return b"".join(pieces)

    def read(self, name: str) -> bytes:
        offset, size = self._members[name]
        if size > _LARGEST_PICTURE_BYTES:
            raise ValueError(f"claims to hold {size} bytes")
        return self._read_at(offset, size)


def _tar_members(place: Path) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Every member of an uncompressed tar, and where the next one's header must be."""
    try:
        # mode "r:" takes no compression: members can then be read at their offset, by any thread
        archive = tarfile.open(place, "r:", tarinfo=_PlainMember)  # noqa: SIM115 (closed below)
    except Exception as error:  # tarfile raises more than it documents on damaged headers
        raise _damaged(place, error) from error
    with archive:
        while True:
            try:
                member = archive.next()
            except Exception as error:
                raise _damaged(place, error) from error
            if member is None:
                return
            yield member, archive.offset


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: reading it says so
        return False


def _walk(folder: Path, suffixes: frozenset[str]) -> Iterator[tuple[str, int, int]]:
    """(path below `folder`, bytes, time of change in ns) of every visible file with one of the suffixes, unsorted.

    Linked files and folders count. Folders of runs do not: their pictures show other pictures.
    """
    pending, linked = [""], list[str]()
    seen = set()
    while pending or linked:
        # links last and in order, so that what a picture is called does not depend on the file system
        below = pending.pop() if pending else linked.pop(linked.index(min(linked)))
        here = (folder / below).stat()
        # a linked folder may lead back to its own parent
        if (here.st_dev, here.st_ino) in seen:
            continue
        seen.add((here.st_dev, here.st_ino))
        with os.scandir(folder / below) as listed:
            entries = list(listed)
        if below and {"config.json", "encoder.safetensors"} <= {entry.name for entry in entries}:
            continue
        for entry in entries:
            if not entry.name.startswith("."):
                name = f"{below}{entry.name}"
                if _is_folder(entry):
                    (linked if entry.is_symlink() else pending).append(f"{name}/")
                elif os.path.splitext(entry.name)[1].lower() in suffixes:
                    try:
                        stat = entry.stat()
                    except OSError:  # a link to itself or to nothing: reading it says so, which is counted and named
                        yield name, 0, 0
                        continue
                    if S_ISREG(stat.st_mode):
                        yield name, stat.st_size, stat.st_mtime_ns
