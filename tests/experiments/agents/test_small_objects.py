from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.agents.small_objects import (
    magnified,
    places_of,
    small_object_figure,
    small_object_scores,
)
from experiments.agents.tasks import TASKS
from rl.record import RecordConfig, record
from sparse_repr import untrained_encoder
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.data.base import ArrayImages
from sparse_repr.models import build_vae

CHASE, REACH = TASKS["SpriteChase"], TASKS["SpriteReach"]


def _frames(folder: Path, name: str, frames: int, seed: int = 0) -> FactorDataset:
    config = RecordConfig(
        f"envs:{TASKS[name].environment}",
        str(folder / f"{name}-{seed}.h5"),
        frames=frames,
        seed=seed,
        env_kwargs='{"domain": "source"}',
        progress=False,
    )
    return load_dataset("h5", record(config))


@pytest.fixture(scope="module")
def chase(tmp_path_factory: pytest.TempPathFactory) -> FactorDataset:
    return _frames(tmp_path_factory.mktemp("frames"), "SpriteChase", 2_400)


def _with_codes(data: FactorDataset, codes: np.ndarray) -> FactorDataset:
    """Frames whose pictures say nothing but `codes` (N, 4) in 0..1."""
    images = np.zeros((len(data), 1, 32, 32), np.uint8)
    for unit, corner in enumerate(((0, 0), (0, 16), (16, 0), (16, 16))):
        images[:, 0, corner[0] : corner[0] + 16, corner[1] : corner[1] + 16] = (
            255 * codes[:, unit, None, None]
        ).round()
    return dataclasses.replace(data, store=ArrayImages(images))


def test_what_is_in_the_pictures_is_found_and_what_is_not_is_not(chase: FactorDataset, tmp_path: Path) -> None:
    recordings = [_telling(data) for data in (chase, _frames(tmp_path, "SpriteChase", 1_000, seed=1_000))]
    asked = {name: CHASE.positions[name] for name in ("player", "heart", "ellipse_1")}
    task = dataclasses.replace(CHASE, positions=asked, classes=("square_color", "ellipse_1_color"))
    scores = small_object_scores(untrained_encoder(1, size=32, code_size=12), *recordings, task)
    assert set(scores) == {"position_r2", "linear_position_r2", "class_accuracy"}
    for title in ("position_r2", "linear_position_r2"):
        assert set(scores[title]) == {"player", "heart", "ellipse_1"}
        assert scores[title]["heart"] > 0.85
        # across is told, down is not
        assert 0.35 < scores[title]["player"] < 0.8
        assert scores[title]["ellipse_1"] < 0.2
    assert set(scores["class_accuracy"]) == set(task.classes)
    assert scores["class_accuracy"]["square_color"] > 0.65 > 0.5 > scores["class_accuracy"]["ellipse_1_color"]


def _telling(data: FactorDataset) -> FactorDataset:
    """Frames that tell the heart's place, where the player is across, and the square's colour."""
    values = data.factor_values
    assert values is not None
    names = list(data.factor_names)
    told = np.stack([values[:, names.index(name)] for name in ("heart_x", "heart_y", "player_x", "square_color")], 1)
    told[:, 3] /= 3
    return _with_codes(data, told)


def test_a_code_that_says_nothing_is_scored_as_such(chase: FactorDataset) -> None:
    black = dataclasses.replace(chase, store=ArrayImages(np.zeros((len(chase), 1, 32, 32), np.uint8)))
    scores = small_object_scores(untrained_encoder(1, size=32, code_size=4), black, black, CHASE)
    assert max(scores["position_r2"].values()) < 0.02
    assert max(scores["linear_position_r2"].values()) < 1e-6


@pytest.mark.parametrize("name", ["SpriteChase", "SpriteReach"])
def test_places_are_where_the_sprites_are(name: str, tmp_path: Path) -> None:
    data = _frames(tmp_path, name, 64)
    frames = np.arange(64)
    places = places_of(data, TASKS[name], frames)
    assert places.shape == (64, len(TASKS[name].positions), 2)
    images = data.images(frames)
    # the player is white in SpriteChase, the only sprite in SpriteReach; it lies on top
    white = (images == 255).all(1)
    rows, columns = np.mgrid[0:64, 0:64] + 0.5
    for mask, (x, y) in zip(white, places[:, 0], strict=True):
        # a heart's middle is two pixels from what the environment calls its centre
        assert abs(columns[mask].mean() - x) < 2.5
        assert abs(rows[mask].mean() - y) < 2.5


def test_magnified_places_are_in_the_middle_and_black_beyond_the_edge() -> None:
    pictures = torch.full((2, 1, 64, 64), 0.5)
    pictures[0, 0, 40, 20] = 1.0
    shown = magnified(pictures, np.array([[20.5, 40.5], [0.5, 10.0]]))
    assert shown.shape == (2, 1, 64, 64)
    bright = torch.nonzero(shown[0, 0] == 1)
    assert bright.min(0).values.tolist() == [32, 32]
    assert bright.max(0).values.tolist() == [35, 35]
    assert (shown[1, 0, :, :32] == 0).all()
    assert (shown[1, 0, :, 32:] == 0.5).all()


def test_the_figure_has_two_rows_per_frame_and_a_column_per_sprite(chase: FactorDataset, tmp_path: Path) -> None:
    encoder = untrained_encoder(3, code_size=4)
    vae = build_vae("burgess", {"channels": 3, "size": 64, "code_size": 4}, seed=0)
    one, two = (
        small_object_figure(
            vae, encoder.preprocessing, chase, CHASE, tmp_path / f"{len(frames)}.png", frames=frames, title="untrained"
        )
        for frames in ([3], [3, 700])
    )
    with Image.open(one) as small, Image.open(two) as large:
        assert small.width > small.height
        assert large.height > 1.5 * small.height
    with pytest.raises(ValueError, match="needs at least 1 frame"):
        small_object_figure(vae, encoder.preprocessing, chase, CHASE, tmp_path / "a.png", frames=[])
    resized = untrained_encoder(3, code_size=4, source=128).preprocessing
    with pytest.raises(ValueError, match=r"needs pictures of the network's size \(64, 64\), got \(128, 128\)"):
        small_object_figure(vae, resized, chase, CHASE, tmp_path / "a.png", frames=[0])


def test_frames_without_the_factors_are_refused(chase: FactorDataset) -> None:
    encoder = untrained_encoder(3)
    with pytest.raises(ValueError, match="SpriteReach-v0 need frames with the factors position_x, position_y, shape"):
        small_object_scores(encoder, chase, chase, REACH)
    with pytest.raises(ValueError, match="no factor values"):
        small_object_scores(encoder, chase, dataclasses.replace(chase, factor_values=None), CHASE)
