"""One setting, pair by pair: which runs are a pair, and what their differences are."""

from __future__ import annotations

from experiments.paper.pairs import pairs_table
from experiments.paper.runs import Finished
from tests.finished_cells import finished, study


def rows(*entries: Finished) -> list[tuple[str, ...]]:
    table = pairs_table(study(*entries), "dsprites")
    return [] if table is None else list(table.rows)


def test_runs_of_the_same_seed_are_told_apart_where_means_are_not() -> None:
    migs = {"vae": (0.10, 0.30), "sparse": (0.11, 0.33)}
    entries = [finished(method, seed, mig=mig) for method, found in migs.items() for seed, mig in enumerate(found)]
    found = {row[3]: row for row in rows(*entries)}
    # mean of 0.01 and 0.03, standard deviation 0.01 sqrt(2), t = 12.706 with one degree of freedom
    difference = "0.020 ± 0.127 (0.010, 0.030)"
    assert found["MIG"] == ("L1 penalty", "sparse (pixels + L1)", "VAE", "MIG", difference, "2 of 2")
    assert found["PSNR (dB)"][4:] == ("0.00 ± 0.00 (0.00, 0.00)", "0 of 2")


def test_runs_of_other_seeds_or_steps_are_no_pair() -> None:
    shared = [finished("vae", 0), finished("sparse", 0)]
    assert rows(*shared) == []
    assert rows(*shared, finished("vae", 1), finished("sparse", 2)) == []
    longer = finished("sparse", 1)
    longer.record["steps"] *= 2
    assert rows(*shared, finished("vae", 1), longer) == []
    assert rows(*shared, finished("vae", 1), finished("sparse", 1)) != []
    assert rows(*shared, finished("beta_vae", 1), finished("sparse", 1)) == []


def test_a_score_that_a_run_does_not_have_is_left_out() -> None:
    entries = [finished(method, seed, lpips=0.2) for method in ("vae", "sparse") for seed in (0, 1)]
    assert "LPIPS" in {row[3] for row in rows(*entries)}
    del entries[0].report["images"]["in_sample"]["model"]["lpips"]
    assert "LPIPS" not in {row[3] for row in rows(*entries)}


def test_runs_whose_code_carries_nothing_are_named() -> None:
    entries = [finished("vae", seed) for seed in (0, 1)]
    entries += [finished("sparse", 0, active_units=0), finished("sparse", 1)]
    table = pairs_table(study(*entries), "dsprites")
    assert table is not None
    assert "no active unit: sparse (pixels + L1) 1 of 2." in table.note
