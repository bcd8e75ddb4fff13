"""The probes of SpriteReach: a bilinear way is hidden from a line in the code and open to it in products of it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from experiments.benchmark.way import SHOWN, measure_way, way_scores
from sparse_repr.data import FactorDataset, load_dataset

_NAMES = ("shape", "scale", "orientation", "position_x", "position_y")


def _recording(folder: Path, seed: int) -> FactorDataset:
    rng = np.random.default_rng(seed)
    values = rng.uniform(size=(2_000, 5)).astype(np.float32)
    values[:, 0] = rng.integers(3, size=2_000)
    path = folder / f"{seed}.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.full((2_000, 1, 2, 2), 255, np.uint8)
        file["factor_values"] = values
        file.attrs["factor_names"] = list(_NAMES)
    return load_dataset("h5", path)


def test_the_way_depends_on_shape_and_place_together(tmp_path: Path) -> None:
    data = {"train": _recording(tmp_path, 0), "test": _recording(tmp_path, 1)}
    codes, products = {}, {}
    for part, frames in data.items():
        assert frames.factor_values is not None
        shapes, place = np.eye(3, dtype=np.float32)[frames.factor_values[:, 0].astype(int)], frames.factor_values[:, 3:]
        codes[part] = np.concatenate([shapes, place], axis=1)
        # each shape with its own place, and its own square of it
        terms = np.concatenate([np.ones((len(place), 1), np.float32), place, place**2], axis=1)
        products[part] = (shapes[:, :, None] * terms[:, None]).reshape(len(place), -1)
    plain, easy = (way_scores(shown, data) for shown in (codes, products))
    assert plain["place"]["line"] == pytest.approx(1, abs=1e-6)
    assert plain["shape"] == {"line": 1.0, "network": pytest.approx(1.0, abs=0.01)}
    assert plain["way"]["line"] < easy["way"]["line"] - 0.05
    assert plain["way"]["network"] > 0.9
    assert plain["way"]["heads, passes 1"] < plain["way"]["heads, passes 10"]


@pytest.mark.slow
def test_everything_that_is_shown_is_measured() -> None:
    results = measure_way((1,), steps=200, scale=0.02)
    assert tuple(results["shown"]) == SHOWN
    assert results["shown"]["code"]["1"]["width"] == 10
