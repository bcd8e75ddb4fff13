"""Kinds of sparsity on dSprites: every code is scored, a stopped measurement goes on, and the table says what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.agents.arms import ENCODERS
from experiments.benchmark.kinds import CODES, SCORES, kinds_on_dsprites, measure_kinds


def test_codes_are_scored_once_and_tabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODES, "top_k", {**CODES["top_k"], "image_size": 32, "code_size": 9})
    settings = {"codes": ("top_k",), "seeds": (0, 1), "steps": 2, "items": 150}
    found = measure_kinds(tmp_path, **settings)  # type: ignore[arg-type]
    assert set(found["codes"]["top_k"]["1"]) == set(SCORES)
    assert found["codes"]["top_k"]["0"]["units_ever_nonzero"] <= 9
    with monkeypatch.context() as patched:
        patched.setattr("experiments.benchmark.kinds.pretrain_encoder", lambda _: pytest.fail("trained again"))
        assert measure_kinds(tmp_path, **settings) == found  # type: ignore[arg-type]
        assert measure_kinds(tmp_path, codes=(), seeds=(0, 1, 2), steps=2, items=150) == found
    with pytest.raises(ValueError, match=r"codes need to be of vae, wide_autoencoder, .*, got topk"):
        measure_kinds(tmp_path, codes=("vae", "topk"))


def test_codes_that_were_measured_elsewhere_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODES, "top_k", {**CODES["top_k"], "image_size": 32, "code_size": 9})
    there, here = {"processor": "P"}, {"processor": "Q"}
    old = dict.fromkeys(SCORES, 0.5)
    earlier = {"steps": 2, "items": 150, "codes": {"vae": {"5": old}, "top_k": {"5": old}}, "machine": there}
    found = measure_kinds(tmp_path, codes=("top_k",), seeds=(0,), steps=2, items=150, earlier=earlier)
    assert found["codes"]["vae"] == {"5": old}
    assert found["codes"]["top_k"].keys() == {"0"}  # measured anew as a whole
    assert list(found["codes"]) == ["vae", "top_k"]
    assert found["other_machines"] == [there]
    again = measure_kinds(tmp_path, codes=(), seeds=(0,), steps=2, items=150, earlier={**found, "machine": here})
    assert (again["codes"], again["other_machines"]) == (found["codes"], [here, there])
    thrice = measure_kinds(tmp_path, codes=(), seeds=(0,), steps=2, items=150, earlier={**again, "machine": here})
    assert thrice["other_machines"] == [here, there]
    # one seed that is here does not take the place of two that are there
    more = {**earlier, "codes": {"top_k": {"5": old, "6": old}}}
    kept = measure_kinds(tmp_path, codes=(), seeds=(0,), steps=2, items=150, earlier=more)
    assert (kept["codes"]["top_k"].keys(), kept["other_machines"]) == ({"5", "6"}, [there])
    with pytest.raises(ValueError, match="earlier results need 3 steps and 150 items, found 2 and 150: write the new"):
        measure_kinds(tmp_path, codes=(), steps=3, items=150, earlier=earlier)


def test_the_table_has_means_and_intervals_and_says_where_nothing_is_defined() -> None:
    scores = dict.fromkeys(SCORES, 0.5)
    one, other = (
        {**scores, "psnr_db": 20.0, "infomec_modularity": None},
        {**scores, "psnr_db": 22.0, "infomec_modularity": None},
    )
    machine = {"processor": "P", "torch": "2.9", "date": "2026-01-02", "git_revision": "abc"}
    results = {"steps": 3_000, "items": 10, "codes": {"jump_relu": {"5": one, "6": other}}, "machine": machine}
    table = kinds_on_dsprites(results)
    row = next(line for line in table.splitlines() if line.startswith("| JumpReLU"))
    assert "| 21.0 ± 12.7 (20.0, 22.0) |" in row
    assert "| – |" in row
    assert "3,000 steps of 64 images, seeds 5, 6" in table
    assert kinds_on_dsprites({**results, "codes": {"vae": {"5": one}}}).count("| 20.0 |") == 1


def test_every_kind_is_measured() -> None:
    assert all(ENCODERS[name] == settings for name, settings in CODES.items())
