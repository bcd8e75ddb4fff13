"""Writing files so that a crash, a full disk or a second process never leaves half of one."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

_MOST_NAMES = 100


def cache_folder() -> Path:
    """Folder for derived files that can be rebuilt: ``SPARSE_REPR_CACHE``, else the user's cache folder."""
    chosen = os.environ.get("SPARSE_REPR_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sparse-repr"


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed over `path`, else removed.

    What killed writers of `path` left is removed first: a living one holds the lock beside its temporary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    with contextlib.ExitStack() as stack:
        temporary = _own_name(path, stack)
        # a file of our own: it must not exist, so that no link that lies there is followed
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            yield temporary
            replace_synced(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _own_name(path: Path, stack: contextlib.ExitStack) -> Path:
    """A name beside `path` for a temporary file, whose lock is held by `stack`."""
    tried = 0
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        try:
            stack.enter_context(held_lock(_lock_of(temporary)))
        except NotImplementedError:
            pass  # a file system without locks: nothing can be told about the leftovers there, so they stay
        except filelock.Timeout:
            # another writer looks for leftovers, and took our lock file for one before it was locked
            tried += 1
            if tried == _MOST_NAMES:
                raise
            continue
        return temporary


@contextlib.contextmanager
def held_lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path` for this process; the lock goes with the process, however it ends.

    Raises:
        filelock.Timeout: another process holds it.
        NotImplementedError: the file system has no locks.
    """
    lock = filelock.FileLock(path, timeout=0)
    lock.acquire()
    try:
        yield
    finally:
        # unlinked while still held, so that no other process can be holding it; Windows refuses that, and keeps it
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()


def remove_abandoned(path: Path) -> None:
    """Remove the temporary files of `path` whose writers were killed too hard to clean up."""
    found = {*path.parent.glob(f".{glob.escape(path.name)}.*.partial*")}
    for temporary in {file.with_name(file.name.removesuffix(".lock")) for file in found}:
        # another process may be writing to it, or removing it too
        with (
            contextlib.suppress(filelock.Timeout, NotImplementedError, OSError),
            held_lock(_lock_of(temporary)),
        ):
            temporary.unlink(missing_ok=True)


def _lock_of(temporary: Path) -> Path:
    return temporary.with_name(f"{temporary.name}.lock")


def replace_synced(temporary: Path, path: Path) -> None:
    """Rename `temporary` over `path` so that after a power cut there is the old file or the whole new one."""
    with temporary.open("rb+") as written:
        os.fsync(written.fileno())
    temporary.replace(path)
    # Windows opens no folders
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically.

    Raises:
        OSError: it cannot be written, for instance because the disk is full; `path` is named.
    """
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = ": free some space, or choose another folder" if full else ""
        told = type(error)(f"cannot write {path} ({error.strerror or error}){remedy}")
        told.errno = error.errno
        raise told from error


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON atomically; infinities and NaN are an error (write None instead)."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


@contextlib.contextmanager
def removed_if_empty(folder: Path) -> Iterator[None]:
    """On leaving the block, remove `folder` and those above it that were not there before, if they are empty."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the first that is not empty ends it
            for place in missing:
                place.rmdir()


def require_space(folder: Path, needed_bytes: int, purpose: str) -> None:
    """Create `folder` and check, before any work is done, that it can be written and has room.

    Raises:
        OSError: the folder cannot be created or written, or fewer than `needed_bytes` are free.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # without a name where the system can: a kill leaves nothing; not buffered: closing would try again what has
        # just failed, and elsewhere leave the file behind
        with tempfile.TemporaryFile(dir=folder, prefix=".write-test.", buffering=0) as probe:
            if probe.write(b"x" * 4096) < 4096:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise OSError(
            f"cannot write to {folder} ({error.strerror or error}); {purpose} needs a writable folder: "
            "choose another one, change its permissions or free some space"
        ) from error
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise OSError(
            f"{purpose} needs {needed_bytes / 1e6:.0f} MB in {folder}, but {free / 1e6:.0f} MB are free: "
            "free some space or choose another folder"
        )
