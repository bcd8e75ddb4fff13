"""A pretrained run scored for a table: one call to evaluate, one to read what a table shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.measure.kinds import KIND_TITLES
from experiments.pages.committed import markdown_table
from experiments.pages.tables import spread
from sparse_repr.evaluate.report import read_report
from sparse_repr.evaluate.run import EvaluateConfig, evaluate_run

MEASURED_ON: dict[str, Any] = {"device": "cpu", "threads": 1, "progress": False}
"""Settings of pretraining and scoring alike."""


def score(run: Path, *, metrics: str, items: int) -> None:
    """Score codes and pictures of a run on one thread, into its `metrics.json`.

    Args:
        run: folder of the run.
        metrics: disentanglement scores, separated by commas.
        items: images that codes and pictures are scored on.
    """
    sizes: dict[str, Any] = {"sample": items, "image_items": items, "lpips_items": 0}
    evaluate_run(EvaluateConfig(run=str(run), metrics=metrics, **sizes, **MEASURED_ON))


def scores_of(run: Path, names: Iterable[str], *, steps: int, items: int) -> dict[str, Any]:
    """Scores of a run that `score` scored, by their names in the report.

    Args:
        run: folder of the run.
        names: of the scores.
        steps: that it needs to have.
        items: that it needs to be scored on.

    Raises:
        ValueError: it has other steps, or was scored on other items.
    """
    report = read_report(run)
    scored = report["images"]["protocol"]
    if report["trained_steps"] != steps or f" {items})" not in scored:
        raise ValueError(
            f"{run} has {report['trained_steps']:,} steps, scored on {scored}; asked for were {steps:,} steps and "
            f"{items:,} items: take another folder, or delete that one"
        )
    (pictures,) = (part["model"] for part_name, part in report["images"].items() if part_name != "protocol")
    known = {**report["codes"], **report["disentanglement"], **pictures}
    return {name: known[name] for name in names}


def machines_before(earlier: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The machines that earlier results were computed on, each once."""
    found: list[Mapping[str, Any]] = []
    for machine in (earlier["machine"], *earlier.get("other_machines", [])):
        if machine not in found:
            found.append(machine)
    return found


def with_earlier_codes(found: Mapping[str, Any], earlier: Mapping[str, Any] | None) -> dict[str, Any]:
    """``codes``: what is finished of each, or what an earlier call had where that has more seeds; ``other_machines``.

    Args:
        found: code -> scores by seed, empty where none is finished.
        earlier: what an earlier call returned, with its machine.
    """
    known = earlier["codes"] if earlier else {}
    # all of one call, since seeds that two machines trained are not told apart
    kept = [name for name, scores in found.items() if len(known.get(name, {})) > len(scores)]
    every = {name: known[name] if name in kept else scores for name, scores in found.items() if scores or name in kept}
    return {"codes": every, "other_machines": machines_before(earlier) if earlier and kept else []}


def require_of(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Check names of codes or data sets.

    Raises:
        ValueError: one is none of those that are known; `what` is named.
    """
    allowed = list(known)
    if unknown := [name for name in given if name not in allowed]:
        raise ValueError(f"{what} need to be of {', '.join(allowed)}, got {', '.join(unknown)}")


def codes_table(codes: Mapping[str, Mapping[str, Mapping[str, Any]]], columns: Mapping[str, tuple[str, int]]) -> str:
    """Code -> seed -> scores as a table in Markdown, a row for each code.

    Args:
        codes: keys of `KIND_TITLES`; another one is the VAE.
        columns: score -> its column, and the digits that it is written with.
    """
    rows = [
        (
            KIND_TITLES.get(name, "VAE"),
            *(
                spread([scores[key] for scores in scored.values() if scores[key] is not None], digits)
                for key, (_, digits) in columns.items()
            ),
        )
        for name, scored in codes.items()
    ]
    return markdown_table(("code", *(title for title, _ in columns.values())), rows)


def seeds_in_words(codes: Mapping[str, Mapping[str, Any]]) -> str:
    """The seeds that any of the codes has, rising."""
    return ", ".join(sorted({seed for scored in codes.values() for seed in scored}, key=int))
