"""Writing files so that a crash, a full disk or a second process never leaves half of one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def cache_folder() -> Path:
    """Folder for derived files that can be rebuilt: ``SPARSE_REPR_CACHE``, else the user's cache folder."""
    chosen = os.environ.get("SPARSE_REPR_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sparse-repr"


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed over `path`, else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes the file private; give it the permissions a plain open() would have
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON atomically; infinities and NaN are an error (write None instead)."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def require_space(folder: Path, needed_bytes: int, purpose: str) -> None:
    """Create `folder` and check, before any work is done, that it can be written and has room.

    Raises:
        OSError: the folder cannot be created or written, or fewer than `needed_bytes` are free.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".write-test.") as probe:
            probe.write(b"x" * 4096)
            probe.flush()
    except OSError as error:
        raise OSError(
            f"cannot write to {folder} ({error.strerror or error}); {purpose} needs a writable folder: "
            "choose another one or change its permissions"
        ) from error
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise OSError(
            f"{purpose} needs {needed_bytes / 1e6:.0f} MB in {folder}, but {free / 1e6:.0f} MB are free: "
            "free some space or choose another folder"
        )
