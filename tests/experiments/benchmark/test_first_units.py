"""Which units open first: the share a coordinate explains by hand, and a short run of everything."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from experiments.benchmark import first_units
from experiments.benchmark.first_units import correlation_ratio, measure_first_units
from sparse_repr.data import FactorDataset


def test_the_share_that_a_coordinate_explains_by_hand() -> None:
    classes = np.array([0, 0, 1, 1])
    assert correlation_ratio(np.array([1.0, 1.0, 3.0, 3.0]), classes) == 1
    # within classes 4 squares of 1 over 2 degrees of freedom; in all 9 + 1 + 1 + 9 over 3
    assert correlation_ratio(np.array([0.0, 2.0, 4.0, 6.0]), classes) == pytest.approx(1 - 2 / (20 / 3))


def test_chance_explains_nothing_however_many_classes_there_are() -> None:
    generator = np.random.default_rng(0)
    found = [correlation_ratio(generator.normal(size=300), generator.integers(0, 60, 300)) for _ in range(200)]
    assert abs(np.mean(found)) < 0.02


def test_both_starts_are_measured_before_and_after_turning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_units, "_IMAGES", 300)
    monkeypatch.setattr(first_units, "CLEAR_VARIANCE", 0.0)
    found = measure_first_units(tmp_path, (3,), steps=2)
    assert {start: set(seeds) for start, seeds in found["starts"].items()} == {"64": {"3"}, "128": {"3"}}
    run = found["starts"]["128"]["3"]
    assert len(run["before"]) == len(run["turned"]) == 10
    assert all(-0.5 < unit[name] <= 1 for unit in run["before"] for name in ("x", "y"))
    assert (found["steps"], found["images"]) == (2, 300)
    assert len(found["summary"]["64"]["units_of_the_place"]) == 1
    assert (tmp_path / "first_units.png").is_file()
    assert (tmp_path / "first_units.svg").is_file()


def test_a_data_set_without_places_is_refused(
    dsprites: FactorDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("shape", "scale", "orientation", "azimuth", "elevation")
    placeless = dataclasses.replace(dsprites, factor_names=names)
    monkeypatch.setattr(first_units, "load_dataset", lambda _: placeless)
    with pytest.raises(ValueError, match="dataset needs the factors position_x and position_y, got "):
        measure_first_units(tmp_path, (3,), steps=2, dataset="faces")
