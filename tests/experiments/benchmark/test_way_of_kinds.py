"""How many directions a code has, and what is found of each kind of sparsity on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.agents.arms import ENCODERS
from experiments.benchmark.way_of_kinds import CODES, SCORES, code_extent, measure_way_of_kinds, way_of_kinds_table


def test_directions_count_what_units_say_apart_from_each_other() -> None:
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(20_000, 8))
    assert code_extent(codes) == {"units": 8, "directions": pytest.approx(8, abs=0.05)}
    # neither scale nor place counts, and a unit that never changes is none
    moved = np.concatenate([codes * 2.0 ** np.arange(-3, 5) + 7, np.ones((20_000, 1))], axis=1)
    assert code_extent(moved) == {"units": 8, "directions": pytest.approx(8, abs=0.05)}
    assert code_extent(np.repeat(codes[:, :1], 5, axis=1)) == {"units": 5, "directions": pytest.approx(1)}
    # pairs of units that say the same: eigenvalues 2, 2, 2, 2
    assert code_extent(np.repeat(codes[:, :4], 2, axis=1))["directions"] == pytest.approx(4, abs=0.05)


def test_codes_are_those_of_the_agents() -> None:
    for name, settings in CODES.items():
        assert ENCODERS[name].items() <= settings.items()


def test_an_unknown_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"codes need to be of vae, wide_vae, .*, got relu"):
        measure_way_of_kinds(tmp_path, codes=("relu",))


def test_the_table_has_mean_and_interval_of_every_score() -> None:
    codes = {"jump_relu": {"5": dict.fromkeys(SCORES, 0.2), "6": dict.fromkeys(SCORES, 0.4)}}
    machine = {"processor": "P", "torch": "2.9", "date": "2026-01-02", "git_revision": "abc"}
    table = way_of_kinds_table({"steps": 10, "frames": {"test": 5}, "codes": codes, "machine": machine})
    assert "| JumpReLU | 0.3 ± 1.3 (0.2, 0.4) |" in table
    assert "seeds 5, 6. R² on 5 frames" in table


@pytest.mark.slow
def test_a_stopped_measurement_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"codes": ("vae", "top_k"), "seeds": (1,), "steps": 100, "scale": 0.02}
    found = measure_way_of_kinds(tmp_path, **settings)  # type: ignore[arg-type]
    assert list(found["codes"]) == ["vae", "top_k"]
    assert set(SCORES) <= set(found["codes"]["top_k"]["1"])
    assert found["frames"] == {"train": 200, "test": 80}
    monkeypatch.setattr("experiments.benchmark.way_of_kinds.pretrained", lambda *_: pytest.fail("trained again"))
    assert measure_way_of_kinds(tmp_path, **settings) == found  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"vae-1\.json needs 101 steps"):
        measure_way_of_kinds(tmp_path, **{**settings, "steps": 101})  # type: ignore[arg-type]
    there = {"processor": "P"}
    earlier = {"steps": 100, "codes": {"vae": {"9": {}}, "jump_relu": {"9": {}}}, "machine": there}
    both = measure_way_of_kinds(tmp_path, **settings, earlier=earlier)  # type: ignore[arg-type]
    assert list(both["codes"]) == ["vae", "top_k", "jump_relu"]
    assert (list(both["codes"]["vae"]), both["other_machines"]) == (["1"], [there])
