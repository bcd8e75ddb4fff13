"""The paper's figures from run folders: what each shows, what its titles claim, and which may be published."""

from __future__ import annotations

import dataclasses
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.paper import figures as paper_figures
from experiments.paper.figures import (
    Informed,
    blocks_figure,
    draw_into,
    figures_of,
    informed_about,
    side_by_side_figure,
    used_units,
)
from experiments.paper.published import publish
from experiments.paper.report import publish_figures, write_study_report
from experiments.paper.runs import Finished
from sparse_repr import PretrainConfig, pretrain_encoder
from sparse_repr.files import write_json
from sparse_repr.files.json_reader import read_json
from tests.experiments.paper.test_published_cells import put
from tests.finished_cells import FACTORS, finished, study

# units x factors as shares of the factors' entropies
SHARES = np.array([[0.0, 0.5, 0.0, 0.3, 0.0], [0.0] * 5, [0.0, 0.2, 0.0, 0.0, 0.8]])


@pytest.fixture(scope="module")
def tiny_cell(rectangles: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run of 2 steps on `rectangles` whose scores are made up, in a folder of its own; 3 units."""
    out = tmp_path_factory.mktemp("study")
    entry = finished(**informed(SHARES))
    training = {"dataset": "folder", "data_path": str(rectangles)}
    folder = put(out, entry, **training)
    pretrain_encoder(
        PretrainConfig(
            **training,
            run_dir=str(folder),
            image_size=32,
            batch_size=8,
            code_size=3,
            steps=2,
            precision="float32",
            device="cpu",
            progress=False,
        )
    )
    return Finished(folder, {**entry.record, "training": training}, entry.report)


def informed(shares: Any) -> dict[str, Any]:
    """The matrix of mutual information (K, D) in nats whose shares of the entropies are (D, K)."""
    entropies = np.array(finished().report["disentanglement"]["factor_entropies_nats"])
    return {"mutual_information_nats": (np.asarray(shares) * entropies).T.tolist()}


def as_method(entry: Finished, method: str, dataset: str = "dsprites") -> Finished:
    """The same run under another name."""
    record = {**entry.record, "method": method, "dataset": dataset, "cell": f"{dataset}-{method}-seed0"}
    return dataclasses.replace(entry, record=record)


def test_a_unit_is_named_where_one_factor_is_clearly_highest() -> None:
    report = finished(**informed(SHARES)).report
    assert informed_about(report, 0) is None  # 0.9 nats of the scale, 1.0 of the position
    assert informed_about(report, 1) is None
    assert informed_about(report, 2) == Informed("position y", pytest.approx(0.8))
    assert informed_about(finished(**informed([[0.15, 0, 0, 0, 0]])).report, 0) is None
    assert informed_about({"codes": {}}, 0) is None  # no factor is known


def test_the_nats_count_and_their_share_is_told() -> None:
    nats = [[0.5, 1.0], *([0.0, 0.0] for _ in range(4))]
    nats[2][0] = 1.0  # 27 % of the orientation's entropy beside 46 % of the shape's
    assert informed_about(finished(mutual_information_nats=nats).report, 0) == Informed(
        "orientation", pytest.approx(1 / 3.6889)
    )


def test_units_that_carry_nothing_are_left_out() -> None:
    assert used_units(finished(kl_nats_per_unit=[0.5, 0.09, 3.0, 0.1]).report) == [2, 0, 3]


def test_figures_are_those_of_the_paper_of_the_least_seeds() -> None:
    entries = [finished(seed=1), finished(), finished("sparse"), finished("capacity", 4), finished("capacity", 3)]
    entries += [finished(steps=2_000, last=False), finished("sparse-weight4-mean")]
    entries += [finished(dataset=dataset) for dataset in ("celeba", "faces", "chairs3d")]
    found = {figure.name: figure for figure in figures_of(study(*entries))}
    assert list(found) == [
        "fig1-dsprites",
        "fig2-celeba",
        "fig2-faces",
        "fig3-dsprites-vae",
        "fig3-dsprites-sparse",
        "fig3-dsprites-capacity",
        "fig4-celeba-vae",
        "fig4-faces-vae",
        "fig5-chairs3d-vae",
    ]
    drawn = [(entry.record["method"], entry.record["seed"]) for entry in found["fig1-dsprites"].cells]
    assert drawn == [("vae", 0), ("sparse", 0), ("capacity", 3)]
    assert "each method's least seed" in found["fig1-dsprites"].caption
    assert "capacity on dsprites, seed 3," in found["fig3-dsprites-capacity"].caption
    # photographs are shown nowhere, traversals that begin at samples of the prior may be
    assert [name for name, figure in found.items() if not figure.publishable] == ["fig2-celeba"]
    assert "samples of the prior" in found["fig4-celeba-vae"].caption
    assert "codes of images" in found["fig4-faces-vae"].caption
    assert "drawn in place of celeba" in found["fig2-faces"].caption


def test_the_caption_says_what_no_unit_stands_for(tiny_cell: Finished) -> None:
    caption = next(figure.caption for figure in figures_of(study(tiny_cell)) if figure.name.startswith("fig3"))
    assert "2 of 3 units carry at least 0.1 nats" in caption
    assert "no unit stands for shape, scale, orientation, position x." in caption


def test_figures_are_drawn_once_and_again_when_a_cell_is_newer(tiny_cell: Finished, tmp_path: Path) -> None:
    entries = [tiny_cell, as_method(tiny_cell, "sparse")]
    figures = figures_of(study(*entries))
    assert draw_into(figures, tmp_path) == {}
    names = ["fig1-dsprites.png", "fig3-dsprites-sparse.png", "fig3-dsprites-vae.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    draw_into(figures, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    os.utime(tmp_path / names[0], (1, 1))  # older than its cells
    draw_into(figures, tmp_path)
    assert [path.name for path, time in before.items() if path.stat().st_mtime_ns != time] == names[:1]


def test_rows_and_blocks_are_in_order(tiny_cell: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: dict[str, Any] = {}
    monkeypatch.setattr(paper_figures, "side_by_side_figure", rows.update)
    blocks: list[Any] = []
    monkeypatch.setattr(paper_figures, "blocks_figure", lambda *arguments: blocks.extend(arguments))
    for figure in figures_of(study(tiny_cell, as_method(tiny_cell, "beta_vae"))):
        figure.draw()
    assert list(rows) == ["original", "VAE\n8,000 steps", "β-VAE\n8,000 steps"]
    assert torch.equal(rows["VAE\n8,000 steps"], rows["β-VAE\n8,000 steps"])
    assert rows["original"].shape == (4, 1, 32, 32)  # the last tenth of 40 pictures is held out
    pictures, titles = blocks[:2]
    assert titles == ["unit 2, 4.00 nats: position y (80 %)", "unit 0, 2.00 nats"]
    assert [block.shape for block in pictures] == [(3, 7, 1, 32, 32)] * 2


def test_photographs_are_traversed_from_the_prior_without_the_data(
    tiny_cell: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper_figures, "load_dataset", lambda *_: pytest.fail("looked at the photographs"))
    figure = next(each for each in figures_of(study(as_method(tiny_cell, "vae", "celeba"))) if "fig4" in each.name)
    assert len(figure.draw().axes) == 2


def test_layouts_have_a_label_per_row_and_a_title_per_block() -> None:
    rows = {"original": torch.zeros(5, 3, 8, 8), "VAE": torch.ones(5, 3, 8, 8)}
    axes = side_by_side_figure(rows).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["original", "VAE"]
    assert axes.images[0].get_array().shape == (17, 44, 3)
    figure = blocks_figure([torch.zeros(3, 7, 1, 8, 8)] * 4, list("abcd"))
    assert [axes.get_title() for axes in figure.axes] == list("abcd")
    assert blocks_figure([], []).axes == []


def test_the_report_holds_tables_figures_and_choices(tiny_cell: Finished) -> None:
    out = tiny_cell.folder.parent
    page = write_study_report(out, "cpu", "python -m it", anew=True).read_text(encoding="utf-8")
    for text in (
        "a short run on a CPU, far from converged",
        "python -m it",
        "Table 1. Reconstruction of dsprites",
        "Table 3. Disentanglement on dsprites",
        "Figure 3. Traversals of dsprites: VAE",
        "Not in the paper: our choice, and why",
    ):
        assert text in page, text
    assert page.count('src="data:image/png;base64,') == 2
    assert 'src="figures' not in page
    assert (out / "results.csv").read_text().startswith("cell,dataset,method,seed")


def test_a_report_of_nothing_says_so(tmp_path: Path) -> None:
    page = write_study_report(tmp_path, "smoke", "python -m it").read_text(encoding="utf-8")
    assert page.count("Nothing is finished yet.") == 2
    assert "its numbers mean nothing" in page


def test_figures_without_weights_are_named_in_the_report(tmp_path: Path) -> None:
    put(tmp_path, finished())
    page = write_study_report(tmp_path, "cpu", "python -m it").read_text(encoding="utf-8")
    assert page.count("Not drawn: ") == 2
    assert "no VAE at" in page


def test_processes_may_write_the_report_at_once(tmp_path: Path) -> None:
    put(tmp_path, finished())
    page = write_study_report(tmp_path, "cpu", "python -m it")
    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write_study_report, tmp_path, "cpu", "python -m it") for _ in range(6)]
        seen = []
        while not all(writer.done() for writer in writers):
            seen.append(page.read_text(encoding="utf-8"))
    assert [writer.result() for writer in writers] == [page] * 6
    assert seen
    assert all(text.rstrip().endswith("</html>") for text in seen)
    assert not list(tmp_path.glob(".*"))


def test_published_pictures_show_no_photograph_and_lose_no_method(tiny_cell: Finished, tmp_path: Path) -> None:
    out, folder = tiny_cell.folder.parent, tmp_path / "results"
    publish(out, folder, "cpu")
    assert publish_figures(out, folder, "cpu") == {}
    assert sorted(path.name for path in folder.glob("*.png")) == ["fig1-dsprites.png", "fig3-dsprites-vae.png"]
    elsewhere = finished("sparse")
    write_json(
        folder / "cells" / "dsprites-sparse-seed0.json", {"record": elsewhere.record, "report": elsewhere.report}
    )
    (folder / "fig1-dsprites.png").write_bytes(b"of two methods")
    kept = publish_figures(out, folder, "cpu")
    assert kept == {"fig1-dsprites": "stays as it is: sparse was computed elsewhere"}
    assert (folder / "fig1-dsprites.png").read_bytes() == b"of two methods"

    for name in ("fig1-dsprites", "fig3-dsprites-vae"):
        (folder / f"{name}.png").write_bytes(b"of seed 0")
    shutil.copytree(out, tmp_path / "later")
    later = tmp_path / "later" / tiny_cell.folder.name / "cell.json"
    write_json(later, {**read_json(later, {}), "seed": tiny_cell.record["seed"] + 1})
    kept = publish_figures(tmp_path / "later", folder, "cpu")
    assert kept["fig3-dsprites-vae"] == "stays as it is: seed 0 of vae was computed elsewhere"
    assert kept["fig1-dsprites"] == "stays as it is: seed 0 of vae, sparse was computed elsewhere"
    assert (folder / "fig3-dsprites-vae.png").read_bytes() == b"of seed 0"

    photographs = tmp_path / "photographs"
    put(photographs, finished(dataset="celeba"))
    kept = publish_figures(photographs, folder, "cpu")
    assert kept["fig2-celeba"].startswith("shows photographs")
    assert "no VAE at" in kept["fig4-celeba-vae"]
    assert not list(folder.glob("fig2*"))


def test_factor_names_of_the_made_up_cells_are_those_of_the_data() -> None:
    from sparse_repr.data.dsprites import FACTOR_NAMES

    assert tuple(FACTORS) == FACTOR_NAMES
