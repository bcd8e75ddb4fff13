"""The paper's tables: what a row says, how it is computed, and what is said where little is known."""

from __future__ import annotations

import math
import re
from statistics import fmean

import pytest
import scipy.stats

from experiments.pages.tables import Table, spread
from experiments.paper.choices import choices_table
from experiments.paper.results import as_csv, scores_of
from experiments.paper.table_parts import NOTHING, Score, cells_of
from experiments.paper.tables import (
    all_tables,
    compact_table,
    disentanglement_table,
    equal_steps_table,
    further_table,
    order_sentence,
    reconstruction_table,
    sparsity_table,
)
from experiments.paper.values import TABLES, true_psnr_db
from tests.finished_cells import finished, study

# as printed in the paper, column by column
_PAPER = {
    "table1": "VAE 64.2544 0.9184 | Beta-VAE 64.2543 0.9180 | Ours 64.2544 0.9184",
    "table2": "VAE 58.4036 0.3126 | Beta-VAE 58.4037 0.3126 | Ours 54.9790 0.1545",
    "table3": "VAE 1.6e-8 0.20 | Beta-VAE 0.4 2.75e-8 | Ours 0.2 2.36e-8",
}
_ROWS = {"VAE": "vae", "Beta-VAE": "beta_vae", "Ours": "sparse_perceptual"}


def column(table: Table | None, title: str) -> dict[str, str]:
    """A column by the first cell of its rows."""
    assert table is not None
    place = table.header.index(title)
    return {row[0]: row[place] for row in table.rows}


@pytest.mark.parametrize("table", _PAPER)
def test_the_papers_values_are_those_printed(table: str) -> None:
    printed = {}
    for line in _PAPER[table].split("|"):
        name, *values = line.split()
        printed[_ROWS[name]] = values
    assert {method: list(values.values()) for method, values in TABLES[table].items()} == printed


def test_the_papers_psnr_at_range_1() -> None:
    assert true_psnr_db("table1", "vae") == pytest.approx(16.1236, abs=1e-3)
    assert true_psnr_db("table2", "vae") == pytest.approx(10.2728, abs=1e-3)


def test_five_seeds_have_a_mean_and_an_interval() -> None:
    values = [20.0, 21.0, 22.5, 19.5, 21.5]
    low, high = scipy.stats.t.interval(0.95, 4, loc=fmean(values), scale=scipy.stats.sem(values))
    assert spread(values, 3) == f"{fmean(values):.3f} ± {(high - low) / 2:.3f}"


def test_fewer_seeds_show_every_value() -> None:
    # mean 2, standard deviation 1, t = 4.302653 with two degrees of freedom
    assert spread([1.0, 2.0, 3.0], 2) == f"2.00 ± {4.302653 / math.sqrt(3):.2f} (1.00, 2.00, 3.00)"
    assert spread([0.1, 0.3], 1) == "0.2 ± 1.3 (0.1, 0.3)"


def test_one_seed_has_no_interval() -> None:
    assert spread([0.1234], 3) == "0.123"
    assert spread([], 3) == "–"


def test_values_are_shown_in_their_unit() -> None:
    assert cells_of([finished(exact_zero_fraction=0.125)], [Score("", "exact_zero_fraction", 1, 100)]) == ["12.5"]


def test_table_1_has_both_conventions_the_baselines_and_the_papers_values() -> None:
    table = reconstruction_table(
        study(finished(psnr_db=22.0, ssim=0.94), finished("beta_vae", psnr_db=20.5), finished("capacity")), "dsprites"
    )
    assert column(table, "PSNR (dB)") == {
        "all black": "13.70",
        "mean image": "14.20",
        "VAE": "22.00",
        "β-VAE": "20.50",
        "capacity": "20.00",
    }
    assert column(table, "at range 255")["VAE"] == "70.13"
    assert column(table, "at range 255")["all black"] == "61.83"
    assert column(table, "paper's PSNR") == {
        **dict.fromkeys(("all black", "mean image", "capacity"), "–"),
        "VAE": "64.2544",
        "β-VAE": "64.2543",
    }
    assert column(table, "paper's SSIM")["β-VAE"] == "0.9180"
    assert table is not None
    assert "LPIPS" not in table.header
    assert "16.1, 16.1, 16.1 dB" in table.note
    assert "far from converged" in table.note
    assert "git abc" in table.note


def test_table_2_shows_held_out_images_with_the_training_ones_beside() -> None:
    table = reconstruction_table(study(finished(dataset="celeba", psnr_db=21.0, lpips=0.25)), "celeba")
    assert column(table, "PSNR (dB)")["VAE"] == "21.00"
    assert column(table, "PSNR of training images")["VAE"] == "33.25"
    assert column(table, "paper's PSNR")["VAE"] == "58.4036"
    assert column(table, "LPIPS")["VAE"] == "0.250"
    assert table is not None
    assert "sharpness" not in table.header
    assert "no network is in it" not in table.note
    sharp = reconstruction_table(study(finished(dataset="celeba", laplacian_sharpness=0.625)), "celeba")
    assert column(sharp, "sharpness")["VAE"] == "0.62"
    assert sharp is not None
    assert "Sharpness is the squared Laplacian as a share of the images' own; no network is in it." in sharp.note
    pairs = [(method, seed, value) for method, value in (("vae", 0.5), ("sparse_perceptual", 0.25)) for seed in (0, 1)]
    both = study(*(finished(name, seed, dataset="celeba", lpips=value + seed / 1000) for name, seed, value in pairs))
    compared = reconstruction_table(both, "celeba")
    assert compared is not None
    assert re.search(r"LPIPS of sparse \+ perceptual [^:]* against VAE: -0\.250 ± \S+, lower\.", compared.note)
    stand_in = reconstruction_table(study(finished(dataset="faces")), "faces")
    assert stand_in is not None
    assert "The paper's values are of celeba; these pictures are drawn ones in its place." in stand_in.note


def test_table_3_has_the_papers_values_and_says_what_the_seeds_settle() -> None:
    vae = [finished(seed=seed, mig=value) for seed, value in enumerate((0.10, 0.11, 0.12))]
    beta = [finished("beta_vae", seed, mig=value) for seed, value in enumerate((0.20, 0.22, 0.21))]
    sparse = [finished("sparse", 0, mig=0.4), finished("sparse", 1, mig=0.05)]
    table = disentanglement_table(study(*vae, *beta, *sparse), "dsprites")
    assert column(table, "MIG")["VAE"] == "0.110 ± 0.025 (0.100, 0.110, 0.120)"
    assert column(table, "paper's MIG") == {"VAE": "1.6e-8", "β-VAE": "0.4", "sparse (pixels + L1)": "–"}
    assert column(table, "paper's AAM")["β-VAE"] == "2.75e-8"
    assert column(table, "public runs")["VAE"] == "0.10"
    assert table is not None
    assert "MIG of β-VAE against VAE: +0.100 ± 0.023, higher." in table.note
    assert "MIG of sparse (pixels + L1) against VAE: +0.115 ± " in table.note
    assert "β + sparse" not in table.note
    assert re.search(r"MIG of sparse [^:]*: \S+ ± \S+, the seeds do not settle which is higher", table.note)


def test_table_3_says_what_its_information_is_over() -> None:
    entries = [finished(), finished(seed=1), finished("sparse", over="random items of a full grid")]
    table = disentanglement_table(study(*entries), "dsprites")
    assert table is not None
    assert "Exact mutual information over the full grid; 100,000 random items of a full grid." in table.note


def test_the_difference_of_two_methods_is_welchs() -> None:
    first, second = [0.1, 0.13, 0.12, 0.09], [0.2, 0.26, 0.21]
    expected = scipy.stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    arms = {
        "vae": [finished(mig=value) for value in first],
        "beta_vae": [finished("beta_vae", mig=value) for value in second],
    }
    half = (expected.high - expected.low) / 2
    difference = fmean(first) - fmean(second)
    assert order_sentence(arms, "vae", "beta_vae", "mig") == (
        f"MIG of VAE against β-VAE: {difference:+.3f} ± {half:.3f}, lower."
    )


def test_one_seed_settles_nothing() -> None:
    arms = {"vae": [finished(mig=0.1)], "beta_vae": [finished("beta_vae", mig=0.3)]}
    assert order_sentence(arms, "beta_vae", "vae", "mig") == (
        "MIG of β-VAE against VAE: +0.200, one seed, which settles nothing."
    )
    assert order_sentence(arms, "sparse", "vae", "mig") == ""


def test_equal_steps_take_early_evaluations_and_the_tables_the_last() -> None:
    results = study(
        finished(steps=2_000, last=False, psnr_db=18.0), finished(psnr_db=22.0), finished("perceptual", steps=2_000)
    )
    assert column(equal_steps_table(results, "dsprites"), "PSNR (dB)") == {"VAE": "18.00", "perceptual": "20.00"}
    assert column(reconstruction_table(results, "dsprites"), "PSNR (dB)")["VAE"] == "22.00"
    assert column(reconstruction_table(results, "dsprites"), "steps")["perceptual"] == "2,000"
    assert equal_steps_table(study(finished(steps=346_000), scale="gpu"), "dsprites") is None


def test_scores_that_nothing_has_make_no_column_and_no_table() -> None:
    results = study(finished(beta_vae=0.75, dci_histogram_disentanglement=0.25))
    table = further_table(results, "dsprites")
    assert table is not None
    assert table.header == ("method", "steps", "seeds", "Higgins 2017", "DCI disentanglement, histogram boosting")
    assert further_table(study(finished()), "dsprites") is None
    assert column(sparsity_table(results, "dsprites"), "active units") == {"VAE": "2.0"}


def test_data_without_finished_cells_have_no_tables() -> None:
    assert all_tables(study()) == []
    assert reconstruction_table(study(finished()), "faces") is None
    assert compact_table(study(finished(dataset="faces"))) is None
    # a cell of the sweep is no row of the paper's tables
    assert all_tables(study(finished("sparse-weight4-mean"))) == []
    assert NOTHING == "No cell of this table is finished yet."


def test_the_compact_table_keeps_intervals_and_leaves_single_values_to_the_others() -> None:
    table = compact_table(study(finished(mig=0.1), finished(seed=1, mig=0.3)))
    assert column(table, "MIG")["VAE"] == "0.200 ± 1.271"
    assert column(table, "paper's MIG")["VAE"] == "1.6e-8"
    assert table is not None
    assert table.as_markdown().startswith("| method | steps | seeds | PSNR (dB) |")


def test_a_table_of_markdown_has_a_cell_for_every_column() -> None:
    for table in all_tables(study(finished(), finished("beta_vae"), finished(dataset="celeba"))):
        lines = [line for line in table.as_markdown().splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) == 1


def test_the_csv_has_a_row_per_evaluation() -> None:
    entries = [finished(mig=0.125), finished(steps=2_000, last=False), finished(dataset="celeba", psnr_db=None)]
    header, *rows = (line.split(",") for line in as_csv(study(*entries)).splitlines())
    first = dict(zip(header, rows[0], strict=True))
    assert len(rows) == 3
    assert (first["cell"], first["mig"], first["images"]) == ("dsprites-vae-seed0", "0.125", "in_sample")
    assert (first["black_psnr_db"], first["training_s"], first["git_revision"]) == ("13.7", "12.5", "abc")
    assert first["train_psnr_db"] == ""
    last = dict(zip(header, rows[2], strict=True))
    assert (last["psnr_db"], last["train_psnr_db"], last["images"]) == ("", "33.25", "held_out")
    assert scores_of(entries[0])["hoyer_sparsity"] == 0.5
    assert as_csv(study()) == "cell\n"


def test_the_csv_tells_the_time_of_all_steps_of_a_run_that_was_interrupted() -> None:
    whole, quarter, none = finished(), finished(seed=1), finished(seed=2)
    quarter.record["seconds"]["from_step"] = quarter.record["steps"] * 3 // 4
    none.record["seconds"]["from_step"] = none.record["steps"]  # trained before, only evaluated in this one
    header, *rows = (line.split(",") for line in as_csv(study(whole, quarter, none)).splitlines())
    assert [row[header.index("training_s")] for row in rows] == ["12.5", "50.0", ""]
    # five runs that were trained together took it together
    quarter.record["seconds"]["trained_together"] = 5
    assert as_csv(study(whole, quarter, none)).splitlines()[2].split(",")[header.index("training_s")] == "10.0"


def test_our_choices_are_those_of_the_presets_and_scales() -> None:
    chosen = {row[0]: row[1] for row in choices_table().rows}
    assert chosen["β of β-VAE"] == "4 on dsprites, 10 on celeba, 4 on chairs"
    assert chosen["L1 weight"] == "1 (sweep: 1, 4)"
    assert chosen["what L1 is on"] == "mean (sweep: mean, output, sample)"
    assert chosen["steps"] == (
        "cpu: 8,000 (perceptual 2,000); long: 16,000 (perceptual 6,000, FactorVAE 10,000, perceptual, pixels first "
        "14,000, sparse + perceptual, pixels first 14,000); gpu: 346,000"
    )
    levels = "relu1_2,relu2_2 at 8,16,32@0.12:1/4,64@0.35:1/8"
    assert chosen["features of the perceptual loss"] == (
        f"vgg16; cpu: relu2_2 on 16 of each 64 images; long: {levels} on all 32 images; gpu: {levels} on all 64 images"
    )
    assert chosen["weights of the loss"].endswith("Pixels first: alone until step 9,500 of 14,000, gone at 10,500")
    assert all(row[2] for row in choices_table().rows)


def test_runs_whose_code_carries_nothing_are_counted() -> None:
    results = study(
        finished("vae", 0),
        finished("sparse", 0, active_units=0),
        finished("sparse", 1, active_units=3),
        finished("sparse", 2, active_units=0),
    )
    for table in (
        compact_table(results),
        reconstruction_table(results, "dsprites"),
        disentanglement_table(results, "dsprites"),
    ):
        assert table is not None
        assert "no active unit: sparse (pixels + L1) 2 of 3." in table.note
    alive = compact_table(study(finished("vae", 0)))
    assert alive is not None
    assert "no active unit" not in alive.note
    ignored = finished("vae", 0, active_units=3)
    ignored.report["health"] = {"spread": 0.0004}
    table = compact_table(study(ignored, finished("vae", 1)))
    assert table is not None
    assert "with no active unit, or a decoder that ignores them: VAE 1 of 2." in table.note
