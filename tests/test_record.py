from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest

from rl.record import RecordConfig, main, record
from sparse_repr.data import load_dataset
from sparse_repr.data.dsprites import render_sprites

ENV = "envs:SparseRepr/SpriteReach-v0"


def _record(out: Path, **changes: Any) -> Path:
    return record(RecordConfig(**{"env": ENV, "out": str(out), "frames": 70, "envs": 4, "progress": False, **changes}))


def test_frames_and_factors_belong_together(tmp_path: Path) -> None:
    data = load_dataset("h5", _record(tmp_path / "f.h5"))
    assert len(data) == 70
    assert data.image_shape == (1, 64, 64)
    assert data.factor_names == ("shape", "scale", "orientation", "position_x", "position_y")
    assert data.factors is None  # continuous values without declared bins have no indices
    assert data.factor_values is not None
    drawn = render_sprites(*data.factor_values.T)
    assert (drawn != data.images(np.arange(70))[:, 0]).sum() <= 20  # float32 factors move pixels that lie on an edge
    assert len({tuple(row) for row in data.factor_values.tolist()}) > 60
    assert data.split[0].size == 63


def test_recordings_repeat_by_seed(tmp_path: Path) -> None:
    files = [_record(tmp_path / name, seed=seed) for name, seed in (("a.h5", 0), ("b.h5", 0), ("c.h5", 1))]
    images = [load_dataset("h5", file).images(np.arange(70)) for file in files]
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_rendered_frames_are_recorded_on_request(tmp_path: Path) -> None:
    data = load_dataset("h5", _record(tmp_path / "f.h5", render=True, frames=6))
    assert data.image_shape == (3, 64, 64)


def test_environments_without_images_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"CartPole-v1 needs uint8 image observations, got float32.*--render"):
        _record(tmp_path / "f.h5", env="CartPole-v1")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "f.h5").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="give --overwrite"):
        _record(tmp_path / "f.h5")
    assert (tmp_path / "f.h5").read_bytes() == b"mine"
    _record(tmp_path / "f.h5", overwrite=True, frames=5)
    assert len(load_dataset("h5", tmp_path / "f.h5")) == 5


def test_an_interrupted_recording_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def fail(self: Any, actions: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return step(self, actions)

    step = gym.vector.SyncVectorEnv.step
    monkeypatch.setattr(gym.vector.SyncVectorEnv, "step", fail)
    with pytest.raises(KeyboardInterrupt):
        _record(tmp_path / "f.h5")
    assert list(tmp_path.iterdir()) == []


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "f.h5"
    assert main([ENV, "--out", str(out), "--frames", "9", "--no-progress"]) == 0
    assert f"--dataset h5 --data-path {out}" in capsys.readouterr().out
    assert main(["NoSuchEnv-v0", "--out", str(tmp_path / "g.h5")]) == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"frames": np.zeros((2, 1, 4, 4), np.uint8)}, r"needs an entry 'images' .*found \['frames'\]"),
        ({"images": np.zeros((2, 4, 4, 3), np.uint8)}, r"C = 1 or 3, found uint8 \(2, 4, 4, 3\)"),
        ({"images": np.zeros((2, 1, 4, 4), np.float32)}, "found float32"),
        (
            {"images": np.zeros((2, 1, 4, 4), np.uint8), "factors": np.zeros((2, 1), np.int64)},
            "needs the attribute 'factor_names'",
        ),
    ],
)
def test_files_of_another_layout_are_refused(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name, value in entries.items():
            file[name] = value
    with pytest.raises(ValueError, match=message):
        load_dataset("h5", tmp_path / "x.h5")


def test_the_h5_data_set_needs_a_readable_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs a path \(--data-path\)"):
        load_dataset("h5")
    with pytest.raises(FileNotFoundError, match="no HDF5 file at"):
        load_dataset("h5", tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.h5: not a readable HDF5 file"):
        load_dataset("h5", tmp_path / "text.h5")
