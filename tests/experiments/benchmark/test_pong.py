"""The probes of Pong: places that a code holds are read, frames without a ball do not count, and all of it runs."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from experiments.benchmark.pong import ARMS, measure_pong, measure_pong_of_others, place_scores
from experiments.measure import foreign_networks
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.perceptual.vgg_weights import load_vgg16

_NAMES = ("ball_x", "ball_y", "player_y", "opponent_y", "ball_visible")


def _recording(folder: Path, seed: int) -> FactorDataset:
    rng = np.random.default_rng(seed)
    values = rng.uniform(size=(400, 5)).astype(np.float32)
    values[:, 4] = rng.random(400) < 0.7
    values[values[:, 4] == 0, :2] = 0
    path = folder / f"{seed}.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.full((400, 1, 2, 2), 255, np.uint8)
        file["factor_values"] = values
        file.attrs["factor_names"] = list(_NAMES)
    return load_dataset("h5", path)


def test_places_in_the_code_are_read_and_others_are_not(tmp_path: Path) -> None:
    data = {"train": _recording(tmp_path, 0), "test": _recording(tmp_path, 1)}
    codes = {}
    for part, frames in data.items():
        assert frames.factor_values is not None
        hidden = np.random.default_rng(2).normal(size=(400, 1)).astype(np.float32)
        ball = frames.factor_values[:, :2].copy()
        ball[frames.factor_values[:, 4] == 0] = 50.0  # what a code says without a ball does not matter
        codes[part] = np.concatenate([ball, frames.factor_values[:, 2:3], hidden], axis=1)
    scores = place_scores(codes, data)
    assert scores["ball"]["line"] == pytest.approx(1, abs=1e-4)
    assert scores["player"]["line"] == pytest.approx(1, abs=1e-4)
    assert scores["player"]["network"] > 0.9
    assert scores["opponent"]["line"] < 0.1


@pytest.mark.slow
def test_every_arm_is_measured() -> None:
    pytest.importorskip("ale_py")
    results = measure_pong((1,), steps=12, scale=0.02)
    assert set(results["arms"]) == set(ARMS)
    assert all(set(seeds["1"]) == {"seconds", "ball", "player", "opponent"} for seeds in results["arms"].values())


@pytest.mark.slow
def test_networks_of_others_are_measured_by_the_same_probes(random_vgg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ale_py")
    weights = load_vgg16(random_vgg)
    monkeypatch.setattr(foreign_networks, "load_vgg16", lambda: weights)
    results = measure_pong_of_others(scale=0.01)
    assert set(results["arms"]) == set(foreign_networks.FOREIGN)
    assert all(set(found) == {"seconds", "ball", "player", "opponent"} for found in results["arms"].values())
    assert results["frames"] == {"train": 120, "test": 30}
