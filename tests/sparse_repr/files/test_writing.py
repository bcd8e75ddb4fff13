from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import filelock
import pytest

from sparse_repr.files import atomic_path, cache_folder, require_space, write_bytes, write_json, writing


def test_atomic_path_keeps_the_old_file_when_writing_fails(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    write_bytes(target, b"old")
    with pytest.raises(OSError, match="disk full"), atomic_path(target) as temporary:
        temporary.write_bytes(b"half of the n")
        raise OSError("disk full")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_a_lock_file_that_another_writer_took_for_a_leftover_costs_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = iter(["taken", "free"])
    monkeypatch.setattr(writing.secrets, "token_hex", lambda _: next(tokens))
    acquire, taken = filelock.FileLock.acquire, []

    def behind_another_writer(lock: filelock.FileLock, *args: object, **kwargs: object) -> object:
        # between the lock file's birth and its lock
        if "taken" in lock.lock_file and not taken:
            taken.append(filelock.FileLock(lock.lock_file))
            acquire(taken[0])
        return acquire(lock, *args, **kwargs)

    monkeypatch.setattr(filelock.FileLock, "acquire", behind_another_writer)
    target = tmp_path / "file.bin"
    with atomic_path(target) as temporary:
        assert temporary.name == ".file.bin.free.partial"
        temporary.write_bytes(b"new")
    taken[0].release()
    assert target.read_bytes() == b"new"
    assert next(tokens, None) is None


def test_locks_that_no_name_gets_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(lock: filelock.FileLock) -> None:
        raise filelock.Timeout(lock.lock_file)

    monkeypatch.setattr(filelock.FileLock, "acquire", never)
    with pytest.raises(filelock.Timeout), atomic_path(tmp_path / "file.bin"):
        pass
    assert list(tmp_path.iterdir()) == []


def _half_written(target: Path) -> tuple[int, Path]:
    """A process that never ends while it writes to `target`, and its temporary file."""
    receive, send = os.pipe()
    writer = os.fork()
    if writer == 0:
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"half")
            os.write(send, str(temporary).encode())
            while True:
                signal.pause()
    os.close(send)
    name = os.read(receive, 1000).decode()
    os.close(receive)
    return writer, Path(name)


def _kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


# Python 3.12 warns of forking beside other threads, for locks that they may hold; the child here waits for none
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_leftovers_of_killed_writers_go_at_the_next_write_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    target = tmp_path / "state[1].pt"  # a name with a pattern's signs
    dead, left = _half_written(target)
    _kill(dead)
    assert left.read_bytes() == b"half"
    living, kept = _half_written(target)
    try:
        assert not left.exists()
        os.utime(kept, (0, 0))  # a clock that goes wrong deletes nothing
        foreign = tmp_path / ".other.pt.0a.partial"
        foreign.write_bytes(b"x")
        write_bytes(target, b"new")
        assert kept.read_bytes() == b"half"
    finally:
        _kill(living)
    write_bytes(target, b"newer")
    assert {path.name for path in tmp_path.iterdir()} == {target.name, foreign.name}


def test_a_link_under_the_name_of_a_file_is_replaced_and_never_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / "file").symlink_to(victim)
    write_bytes(tmp_path / "file", b"new")
    assert victim.read_bytes() == b"mine"
    assert not (tmp_path / "file").is_symlink()


def test_a_write_reaches_the_disk_before_its_name_does_and_then_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        done.append("folder" if os.path.sameopenfile(handle, folder) else "file")
        sync(handle)

    def rename(self: Path, target: Path) -> Path:
        done.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        write_bytes(tmp_path / "file", b"x")
    finally:
        os.close(folder)
    assert done == ["file", "rename", "folder"]


def test_write_json_refuses_nan_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "m.json", {"psnr": float("nan")})
    assert list(tmp_path.iterdir()) == []
    write_json(tmp_path / "m.json", {"psnr": None})
    assert json.loads((tmp_path / "m.json").read_text()) == {"psnr": None}


def test_written_files_are_readable_by_others(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"x")
    (tmp_path / "b").write_bytes(b"x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_require_space_names_folder_and_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    require_space(tmp_path / "new", 5_000_000, "the run")
    with pytest.raises(OSError, match=r"the run needs 20 MB in .*new, but 10 MB are free"):
        require_space(tmp_path / "new", 20_000_000, "the run")


def test_require_space_refuses_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write to .*file.*needs a writable folder"):
        require_space(tmp_path / "file" / "below", 1, "the run")


def test_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSE_REPR_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("SPARSE_REPR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "sparse-repr"
