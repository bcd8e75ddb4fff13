"""Result files of studies, which people edit and carry: whatever is wrong with one, its name and remedy are said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.agents.files import published_study
from experiments.pages.committed import RESULTS
from experiments.paper.published import published_results
from experiments.paper.runs import finished_cells
from sparse_repr.evaluate.report import read_report
from tests.finished_cells import finished
from tests.mutations import UNREADABLE, json_mutations, load_or_refusal

AGENTS = RESULTS / "agents" / "cpu"


def _copy_of_one(kind: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    source = sorted((AGENTS / kind).glob("*.json"))[0]
    path = folder / kind / source.name
    path.parent.mkdir()
    content = json.loads(source.read_text(encoding="utf-8"))
    for part in content.get("evaluation", {}).values():
        part.update({name: values[:2] for name, values in part.items()})
    path.write_text(json.dumps(content))
    return path, content


@pytest.mark.parametrize("kind", ["agents", "encoders", "ends"])
def test_published_files_of_the_study_of_agents(kind: str, tmp_path: Path) -> None:
    path, content = _copy_of_one(kind, tmp_path)
    assert len(getattr(published_study(tmp_path, "cpu"), kind)) == 1
    for done, text in json_mutations(content, 80):
        path.write_bytes(text)
        found, refusal = load_or_refusal(lambda: published_study(tmp_path, "cpu"))
        assert found is not None or f"{path} is damaged: " in refusal, done
        assert not refusal or refusal.endswith("; remove it and compute that cell again"), done


def test_published_cells_of_the_paper(tmp_path: Path) -> None:
    source = sorted((RESULTS / "paper" / "cpu" / "cells").glob("dsprites*.json"))[0]
    path = tmp_path / "cells" / source.name
    path.parent.mkdir()
    content = json.loads(source.read_text(encoding="utf-8"))
    for done, text in json_mutations(content, 80):
        path.write_bytes(text)
        found, refusal = load_or_refusal(lambda: published_results(tmp_path, "cpu"))
        assert found is not None or f"{path} is no published cell (" in refusal, done


@pytest.mark.parametrize("name", ["cell.json", "metrics.json"])
def test_finished_cells_of_the_paper(name: str, tmp_path: Path) -> None:
    sound = finished()
    folder = tmp_path / sound.record["cell"]
    folder.mkdir()
    (folder / "cell.json").write_text(json.dumps(sound.record))
    (folder / "metrics.json").write_text(json.dumps(sound.report))
    assert [cell.record for cell in finished_cells(tmp_path)] == [sound.record]
    content = json.loads((folder / name).read_text())
    for done, text in json_mutations(content, 80):
        (folder / name).write_bytes(text)
        found, refusal = load_or_refusal(lambda: finished_cells(tmp_path))
        assert found is not None or f"{folder / name} is damaged: " in refusal, done
    (folder / name).unlink()
    assert finished_cells(tmp_path) == []


@pytest.mark.parametrize("content", UNREADABLE)
def test_a_report_that_is_none_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"metrics\.json is damaged: .*; evaluate the run again \(python -m sparse_repr"
    ):
        read_report(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda report: report["images"].update(in_sample=[]), r"images\.in_sample needs an object, found \[\]"),
        (
            lambda report: report["images"]["in_sample"].pop("model"),
            "in_sample needs the entries model, found no 'model'",
        ),
        (lambda report: report["codes"].update(kl_nats="6"), r"codes\.kl_nats needs a number, found '6'"),
        (lambda report: report["disentanglement"].update(intervals_95={"mig": [0.1]}), "mig needs a list of 2, found"),
        (lambda report: report["run"].pop("seed"), "run needs the entries .*, found no 'seed'"),
    ],
)
def test_entries_that_a_comparison_needs_are_named(
    change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path
) -> None:
    report = finished().report
    (tmp_path / "metrics.json").write_text(json.dumps(report))
    assert read_report(tmp_path) == report
    change(report)
    (tmp_path / "metrics.json").write_text(json.dumps(report))
    with pytest.raises(ValueError, match=rf"metrics\.json(: | is damaged: ).*{message}"):
        read_report(tmp_path)
