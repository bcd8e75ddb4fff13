"""Results of earlier calls: what may stand beside new ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.measure.earlier import as_fast, require_same_settings


def test_results_of_other_settings_are_refused_and_named() -> None:
    earlier = {"seed": 0, "seeds": [0, 1], "gone": 3, "out": "there"}
    asked = {"seed": 0, "seeds": (0, 1), "new": 5, "out": "here"}
    require_same_settings(Path("r.json"), earlier, asked, but=("out",))
    message = r"r.json holds results of other settings \(seed 0 there, 1 asked for\): give another folder \(--out\)"
    with pytest.raises(ValueError, match=message):
        require_same_settings(Path("r.json"), earlier, {**asked, "seed": 1}, but=("out",))
    require_same_settings(Path("r.json"), {}, asked)


def test_seconds_of_another_processor_or_torch_stand_apart() -> None:
    machine = {"processor": "P", "cores": 2, "threads": 1, "torch": "2.9", "date": "2026-01-02"}
    assert as_fast(machine, {**machine, "date": "2026-01-03"})
    for name in ("processor", "cores", "threads", "torch"):
        assert not as_fast(machine, {**machine, name: "another"})
