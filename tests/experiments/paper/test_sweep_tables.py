"""What is said of the sweep: its configurations are found by their settings, and the choice stands beside them."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.paper.cells import PAPER_SCALES
from experiments.paper.sweep_tables import configurations, fresh_table, sweep_figure, sweep_table
from tests.finished_cells import finished, study

# UDR of two configurations of one family, as sweep-selection.json holds it
SELECTION: dict[str, Any] = {
    "rule": "highest mean UDR",
    "families": {
        "sparse": {
            "method": "sparse",
            "configurations": [
                {
                    "changes": {"sparsity_weight": 1, "sparsity_target": "mean"},
                    "udr": [0.2, 0.4],
                    "udr_by_kl": [0.1, 0.1],
                },
                {
                    "changes": {"sparsity_weight": 4, "sparsity_target": "mean"},
                    "udr": [0.5, 0.7],
                    "udr_by_kl": [0.6, 0.4],
                },
            ],
            "chosen": {"sparsity_weight": 4, "sparsity_target": "mean"},
        }
    },
}


def test_nothing_is_said_before_the_sweep_begins() -> None:
    results = study(finished(), finished("sparse"))
    assert sweep_table(results) is None
    assert sweep_figure(results) is None
    assert fresh_table(results) is None


def test_configurations_are_found_with_as_many_seeds_as_the_sweep_has() -> None:
    assert PAPER_SCALES["cpu"].sweep_seeds == 2
    entries = [finished(seed=seed) for seed in range(3)]
    entries += [finished("sparse"), finished("sparse-weight4-mean"), finished("sparse-weight4-mean", 1)]
    entries += [finished("sparse", steps=2_000, last=False)]
    found = {one.title: (one.family, len(one.entries)) for one in configurations(study(*entries))}
    # the arm of the paper's tables is weight 1 on the mean: it is not computed twice
    assert found == {
        "sparse (pixels + L1): sparsity weight 1, sparsity target mean": ("sparse", 1),
        "sparse (pixels + L1): sparsity weight 4, sparsity target mean": ("sparse", 2),
        "VAE": ("reference", 2),
    }


def test_the_choice_stands_beside_the_configurations() -> None:
    entries = [finished(), finished("sparse", mig=0.1), finished("sparse-weight4-mean", mig=0.3)]
    table = sweep_table(study(*entries, selection=SELECTION))
    assert table is not None
    rows = {row[1]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    light = rows["sparse (pixels + L1): sparsity weight 1, sparsity target mean"]
    heavy = rows["sparse (pixels + L1): sparsity weight 4, sparsity target mean"]
    assert (light["MIG"], light["UDR"], light["chosen"]) == ("0.100", "0.300", "–")
    assert (heavy["MIG"], heavy["UDR"], heavy["UDR by KL"], heavy["chosen"]) == ("0.300", "0.600", "0.500", "yes")
    assert (rows["VAE"]["UDR"], rows["VAE"]["chosen"]) == ("–", "–")
    assert "highest mean UDR" in table.note


def test_fresh_seeds_are_shown_apart() -> None:
    entries = [
        finished(),
        finished(seed=100, mig=0.2),
        finished("sparse-weight4-mean", mig=0.9),
        finished("sparse-weight4-mean", 100, mig=0.3),
    ]
    table = fresh_table(study(*entries, selection=SELECTION))
    assert table is not None
    assert [(row[0], row[2], row[5]) for row in table.rows] == [("sparse", "1", "0.300"), ("reference", "1", "0.200")]


@pytest.mark.parametrize("perceptual", [False, True])
def test_the_figure_has_a_line_per_target_and_beta(perceptual: bool) -> None:
    entries = [finished(mig=0.1), finished(seed=1, mig=0.2), finished("beta_vae")]
    entries += [finished("sparse"), finished("sparse-weight4-mean"), finished("sparse-weight4-sample")]
    entries += [finished("beta_sparse-weight4-output")]
    entries += [finished("perceptual"), finished("sparse_perceptual")] if perceptual else []
    figure = sweep_figure(study(*entries))
    panel = next(axes for axes in figure.axes if axes.get_title() == "MIG")
    labels = panel.get_legend_handles_labels()[1]
    assert labels == [
        "mean, β = 1",
        "sample, β = 1",
        "output, β = 4",
        *(["perceptual, mean, β = 1"] if perceptual else []),
    ]
    line = next(line for line in panel.lines if line.get_label() == "mean, β = 1")
    # weight 0 is the VAE, the mean of its two seeds
    assert list(line.get_ydata()) == pytest.approx([0.15, 0.5, 0.5])
    assert [text.get_text() for text in panel.get_xticklabels()] == ["0", "1", "4"]
