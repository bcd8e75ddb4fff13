"""One page about the study of agents, from what is finished: findings, tables, figures and films."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.agents.clock_pages import clock_table, paired_table, recoding_cost_table
from experiments.agents.doses import doses_table
from experiments.agents.encoder_tables import correlations_table, encoders_table, objects_table
from experiments.agents.figures import AgentFigure, figures_of
from experiments.agents.files import live_study, published_study
from experiments.agents.films import FILMS, OBJECTS, TOGETHER
from experiments.agents.findings import findings
from experiments.agents.gains import gains_table
from experiments.agents.kinds import kinds_table
from experiments.agents.results import AgentStudy
from experiments.agents.scales import AGENT_SCALES
from experiments.agents.tables import agent_tables
from experiments.agents.tasks import TASKS
from experiments.agents.updates import updates_table
from experiments.measure.machine import machine_facts
from experiments.pages.report import embed_figure, embed_picture, write_report
from experiments.pages.tables import Table
from sparse_repr.figures import save_chart
from sparse_repr.files import write_bytes, write_json

REPORT = "report.html"
CAPTIONS = "figures.json"
"""File among the published ones: file, title and caption of every picture."""
_TEMPLATE = "agents.html"


def write_agent_report(out: Path, scale_name: str, command: str) -> Path:
    """Write `report.html`, self-contained, into the folder of a study, from what is finished there.

    It is replaced as a whole, so that several processes may write at once: the last one stands.

    Args:
        out: folder of the study.
        scale_name: key of `AGENT_SCALES`.
        command: what was called, for the page.

    Returns:
        The page.

    Raises:
        ImportError: rliable is not installed.
    """
    study = live_study(out, scale_name)
    write_report(out / REPORT, _TEMPLATE, _values(study, all_figures(study), out, command))
    return out / REPORT


def publish_agent_report(out: Path, folder: Path, scale_name: str) -> list[Path]:
    """Draw the figures of what is published into its folder, copy the films there, and write what all of them show.

    Args:
        out: folder of the study.
        folder: of the scale's published files, after `publish_study`.
        scale_name: key of `AGENT_SCALES`.

    Returns:
        The files.
    """
    listed = []
    for figure in all_figures(published_study(folder, scale_name)):
        listed.append({"file": f"{figure.name}.png", "title": figure.title, "caption": figure.caption})
        save_chart(figure.figure, folder / listed[-1]["file"])
    for film in _films(out):
        write_bytes(folder / FILMS / film.name, film.read_bytes())
    # those of another machine too
    listed += [
        {"file": f"{FILMS}/{film.name}", "title": film.stem, "caption": _caption(film)} for film in _films(folder)
    ]
    write_json(folder / CAPTIONS, listed)
    return [folder / entry["file"] for entry in listed]


def _films(folder: Path) -> list[Path]:
    return [path for kind in ("png", "gif") for path in sorted((folder / FILMS).glob(f"*.{kind}"))]


def _caption(film: Path) -> str:
    if TOGETHER in film.stem:
        return "Several arms play the same first episode: the frame, what the decoder makes of the code, and the code."
    if film.suffix == ".gif":
        return "The frame, what the decoder makes of the code where there is one, and what the agent goes by."
    if film.stem.endswith(OBJECTS):
        return "Frames of the second recording above their reconstructions, and around each sprite four times larger."
    return "The same first episode of every arm, from its start to its end, above what the decoder makes of the codes."


def all_tables(study: AgentStudy) -> list[Table]:
    """Every table of the study that has a row: the arms per algorithm, the encoders, and how they go together.

    Args:
        study: what is finished.
    """
    algorithms = dict.fromkeys(agent.algorithm for agent in study.agents if agent.arm != "random_policy")
    found: list[Table | None] = []
    for algorithm in algorithms or dict.fromkeys(agent.algorithm for agent in study.agents):
        found += [*agent_tables(study, algorithm), gains_table(study, algorithm)]
        found += [
            table(study, task, algorithm)
            for task in TASKS
            for table in (clock_table, paired_table, recoding_cost_table, kinds_table, doses_table, updates_table)
        ]
    for task in TASKS:
        found += [encoders_table(study, task), objects_table(study, task), objects_table(study, task, linear=True)]
        found += [correlations_table(study, task, algorithm) for algorithm in algorithms]
    return [table for table in found if table is not None]


def all_figures(study: AgentStudy) -> list[AgentFigure]:
    """The figures of every algorithm that some agent has learned by."""
    return [figure for algorithm in study.learned_by() for figure in figures_of(study, algorithm)]


def _values(study: AgentStudy, figures: Sequence[AgentFigure], out: Path, command: str) -> dict[str, Any]:
    return {
        "scale": study.scale_name,
        "summary": AGENT_SCALES[study.scale_name].summary,
        "command": command,
        "machine": machine_facts(),
        "agents": len(study.agents),
        "encoders": len(study.encoders),
        "findings": [
            {"algorithm": algorithm.upper(), **vars(finding)}
            for algorithm in study.learned_by()
            for finding in findings(study, algorithm)
        ],
        "tables": all_tables(study),
        "figures": [
            {"title": figure.title, "caption": figure.caption, "picture": embed_figure(figure.figure)}
            for figure in figures
        ],
        "films": [
            {"name": path.stem, "picture": embed_picture(path), "caption": _caption(path)} for path in _films(out)
        ],
    }
