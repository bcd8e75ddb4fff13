from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparse_repr.evaluate.__main__ import main
from sparse_repr.evaluate.codes import choose_metrics
from sparse_repr.evaluate.comparison import (
    comparison_csv,
    comparison_markdown,
    comparison_rows,
    udr_across,
    write_comparison,
)
from sparse_repr.evaluate.run import EvaluateConfig, compare_runs, evaluate_run


def _report(seed: int, **scores: Any) -> dict[str, Any]:
    return {
        "run": {"dataset": "dsprites", "objective": "vae", "seed": seed},
        "images": {"protocol": "", "in_sample": {"model": {"psnr_db": 20.0, "ssim": 0.9}}},
        "codes": {"active_units": 2, "hoyer_sparsity": 0.5, "kl_nats": 12.0, "kl_nats_per_unit": [1.0, 1.0, 0.0]},
        "disentanglement": {"intervals_95": {"sap": [0.1, 0.3]}, "factor_names": [], **scores},
    }


REPORTS = {"first": _report(0, mig=0.25, sap=0.2), "second": _report(1, mig=0.5, aam=0.125, sap=0.25)}


def test_rows_share_their_columns_and_the_csv_keeps_every_digit() -> None:
    rows = comparison_rows(REPORTS, {"second": 0.75})
    assert list(rows[0]) == list(rows[1])
    assert rows[0]["aam"] is None
    read = list(csv.DictReader(io.StringIO(comparison_csv(rows))))
    assert (read[1]["mig"], read[1]["udr"], read[0]["udr"], read[0]["sap_high"]) == ("0.5", "0.75", "", "0.3")


def test_the_markdown_shows_intervals_and_what_is_missing() -> None:
    lines = comparison_markdown(comparison_rows(REPORTS, {})).splitlines()
    assert lines[0] == "| | first | second |"
    assert "| sap | 0.200 (0.100–0.300) | 0.250 (0.100–0.300) |" in lines
    assert "| aam | – | 0.125 |" in lines
    assert not any(line.startswith("| sap_low") for line in lines)


def test_udr_is_taken_among_runs_of_equal_size() -> None:
    codes = np.random.default_rng(0).standard_normal((300, 3)).astype(np.float32)
    reports = {**REPORTS, "third": _report(2)}
    found = {"first": codes, "second": codes[:, [1, 0, 2]], "third": codes[:, :2]}
    scores = udr_across(found, reports, dict.fromkeys(reports, "images"))
    assert scores.keys() == {"first", "second"}
    assert scores["first"] > 0.8
    # other images of a data set of the same name and size
    assert udr_across(found, reports, {**dict.fromkeys(reports, "images"), "second": "others"}) == {}


def test_metrics_are_chosen_by_name() -> None:
    assert choose_metrics("mig, dci,mig") == ("mig", "dci")
    assert "dci" not in choose_metrics(None)
    assert "dci_histogram" in choose_metrics(None, 64)
    assert set(choose_metrics(None, 64)) - set(choose_metrics(None, 65)) == {"dci_histogram", "dci_forest"}
    assert choose_metrics("dci_histogram", 500) == ("dci_histogram",)
    assert {"mig", "aam", "sap", "dci_forest"} <= set(choose_metrics(None))
    with pytest.raises(ValueError, match=r"unknown metric 'mgi'\. Did you mean 'mig'"):
        EvaluateConfig(run="x", metrics="mgi")
    with pytest.raises(ValueError, match="n_bootstrap needs 0 or 2..1000000 repetitions, got 1"):
        EvaluateConfig(run="x", n_bootstrap=1)


def test_several_runs_are_compared(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sparse_repr.evaluate.run.draw_run", lambda *_, **__: None)
    for name in ("one", "two"):
        shutil.copytree(tiny_run, tmp_path / "runs" / name)
    runs = [str(tmp_path / "runs" / name) for name in ("one", "two")]
    chosen = ["--metrics", "mig,modularity,irs", "--sample", "300", "--n-bootstrap", "3"]
    chosen += ["--image-items", "40", "--no-progress"]
    assert main([*runs, *chosen]) == 0
    assert "| modularity | " in capsys.readouterr().out
    folder = tmp_path / "runs"
    assert {path.name for path in folder.glob("comparison.*")} == {
        "comparison.csv",
        "comparison.md",
        "comparison.png",
        "comparison.svg",
    }
    # once more, by runs/*: what was written is no run
    assert main([*map(str, sorted(folder.iterdir())), *chosen]) == 0
    assert main([str(path) for path in folder.glob("comparison.*")]) == 2
    assert "evaluate needs run folders, got " in capsys.readouterr().err
    rows = list(csv.DictReader(io.StringIO((folder / "comparison.csv").read_text())))
    assert [row["run"] for row in rows] == ["one", "two"]
    assert float(rows[0]["udr"]) == float(rows[1]["udr"])
    report = json.loads((folder / "one" / "metrics.json").read_text())
    scores = report["disentanglement"]
    assert scores["modularity"] == float(rows[0]["modularity"])
    low, high = scores["intervals_95"]["modularity"]
    assert low <= scores["modularity"] <= high
    assert "aam" not in scores
    assert scores["metric_seconds"].keys() == {"modularity", "irs"}
    assert main([]) == 2
    assert "needs at least one run folder" in capsys.readouterr().err


def test_probes_report_r2_of_factor_values(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    config = EvaluateConfig(run=str(tmp_path / "run"), sample=600, metrics="probes", image_items=200, progress=False)
    report = evaluate_run(config)
    assert len(report["disentanglement"]["probe_r2"]["linear"]) == 5
    assert "no LPIPS" in report["images"]["protocol"]


def test_bars_reach_where_intervals_end_and_only_scores_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}

    def keep(figure: Any, path: Path) -> None:
        drawn[path.name] = figure

    monkeypatch.setattr("sparse_repr.figures.save_chart", keep)
    report = _report(0, mig=0.25, mutual_information_error_nats=0.0, intervals_95={"mig": [0.0, 0.5]})
    report["health"] = {"spread": 1.5}
    write_comparison(tmp_path, comparison_rows({"one": report}, {}))
    (axes,) = drawn["comparison.png"].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ssim_in_sample", "hoyer_sparsity", "mig"]
    segments = axes.containers[0].lines[2][0].get_segments()
    assert segments[2][:, 0].tolist() == pytest.approx([0.0, 0.5])


def test_a_run_is_not_compared_with_itself(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tiny_run), f"{tiny_run}/../{tiny_run.name}", "--out", str(tmp_path)]) == 2
    assert "needs different run folders" in capsys.readouterr().err


def test_a_missing_run_is_named_before_any_is_scored(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sparse_repr.evaluate.run._evaluate", lambda _: pytest.fail("scored"))
    assert main([str(tiny_run), str(tmp_path / "missing"), "--out", str(tmp_path)]) == 2
    assert f"{tmp_path / 'missing'}" in capsys.readouterr().err


def test_points_have_no_kl_to_compare() -> None:
    rows = comparison_rows({"gaussian": _report(0), "point": {**_report(1), "posterior": "point"}}, {})
    assert [row["kl_nats"] for row in rows] == [12.0, None]


@pytest.mark.parametrize("fault", ["out", "vae", "data"])
def test_what_is_missing_is_named_before_any_run_is_scored(
    fault: str, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sparse_repr.evaluate.run._evaluate", lambda _: pytest.fail("scored"))
    other, out = tmp_path / "other", tmp_path / "out"
    shutil.copytree(tiny_run, other)
    if fault == "out":
        out.write_text("a file")
    elif fault == "vae":
        (other / "vae.safetensors").unlink()
    else:
        config = json.loads((other / "config.json").read_text())
        (other / "config.json").write_text(json.dumps({**config, "data_path": str(tmp_path / "gone.npz")}))
    said = {"out": "cannot write to", "vae": "vae.safetensors", "data": "gone.npz, which"}
    assert main([str(tiny_run), str(other), "--out", str(out)]) == 2
    assert said[fault] in capsys.readouterr().err
    assert fault == "out" or not out.exists()


@pytest.mark.parametrize("place", [("minari", "D4RL/door/human-v2"), ("npz", "~/a.npz")])
def test_data_that_is_no_path_of_this_folder_may_be_compared(
    place: tuple[str, str], tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "a.npz").write_bytes(b"")
    other = tmp_path / "other"
    shutil.copytree(tiny_run, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "dataset": place[0], "data_path": place[1]}))

    def reached(_: object) -> None:
        raise ValueError("scored")

    monkeypatch.setattr("sparse_repr.evaluate.run._evaluate", reached)
    with pytest.raises(ValueError, match="scored"):
        compare_runs([str(tiny_run), str(other)], EvaluateConfig(run="", progress=False), tmp_path / "out")


def test_a_run_is_called_by_its_folder_wherever_one_stands(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        shutil.copytree(tiny_run, tmp_path / name)
    monkeypatch.chdir(tmp_path / "first")
    sizes = {"sample": 300, "image_items": 40, "lpips_items": 0, "progress": False}
    rows = compare_runs([".", "../second"], EvaluateConfig(run="", metrics="modularity", **sizes), tmp_path / "out")
    assert [row["run"] for row in rows] == ["first", "second"]
