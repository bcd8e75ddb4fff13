from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sparse_repr.files import atomic_path, cache_folder, require_space, write_bytes, write_json


def test_atomic_path_keeps_the_old_file_when_writing_fails(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    write_bytes(target, b"old")
    with pytest.raises(OSError, match="disk full"), atomic_path(target) as temporary:
        temporary.write_bytes(b"half of the n")
        raise OSError("disk full")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


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
