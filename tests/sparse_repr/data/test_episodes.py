"""Frames of episodes that others recorded: as Minari and stable-worldmodel write them, and what is refused."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from sparse_repr.data import load_dataset


def _frames(count: int, seed: int = 0, size: tuple[int, ...] = (24, 16, 3)) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (count, *size), dtype=np.uint8)


def _smooth(count: int) -> np.ndarray[Any, Any]:
    """Frames that JPEG hardly changes."""
    ramp = np.linspace(0, 255, 24 * 16).reshape(24, 16)
    return np.stack([np.repeat((ramp * (k + 1) / count)[..., None], 3, 2) for k in range(count)]).astype(np.uint8)


def _jpeg(frame: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    content = io.BytesIO()
    Image.fromarray(frame).save(content, format="JPEG")
    return np.frombuffer(content.getvalue(), np.uint8)


def _minari(folder: Path, episodes: dict[str, Any]) -> Path:
    """A folder as Minari leaves it; `episodes`: name of a data set below the file -> its rows."""
    (folder / "data").mkdir(parents=True)
    with h5py.File(folder / "data/main_data.hdf5", "w") as file:
        for name, rows in episodes.items():
            vlen = isinstance(rows, list) and len({len(row) for row in rows}) > 1
            file.create_dataset(name, data=rows, chunks=True, dtype=h5py.vlen_dtype(np.uint8) if vlen else None)
    return folder


def test_episodes_follow_each_other_in_their_order(tmp_path: Path) -> None:
    # as text, episode_10 would come before episode_2
    parts = {number: _frames(3, seed=number) for number in (0, 1, 2, 10)}
    episodes: dict[str, Any] = {f"episode_{number}/observations": part for number, part in parts.items()}
    episodes["episode_0/actions"] = np.zeros((2, 4), np.float32)
    data = load_dataset("minari", _minari(tmp_path / "set", episodes))
    expected = np.concatenate([parts[number] for number in (0, 1, 2, 10)]).transpose(0, 3, 1, 2)
    assert (data.image_shape, len(data), data.factors) == ((3, 24, 16), 12, None)
    assert np.array_equal(data.images(np.arange(12)), expected)


def test_a_name_is_looked_for_where_minari_keeps_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "home"))
    _minari(tmp_path / "home/own/set-v0", {"episode_0/observations": _frames(2)})
    assert len(load_dataset("minari", "own/set-v0")) == 2
    with pytest.raises(FileNotFoundError, match="no Minari data set at own/other-v0, nor below .*home"):
        load_dataset("minari", "own/other-v0")


def test_jpeg_frames_are_decoded(tmp_path: Path) -> None:
    frames = _smooth(4)
    folder = _minari(tmp_path / "set", {"episode_0/observations": [_jpeg(frame) for frame in frames]})
    found = load_dataset("minari", folder).images(np.arange(4)).transpose(0, 2, 3, 1)
    assert np.abs(found.astype(int) - frames).max() < 8


def test_one_picture_of_a_dict_is_found_and_of_several_one_is_named(tmp_path: Path) -> None:
    front, back = _frames(3), _frames(3, seed=1)
    state = np.zeros((3, 7), np.float32)
    one = _minari(tmp_path / "one", {"episode_0/observations/rgb": front, "episode_0/observations/state": state})
    assert np.array_equal(load_dataset("minari", one).images([2])[0], front[2].transpose(2, 0, 1))
    both = _minari(
        tmp_path / "both",
        {"episode_0/observations/cameras/back": back, "episode_0/observations/cameras/front": front},
    )
    with pytest.raises(ValueError, match=r"several pictures: name one .*#cameras/back \(cameras/back, cameras/front\)"):
        load_dataset("minari", both)
    with pytest.raises(
        ValueError, match=r"found observations/cameras/back: uint8 .*, observations/cameras/front: uint8"
    ):
        load_dataset("minari", f"{both}#cameras/frnt")
    named = load_dataset("minari", f"{both}#cameras/front")
    assert np.array_equal(named.images([2])[0], front[2].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("episodes", "message"),
    [
        (
            {"episode_0/observations": np.zeros((3, 7), np.float32)},
            r"has no pictures: .* found observations: float32 \(3, 7\); a data set of states alone cannot be trained",
        ),
        ({"episode_0/observations": np.zeros((3, 7), np.uint8)}, "has no pictures"),
        ({"episode_0/observations": np.zeros((3, 8, 8, 4), np.uint8)}, "has no pictures"),
        ({"episode_0/rewards": np.zeros(3)}, "has no pictures"),
        (
            {"images": np.zeros((3, 8, 8, 3), np.uint8)},
            r"needs episodes \(episode_0, …\) of Minari, found \['images'\]",
        ),
        (
            {"episode_0/observations": _frames(2), "episode_1/observations": _frames(2, size=(8, 8, 3))},
            r"episode_1/observations has frames of \(3, 8, 8\), the first one is \(3, 24, 16\)",
        ),
        (
            {"episode_0/observations": _frames(2), "episode_1/rewards": np.zeros(2)},
            "has no episode_1/observations; every episode needs one",
        ),
        ({"episode_0/observations": [_jpeg(_smooth(1)[0])[:40]] * 2}, "a frame cannot be decoded"),
    ],
)
def test_what_has_no_pictures_is_refused(episodes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path}.*{message}"):
        load_dataset("minari", _minari(tmp_path / "set", episodes))


def test_a_minari_data_set_of_another_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(ValueError, match="its arrow format is not read here"):
        load_dataset("minari", tmp_path)


@pytest.mark.parametrize("name", ["minari", "stable_worldmodel"])
def test_a_path_is_needed(name: str) -> None:
    with pytest.raises(ValueError, match=f"data set '{name}' needs a path"):
        load_dataset(name)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 3, 1, 2)])
def test_stable_worldmodels_pixels_are_read_in_either_order(order: tuple[int, ...], tmp_path: Path) -> None:
    frames = _frames(5)
    with h5py.File(tmp_path / "reach.h5", "w") as file:
        file.create_dataset("pixels", data=frames.transpose(order), chunks=(2, *np.transpose(frames, order).shape[1:]))
        file["action"] = np.zeros((5, 2), np.float32)
    data = load_dataset("stable_worldmodel", tmp_path / "reach.h5")
    assert np.array_equal(data.images(np.arange(5)), frames.transpose(0, 3, 1, 2))


def test_a_file_without_pixels_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "reach.h5", "w") as file:
        file["proprio"] = np.zeros((5, 2), np.float32)
    with pytest.raises(ValueError, match=r"reach\.h5: needs a column 'pixels', found \['proprio'\]"):
        load_dataset("stable_worldmodel", tmp_path / "reach.h5")
    with pytest.raises(FileNotFoundError, match="no HDF5 file at"):
        load_dataset("stable_worldmodel", tmp_path / "none.h5")


# its collector leaves a temporary folder to the garbage collector
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")
def test_what_minari_itself_writes_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minari = pytest.importorskip("minari")
    pytest.importorskip("jax")  # its collector needs it; our recorder does not
    import gymnasium as gym

    from tests.frame_envs import Frames

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))

    class Squares(Frames):
        def look(self) -> Any:
            return np.full(self.shape, 40 * self.clock + 20 * self.episode, np.uint8)

    collector = minari.DataCollector(gym.wrappers.TimeLimit(Squares(), 3))
    for seed in (0, 1):
        collector.reset(seed=seed)
        done = False
        while not done:
            _, _, terminated, truncated, _ = collector.step(collector.action_space.sample())
            done = terminated or truncated
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what else could be said of the data set
        collector.create_dataset("test/squares-v0")
    data = load_dataset("minari", "test/squares-v0")
    assert data.image_shape == (3, 64, 64)
    # episodes 0 and 0 again, for a seed begins at the first; JPEG moves a level or two
    levels = data.images(np.arange(len(data)))[:, 0, 0, 0]
    np.testing.assert_allclose(levels, [0, 40, 80, 120, 0, 40, 80, 120], atol=2)


def _with_metadata(folder: Path, factors: dict[int, Any], **metadata: Any) -> Path:
    rows: dict[str, Any] = {f"episode_{number}/observations": _frames(3, seed=number) for number in (0, 1)}
    rows |= {f"episode_{number}/infos/factors": np.asarray(part, np.float32) for number, part in factors.items()}
    _minari(folder, rows)
    (folder / "data/metadata.json").write_text(json.dumps(metadata))
    return folder


def test_factors_of_the_infos_are_those_that_the_metadata_names(tmp_path: Path) -> None:
    factors = {0: [[0, 1], [0.5, 1], [1, 1]], 1: [[2, 3]] * 3}
    about: dict[str, Any] = {"factor_names": ["x", "kind"], "nominal_factors": ["kind"], "factor_bins": [[0.5], [2.0]]}
    data = load_dataset("minari", _with_metadata(tmp_path / "binned", factors, **about))
    assert data.factor_names == ("x", "kind")
    assert data.nominal_factors == ("kind",)
    assert data.factor_values is not None
    assert data.factor_values.tolist() == [*factors[0], *factors[1]]
    assert data.factors is not None
    assert data.factors.tolist() == [[0, 0], [1, 0], [1, 0], [1, 1], [1, 1], [1, 1]]
    assert data.factor_sizes == (2, 2)
    about.pop("factor_bins")
    assert load_dataset("minari", _with_metadata(tmp_path / "plain", factors, **about)).factors is None
    # infos that nobody named are of some other kind
    assert load_dataset("minari", _with_metadata(tmp_path / "others", factors)).factor_values is None
    with pytest.raises(ValueError, match=r"needs infos/factors \(T \+ 1, 2\) in every episode"):
        load_dataset("minari", _with_metadata(tmp_path / "one", {0: factors[0]}, **about))
    with pytest.raises(ValueError, match="needs factors for each of 6 frames, found 5"):
        load_dataset("minari", _with_metadata(tmp_path / "short", {0: factors[0], 1: factors[1][:2]}, **about))


def test_no_factor_is_nominal_unless_the_metadata_says_so(tmp_path: Path) -> None:
    factors = {0: [[0, 1]] * 3, 1: [[2, 3]] * 3}
    for name, about in {"empty": {"nominal_factors": []}, "unsaid": {}}.items():
        data = load_dataset("minari", _with_metadata(tmp_path / name, factors, factor_names=["x", "y"], **about))
        assert data.nominal_factors == ()
        assert data.factor_names == ("x", "y")


@pytest.mark.parametrize(
    ("bins", "message"),
    [
        (5, r"metadata\.json is damaged: factor_bins needs a list, found 5"),
        ([["x"], [1.0]], r"metadata\.json is damaged: factor_bins\[0\]\[0\] needs a number, found 'x'"),
        ([[None], [1.0]], r"metadata\.json is damaged: factor_bins\[0\]\[0\] needs a number, found None"),
        ([[2.0, 1.0], [1.0]], r"metadata\.json: factor_bins: bin_factors needs finite ascending edges"),
    ],
)
def test_bins_that_are_none_are_refused_with_the_file(bins: Any, message: str, tmp_path: Path) -> None:
    factors = {0: [[0, 1]] * 3, 1: [[2, 3]] * 3}
    folder = _with_metadata(tmp_path / "data", factors, factor_names=["x", "y"], factor_bins=bins)
    with pytest.raises(ValueError, match=message):
        load_dataset("minari", folder)


def test_a_folder_may_have_the_sign_in_its_name_that_stands_before_a_picture(tmp_path: Path) -> None:
    frames = _frames(3)
    folder = _minari(tmp_path / "a#b", {"episode_0/observations/left": frames, "episode_0/observations/right": frames})
    assert len(load_dataset("minari", f"{folder}#left")) == 3
    single = _minari(tmp_path / "c#d", {"episode_0/observations": frames})
    assert len(load_dataset("minari", single)) == 3
