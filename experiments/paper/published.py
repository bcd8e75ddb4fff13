"""Publishing: the finished evaluations of a study as small files that are committed, and reading them back.

A scale's files are in one folder: `cells/NAME.json` (an early evaluation: `NAME-at-STEPS.json`), `results.csv`, the
pictures, and `sweep-selection.json` once the sweep has chosen. Publishing adds and replaces; what another machine
published stays, although its run folders are not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.pages.committed import PLACES, portable
from experiments.paper.cells import METHODS, PAPER_SCALES
from experiments.paper.results import CSV, StudyResults, as_csv, live_results
from experiments.paper.runs import RECORD_SHAPE, Finished, in_order
from experiments.paper.sweep import FAMILIES, FIRST_FRESH_SEED, SELECTION, read_selection
from sparse_repr.evaluate.report import require_report
from sparse_repr.files import write_bytes, write_json
from sparse_repr.files.json_reader import OBJECT, read_json


def publish(out: Path, folder: Path, scale_name: str) -> StudyResults:
    """Write what is finished in the folder of a study into that of its published files.

    Args:
        out: folder of the study.
        folder: of the scale's published files.
        scale_name: key of `PAPER_SCALES`.

    Returns:
        All that is published now.

    Raises:
        ValueError: nothing is finished in `out`.
    """
    live = live_results(out, scale_name)
    if not live.evaluations:
        raise ValueError(f"nothing to publish: no cell of {out} is finished")
    for entry in live.evaluations:
        content = {
            "command": command_of(entry.record, scale_name),
            "record": {
                **entry.record,
                "training": {key: value for key, value in entry.record["training"].items() if key not in PLACES},
            },
            "report": entry.report,
        }
        write_json(folder / "cells" / f"{published_name(entry.record)}.json", portable(content))
    if live.selection is not None:
        chosen = {**(read_selection(folder) or {"families": {}})["families"], **live.selection["families"]}
        families = {name: chosen[name] for name in FAMILIES if name in chosen}
        write_json(folder / SELECTION, portable({**live.selection, "families": families}))
    published = published_results(folder, scale_name)
    write_bytes(folder / CSV, as_csv(published).encode())
    return published


def published_results(folder: Path, scale_name: str) -> StudyResults:
    """What is published of a scale; the folders of its evaluations hold no weights.

    Args:
        folder: of the scale's published files; one that is not there holds nothing.
        scale_name: key of `PAPER_SCALES`.

    Raises:
        ValueError: a file is damaged.
    """
    found = [_read(path) for path in sorted((folder / "cells").glob("*.json"))]
    return StudyResults(scale_name, in_order(found), read_selection(folder))


def _read(path: Path) -> Finished:
    try:
        content = read_json(path, {"record": RECORD_SHAPE, "report": OBJECT})
        require_report(content["report"], "its report")
    except ValueError as error:
        raise ValueError(f"{path} is no published cell ({error}): publish it again") from error
    return Finished(path.parent, content["record"], content["report"])


def all_published(results: Path) -> list[StudyResults]:
    """What is published of every scale but the smoke test's, the longest runs first; scales without a cell left out.

    Args:
        results: folder that holds one per scale.
    """
    scales = sorted((name for name in PAPER_SCALES if name != "smoke"), key=lambda name: -PAPER_SCALES[name].steps)
    found = [published_results(results / name, name) for name in scales]
    return [study for study in found if study.evaluations]


def published_name(record: Mapping[str, Any]) -> str:
    """Name of an evaluation's file without its ending."""
    return str(record["cell"]) + ("" if record["last"] else f"-at-{record['steps']}")


def command_of(record: Mapping[str, Any], scale_name: str) -> str:
    """The command that computes the cell of a record, among others where it belongs to the sweep."""
    program = f"python -m experiments.reproduce_paper --scale {scale_name}"
    fresh = record["seed"] >= FIRST_FRESH_SEED
    if fresh or record["method"] not in METHODS:
        return f"{program} --only {'fresh' if fresh else 'sweep'}"
    return f"{program} --dataset {record['dataset']} --method {record['method']} --seeds {record['seed']}"
