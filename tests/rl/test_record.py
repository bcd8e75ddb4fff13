from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest

from rl.record import RecordConfig, main, record
from sparse_repr.data import load_dataset
from sparse_repr.data.dsprites import render_sprites
from sparse_repr.data.recorded import bin_factors
from tests.frame_envs import Frames

ENV = "envs:SparseRepr/SpriteReach-v0"


def _record(out: Path, **changes: Any) -> Path:
    return record(RecordConfig(**{"env": ENV, "out": str(out), "frames": 70, "envs": 4, "progress": False, **changes}))


def test_frames_and_factors_belong_together(tmp_path: Path) -> None:
    data = load_dataset("h5", _record(tmp_path / "f.h5"))
    assert len(data) == 70
    assert data.image_shape == (1, 64, 64)
    assert data.factor_names == ("shape", "scale", "orientation", "position_x", "position_y")
    assert data.nominal_factors == ("shape",)
    assert data.factor_sizes == (3, 6, 8, 8, 8)  # the bins that the environment declares
    assert data.factors is not None
    assert data.factor_values is not None
    assert np.array_equal(data.factors[:, 0], data.factor_values[:, 0])
    assert np.array_equal(data.factors[:, 3], np.minimum(data.factor_values[:, 3] * 8, 7).astype(int))
    drawn = render_sprites(*data.factor_values.T)
    assert (drawn != data.images(np.arange(70))[:, 0]).sum() <= 20  # float32 factors move pixels that lie on an edge
    assert len({tuple(row) for row in data.factor_values.tolist()}) > 60
    assert data.split[0].size == 63


def test_recordings_repeat_by_seed(tmp_path: Path) -> None:
    files = [_record(tmp_path / name, seed=seed) for name, seed in (("a.h5", 0), ("b.h5", 0), ("c.h5", 1))]
    images = [load_dataset("h5", file).images(np.arange(70)) for file in files]
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_one_of_several_steps_is_recorded(tmp_path: Path) -> None:
    every_step = load_dataset("h5", _record(tmp_path / "a.h5", frames=4 * 13)).images(np.arange(4 * 13))
    thinned = load_dataset("h5", _record(tmp_path / "b.h5", frames=4 * 5, every=3)).images(np.arange(4 * 5))
    # (steps, environments, ...): the first frame is that of the reset
    assert np.array_equal(thinned.reshape(5, 4, -1), every_step.reshape(13, 4, -1)[::3])
    with pytest.raises(ValueError, match=r"every needs a whole number in 1\.\.1000000000, got 0"):
        RecordConfig(ENV, "f.h5", every=0)


def test_folders_are_made(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder" / "a.h5"
    assert record(RecordConfig(ENV, str(out), frames=8, progress=False)) == out
    assert load_dataset("h5", out).images([7]).shape == (1, 1, 64, 64)


def test_rendered_frames_are_recorded_on_request(tmp_path: Path) -> None:
    data = load_dataset("h5", _record(tmp_path / "f.h5", render=True, frames=6))
    assert data.image_shape == (3, 64, 64)


def test_keyword_arguments_reach_the_environment(tmp_path: Path) -> None:
    kwargs = '{"scales": [0.5], "discrete": true}'
    data = load_dataset("h5", _record(tmp_path / "f.h5", env_kwargs=kwargs, frames=20))
    assert data.factor_values is not None
    assert np.unique(data.factor_values[:, 1]).tolist() == [0.5]
    with h5py.File(tmp_path / "f.h5") as file:
        assert json.loads(file.attrs["settings"])["env_kwargs"] == kwargs
    for wrong in ("scales", "[1]", "[" * 100_000):
        with pytest.raises(ValueError, match="env_kwargs needs a JSON object"):
            RecordConfig(ENV, "f.h5", env_kwargs=wrong)


@contextlib.contextmanager
def _registered(name: str, kind: type[gym.Env[Any, Any]]) -> Iterator[None]:
    gym.register(name, kind)
    try:
        yield
    finally:
        del gym.registry[name]


class _ReportsLate(Frames):
    """Its factors are in the infos of steps alone."""

    factor_names = ("clock",)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, ended, truncated, _ = super().step(action)
        return observation, reward, ended, truncated, {"factors": np.array([self.clock], np.float32)}


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


def go_right(observations: np.ndarray) -> np.ndarray:
    return np.tile(np.array([1.0, 0.0], np.float32), (len(observations), 1))


def test_a_given_policy_acts(tmp_path: Path) -> None:
    by_name = load_dataset("h5", _record(tmp_path / "a.h5", policy="tests.rl.test_record:go_right", frames=12))
    config = RecordConfig(env=ENV, out=str(tmp_path / "b.h5"), frames=12, envs=4, progress=False)
    by_function = load_dataset("h5", record(config, policy=go_right))
    assert by_name.factor_values is not None
    assert np.array_equal(by_name.factor_values, by_function.factor_values)
    x = by_name.factor_values[:, 3].reshape(3, 4)
    np.testing.assert_allclose(np.diff(x, axis=0), 0.06, atol=1e-6)
    for name in ("tests.rl.test_record:nothing", "no_such_module:f", "tests.rl.test_record:ENV"):
        with pytest.raises(ValueError, match="policy needs"):
            _record(tmp_path / "c.h5", policy=name)


def test_parallel_environments_record_the_same_frames(tmp_path: Path) -> None:
    serial = load_dataset("h5", _record(tmp_path / "a.h5", frames=16))
    parallel = load_dataset("h5", _record(tmp_path / "b.h5", frames=16, parallel=True))
    assert np.array_equal(serial.images(np.arange(16)), parallel.images(np.arange(16)))
    assert parallel.factor_names == serial.factor_names


class _DictEnv(gym.Env[Any, Any]):
    observation_space = gym.spaces.Dict(
        {"camera": gym.spaces.Box(0, 255, (8, 8), np.uint8), "speed": gym.spaces.Box(0, 1, (1,), np.float32)}
    )
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        return self.observation_space.sample(), 0.0, False, False, {}


def test_a_dict_observation_needs_the_key_of_its_picture(tmp_path: Path) -> None:
    gym.register("DictTest-v0", entry_point=_DictEnv, max_episode_steps=5)
    try:
        with pytest.raises(TypeError, match=r"name the picture with --key, one of \['camera', 'speed'\]"):
            _record(tmp_path / "f.h5", env="DictTest-v0")
        data = load_dataset("h5", _record(tmp_path / "f.h5", env="DictTest-v0", key="camera", frames=9))
        assert data.image_shape == (1, 8, 8)
        assert data.factor_names == ()
    finally:
        del gym.registry["DictTest-v0"]


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "f.h5"
    assert main([ENV, "--out", str(out), "--frames", "9", "--no-progress"]) == 0
    assert f"--dataset h5 --data-path {out}" in capsys.readouterr().out
    assert main(["NoSuchEnv-v0", "--out", str(tmp_path / "g.h5")]) == 2
    assert "error: " in capsys.readouterr().err


def test_factors_whose_sizes_are_not_told_have_as_many_values_as_the_largest_index_says(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["images"] = np.full((3, 1, 4, 4), 255, np.uint8)
        file["factors"] = np.array([[0, 4], [1, 0], [2, 3]], np.uint8)
        file.attrs["factor_names"] = ["shape", "x"]
    assert load_dataset("h5", tmp_path / "own.h5").factor_sizes == (3, 5)


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


def test_continuous_values_are_binned_by_edges() -> None:
    binned = bin_factors([[0.1, 5.0], [0.5, -1.0], [0.9, 7.0]], [(0.5,), (0.0, 6.0)])
    assert binned.tolist() == [[0, 1], [1, 0], [1, 2]]
    with pytest.raises(ValueError, match=r"needs values \(N, 1\) for 1 sets of edges"):
        bin_factors([[0.1, 5.0]], [(0.5,)])
    with pytest.raises(ValueError, match="ascending edges"):
        bin_factors([[0.1]], [(0.5, 0.2)])


def test_a_file_without_bins_has_values_but_no_indices(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"] = np.full((2, 1, 4, 4), 200, np.uint8)
        file["factor_values"] = np.zeros((2, 1), np.float32)
        file.attrs["factor_names"] = ["speed"]
    data = load_dataset("h5", tmp_path / "x.h5")
    assert data.factors is None
    assert data.factor_values is not None
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["factor_bins/other"] = [0.5]
    with pytest.raises(ValueError, match=r"factor_bins needs edges for every factor, none found for \['speed'\]"):
        load_dataset("h5", tmp_path / "x.h5")


def test_the_h5_data_set_needs_a_readable_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs a path \(--data-path\)"):
        load_dataset("h5")
    with pytest.raises(FileNotFoundError, match="no HDF5 file at"):
        load_dataset("h5", tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.h5: not a readable HDF5 file"):
        load_dataset("h5", tmp_path / "text.h5")


def test_a_finished_file_whose_settings_are_none_is_no_recording(tmp_path: Path) -> None:
    path = _record(tmp_path / "f.h5", frames=8)
    for settings in ("[]", "[" * 100_000, "{"):
        with h5py.File(path, "r+") as file:
            file.attrs["settings"] = settings if len(settings) < 60_000 else settings[:60_000]
        with pytest.raises(FileExistsError, match=r"f\.h5 exists, and is no recording; give --overwrite, or another"):
            _record(path, frames=8, resume=True)


class _Unnamed(Frames):
    """Reports factors that nothing names."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return super().reset(seed=seed, options=options)[0], {"factors": np.zeros(1, np.float32)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return *super().step(action)[:4], {"factors": np.zeros(1, np.float32)}


class _OddBins(_Unnamed):
    factor_names = ("clock",)
    factor_bins: Any = ((60.0, 20.0),)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (_ReportsLate, r"Odd-v0 names its factors \(clock\), but reports none .* at reset"),
        (_Unnamed, r"Odd-v0 reports info\['factors'\], but has no factor_names, so none"),
    ],
)
def test_factors_that_cannot_be_recorded_are_told_of(
    kind: type[gym.Env[Any, Any]], message: str, tmp_path: Path
) -> None:
    with _registered("Odd-v0", kind), pytest.warns(UserWarning, match=message):
        out = _record(tmp_path / "f.h5", env="Odd-v0", frames=6)
    assert load_dataset("h5", out).factors is None


@pytest.mark.parametrize(
    ("bins", "message"),
    [
        (((60.0, 20.0),), r"factor_bins needs finite ascending edges, got \[60.0, 20.0\] for factor 'clock'"),
        (((0.0, np.inf),), "factor_bins needs finite ascending edges"),
        ({"hour": (0.0, 1.0)}, r"factor_bins needs edges of each of factor_names \(clock\), got those of hour"),
        (("few",), "factor_bins needs the edges of bins, numbers, got 'few'"),
    ],
)
def test_bins_that_no_file_could_be_read_with_are_refused(
    bins: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_OddBins, "factor_bins", bins)
    with _registered("OddBins-v0", _OddBins), pytest.raises(ValueError, match=message):
        _record(tmp_path / "f.h5", env="OddBins-v0", frames=6)
    assert not (tmp_path / "f.h5").exists()


def test_bins_may_be_given_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_OddBins, "factor_bins", {"clock": (-1.0, 1.0, 2.0)})
    with _registered("OddBins-v0", _OddBins):
        out = _record(tmp_path / "f.h5", env="OddBins-v0", frames=6)
    assert load_dataset("h5", out).factor_sizes == (4,)  # below, twice between, and above
