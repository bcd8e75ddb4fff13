"""The probes of SpritePose: what a code holds is read, what it lacks is not, and all of it runs."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from experiments.benchmark.pose import ARMS, measure_pose, pose_scores
from sparse_repr.data import FactorDataset, load_dataset

_NAMES = (
    *("shape", "color", "position_x", "position_y"),
    *("scale", "orientation", "scale_difference", "orientation_difference"),
)


def _recording(folder: Path, seed: int) -> FactorDataset:
    rng = np.random.default_rng(seed)
    values = rng.uniform(size=(600, 8)).astype(np.float32)
    values[:, 0] = rng.integers(3, size=600)
    values[:, 1] = rng.integers(4, size=600)
    values[:, [5, 7]] *= 2 * np.pi
    path = folder / f"{seed}.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.full((600, 1, 2, 2), 255, np.uint8)
        file["factor_values"] = values
        file.attrs["factor_names"] = list(_NAMES)
    return load_dataset("h5", path)


def test_what_is_in_the_code_is_read_and_angles_count_as_they_look(tmp_path: Path) -> None:
    data = {"train": _recording(tmp_path, 0), "test": _recording(tmp_path, 1)}
    codes = {}
    for part, frames in data.items():
        assert frames.factor_values is not None
        values = frames.factor_values
        turn = values[:, 5] * np.array([4, 2, 1])[values[:, 0].astype(int)]  # a square is the same after a quarter
        codes[part] = np.stack([values[:, 2], values[:, 3], values[:, 4], np.sin(turn), np.cos(turn)], 1)
        codes[part] = np.concatenate([codes[part], np.eye(3)[values[:, 0].astype(int)]], 1).astype(np.float32)
    scores = pose_scores(codes, data)
    for thing in ("place", "size", "angle"):
        assert scores[thing]["line"] == pytest.approx(1, abs=1e-4)
    assert scores["left to grow"]["line"] < 0.1
    assert scores["left to turn"]["line"] < 0.1
    assert scores["shape"]["line"] == 1
    assert scores["color"]["line"] < 0.45


@pytest.mark.slow
def test_every_arm_is_measured() -> None:
    results = measure_pose((1,), steps=200, scale=0.02)
    assert set(results["arms"]) == set(ARMS)
    assert [seeds["1"]["units"] for seeds in results["arms"].values()] == [32, 96, 224, 56]
