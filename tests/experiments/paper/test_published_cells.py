"""Publishing: what is committed of finished cells is small, names no place of the machine, and is merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.paper.pages import RESULTS, paper_table, pictures, shown
from experiments.paper.published import (
    all_published,
    command_of,
    portable,
    publish,
    published_name,
    published_results,
)
from experiments.paper.results import as_csv, live_results
from experiments.paper.runs import Finished
from experiments.paper.table_parts import NOTHING
from experiments.paper.tables import all_tables, disentanglement_table
from sparse_repr.files import write_json
from tests.finished_cells import finished


def put(out: Path, entry: Finished, **training: Any) -> Path:
    """Write an evaluation as a run leaves it; returns its folder."""
    record = entry.record
    folder = out / record["cell"] if record["last"] else out / record["cell"] / f"at-{record['steps']}"
    write_json(folder / "metrics.json", entry.report)
    write_json(folder / "cell.json", {**record, "training": {**record["training"], **training}})
    return folder


def test_published_cells_give_the_same_tables(tmp_path: Path) -> None:
    out, folder = tmp_path / "study", tmp_path / "results" / "cpu"
    for entry in (
        finished(mig=0.123456789),
        finished(seed=1, mig=0.25),
        finished(steps=2_000, last=False),
        finished("sparse", dataset="celeba"),
    ):
        put(out, entry)
    published = publish(out, folder, "cpu")
    assert sorted(path.name for path in (folder / "cells").iterdir()) == [
        "celeba-sparse-seed0.json",
        "dsprites-vae-seed0-at-2000.json",
        "dsprites-vae-seed0.json",
        "dsprites-vae-seed1.json",
    ]
    assert all_tables(published) == all_tables(live_results(out, "cpu"))
    content = json.loads((folder / "cells" / "dsprites-vae-seed0.json").read_text())
    assert content["report"]["disentanglement"]["mig"] == 0.123457
    assert content["command"] == (
        "python -m experiments.reproduce_paper --scale cpu --dataset dsprites --method vae --seeds 0"
    )
    assert content["record"]["machine"]["date"] == "2026-01-02"
    assert (folder / "results.csv").read_text() == as_csv(published_results(folder, "cpu"))


def test_publishing_adds_and_replaces_and_takes_nothing_away(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "cpu"
    first, second = tmp_path / "first", tmp_path / "second"
    put(first, finished(mig=0.1))
    put(first, finished(seed=1, mig=0.2))
    publish(first, folder, "cpu")
    put(second, finished(seed=1, mig=0.3))
    put(second, finished("beta_vae", mig=0.4))
    merged = publish(second, folder, "cpu")
    found = {
        (entry.record["method"], entry.record["seed"]): entry.report["disentanglement"]["mig"]
        for entry in merged.evaluations
    }
    assert found == {("vae", 0): 0.1, ("vae", 1): 0.3, ("beta_vae", 0): 0.4}
    assert list(found) == [("vae", 0), ("vae", 1), ("beta_vae", 0)]
    table = disentanglement_table(merged, "dsprites")
    assert table is not None
    assert table.rows[0][3] == "0.200 ± 1.271 (0.100, 0.300)"
    with pytest.raises(ValueError, match="nothing to publish: no cell of .*third is finished"):
        publish(tmp_path / "third", folder, "cpu")


def test_the_choice_of_the_sweep_is_published_and_stays(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    put(tmp_path / "first", finished("sparse-weight4-mean"))
    choice = {"rule": "highest UDR", "families": {"sparse": {"chosen": {"sparsity_weight": 4}, "udr": [0.123456789]}}}
    write_json(tmp_path / "first" / "sweep-selection.json", choice)
    assert publish(tmp_path / "first", folder, "cpu").selection == portable(choice)
    put(tmp_path / "second", finished())
    merged = publish(tmp_path / "second", folder, "cpu")
    assert merged.selection == portable(choice)
    assert len(merged.evaluations) == 2
    other = {"chosen": {"beta": 4}, "udr": [0.25]}
    write_json(tmp_path / "second" / "sweep-selection.json", {**choice, "families": {"beta": other}})
    selection = publish(tmp_path / "second", folder, "cpu").selection
    assert selection is not None
    assert selection["families"] == {"beta": other, **portable(choice)["families"]}


def test_no_path_of_the_machine_is_published(tmp_path: Path) -> None:
    out, folder = tmp_path / "study", tmp_path / "results"
    entry = finished(note=f"no such file: '{tmp_path}/data/own.npz', try (/opt/other/weights.pth)")
    put(out, entry, run_dir=str(tmp_path / "run"), data_path="/home/someone/celeba", perceptual_weights_path="/w/v.pth")
    publish(out, folder, "cpu")
    texts = [path.read_text() for path in folder.rglob("*") if path.is_file()]
    assert texts
    for text in texts:
        assert str(tmp_path) not in text
        assert "/home" not in text
        assert "/opt" not in text
    content = json.loads((folder / "cells" / "dsprites-vae-seed0.json").read_text())
    assert not {"run_dir", "data_path", "perceptual_weights_path"} & set(content["record"]["training"])
    assert content["report"]["disentanglement"]["note"] == "no such file: 'own.npz', try (weights.pth)"


def test_floats_keep_six_digits_and_words_with_slashes_stay() -> None:
    assert portable({"a": [1.23456789e-8, 12345678.9], "b": (None)}) == {"a": [1.23457e-08, 12345700.0], "b": None}
    assert portable([True, 3, "PSNR/SSIM, images/s", "C:\\Users\\someone\\x.npz", "1 / 3"]) == [
        True,
        3,
        "PSNR/SSIM, images/s",
        "x.npz",
        "1 / 3",
    ]


def test_a_published_cell_names_the_command_that_computes_it() -> None:
    def record(method: str, seed: int = 0, **others: Any) -> dict[str, Any]:
        return finished(method, seed, **others).record

    assert command_of(record("sparse-weight4-mean"), "gpu").endswith("--scale gpu --only sweep")
    assert command_of(record("vae", 101), "cpu").endswith("--only fresh")
    assert command_of(record("sparse", 2, dataset="faces"), "cpu").endswith("--dataset faces --method sparse --seeds 2")
    assert published_name(record("vae", steps=2_000, last=False)) == "dsprites-vae-seed0-at-2000"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "broken.json").write_text('{"record": {')
    with pytest.raises(ValueError, match=r"broken.json is no published cell .*: publish it again"):
        published_results(tmp_path, "cpu")


def test_pages_say_so_where_nothing_is_published(tmp_path: Path) -> None:
    assert shown(disentanglement_table, "dsprites", results=tmp_path) == NOTHING
    for scale in ("cpu", "gpu"):
        put(tmp_path / scale, finished(mig=0.1))
        publish(tmp_path / scale, tmp_path / "results" / scale, scale)
    page = shown(disentanglement_table, "dsprites", "faces", results=tmp_path / "results")
    # the full protocol stands first
    assert page.count("**Table 3. Disentanglement on dsprites**") == page.count("**") / 2 == 2
    assert page.index("Scale `gpu`") < page.index("Scale `cpu`")


def test_the_front_page_shows_every_method_from_its_longest_runs_of_three_seeds(tmp_path: Path) -> None:
    assert paper_table(tmp_path) == NOTHING
    for scale, seeds in (("full", {"vae": 1}), ("long", {"vae": 3}), ("cpu", {"vae": 3, "sparse": 1})):
        for method, count in seeds.items():
            for seed in range(count):
                put(tmp_path / scale, finished(method, seed=seed, mig=0.1))
        publish(tmp_path / scale, tmp_path / "results" / scale, scale)
    full, rest = paper_table(tmp_path / "results").split("Scale `full`")
    long, short = rest.split("Scale `long`")
    # one seed of the longest is shown, and does not hide the three of the shorter ones
    assert "| VAE |" in full
    assert "| VAE |" in long
    assert "| VAE |" not in short
    assert "| sparse (pixels + L1) |" in short


def test_pages_show_the_pictures_that_are_there(tmp_path: Path) -> None:
    assert pictures(tmp_path) == "No figure is published yet."
    put(tmp_path / "study", finished())
    publish(tmp_path / "study", tmp_path / "cpu", "cpu")
    (tmp_path / "cpu" / "fig3-dsprites-vae.png").write_bytes(b"")
    page = pictures(tmp_path)
    assert page.count("![") == 1
    assert "![Figure 3. Traversals of dsprites: VAE](cpu/fig3-dsprites-vae.png)" in page
    assert "far from converged" in page


def test_what_is_committed_is_whole_and_portable() -> None:
    for results in all_published(RESULTS):
        folder = RESULTS / results.scale_name
        assert (folder / "results.csv").read_text(encoding="utf-8") == as_csv(results)
        for path in (folder / "cells").iterdir():
            content = json.loads(path.read_text(encoding="utf-8"))
            assert content == portable(content), path
            assert path.stem == published_name(content["record"])
            assert content["command"] == command_of(content["record"], results.scale_name)
        assert not list(folder.glob("fig2-celeba*")), "photographs of people must not be published"
