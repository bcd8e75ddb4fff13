"""Latent quantisation by its authors' protocol: marks on the way, a stopped measurement goes on, and its table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.benchmark.quantised import MARKS, SCORES, STEPS, measure_quantised, quantised_table

SETTINGS: dict[str, Any] = {"datasets": ("chairs3d",), "objectives": ("latent_quantisation",), "marks": (2, 4, 8)}


def test_a_run_is_scored_on_its_way_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.benchmark.quantised.BATCH", 8)
    first = measure_quantised(tmp_path, **SETTINGS, seeds=(0,), steps=2, items=150)
    run = tmp_path / "chairs3d-latent_quantisation-seed0"
    (scored,) = first["runs"]["chairs3d"]["latent_quantisation"].values()
    assert scored.keys() == {"2"}
    assert set(scored["2"]) == set(SCORES)
    more = measure_quantised(tmp_path, **SETTINGS, seeds=(0,), steps=5, items=150)
    marks = more["runs"]["chairs3d"]["latent_quantisation"]["0"]
    assert list(marks) == ["2", "4"]
    assert marks["2"] == scored["2"]
    assert marks["4"]["psnr_db"] != scored["2"]["psnr_db"]
    # 2 units for each of the seven factors
    assert '"code_size": 14' in (run / "config.json").read_text()
    with monkeypatch.context() as patched:
        patched.setattr("experiments.benchmark.quantised.pretrain_encoder", lambda _: pytest.fail("trained again"))
        assert measure_quantised(tmp_path, **SETTINGS, seeds=(0,), steps=4, items=150) == more
    with pytest.raises(ValueError, match=r"marks/2\.json needs scores on 160 items, found 150"):
        measure_quantised(tmp_path, **SETTINGS, seeds=(0,), steps=4, items=160)


def test_of_a_run_that_is_known_twice_the_longer_one_stands(tmp_path: Path) -> None:
    scores = dict.fromkeys(SCORES, 0.5)
    known = {"faces": {"vae": {"5": {"2": scores, "4": scores}}}}
    earlier = {"items": 150, "runs": known, "machine": {"processor": "P"}}
    found = measure_quantised(tmp_path, datasets=(), seeds=(5, 6), marks=(2,), items=150, earlier=earlier)
    assert (found["runs"], found["other_machines"]) == (known, [{"processor": "P"}])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"datasets": ("dsprites", "shapes3d")}, r"datasets need to be of dsprites, chairs3d, faces, got shapes3d"),
        ({"objectives": ("qlae",)}, r"codes need to be of latent_quantisation, vae, got qlae"),
        ({"steps": 6_249}, r"steps need to be 6,250 or more, where the first scores are, got 6,249"),
        ({"earlier": {"items": 7, "runs": {}}}, r"earlier results need 10,000 items, found 7: write the new ones to"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        measure_quantised(tmp_path, **wrong)


def test_the_marks_double_up_to_the_authors_steps() -> None:
    assert MARKS == (6_250, 12_500, 25_000, 50_000, 100_000, STEPS)


def test_the_table_has_a_row_for_every_mark_and_says_how_many_seeds_it_has() -> None:
    low, high = ({**dict.fromkeys(SCORES, value), "psnr_db": None} for value in (0.2, 0.4))
    machine = {"processor": "P", "torch": "2.9", "date": "2026-01-02", "git_revision": "abc"}
    runs = {"faces": {"latent_quantisation": {"5": {"6250": low, "12500": high}, "6": {"6250": high}}}}
    rows = quantised_table({"items": 10, "runs": runs, "machine": machine}).splitlines()
    assert "| faces | latent quantisation | 6,250 | 2 | – | 0.30 ± 1.27 (0.20, 0.40) |" in rows[2]
    assert "| faces | latent quantisation | 12,500 | 1 | – | 0.40 |" in rows[3]
