"""What a study of agents will take: steps of every kind of cell are timed, and scaled up."""

from __future__ import annotations

import dataclasses
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.agents import encoders as agent_encoders
from experiments.agents import training as agent_training
from experiments.agents.arms import UNTRAINED
from experiments.agents.cells import AgentCell, EncoderCell, encoder_cell, recording_of
from experiments.agents.frames import record_agent_frames, record_frames, seconds_of_recording
from experiments.agents.rounds import rounds_of
from experiments.agents.scales import TRAIN_FRAMES, AgentScale
from experiments.measure.machine import machine_facts
from experiments.measure.step_costs import prepared_trainer, time_steps
from experiments.pages.committed import markdown_table
from sparse_repr.data import load_dataset
from sparse_repr.devices import cpu_threads
from sparse_repr.files.json_reader import read_json

_ROLLOUTS = 2
_OFF_POLICY_STEPS = 400
_EPISODES = 20
_FRAMES = 400


def measure_budget(scale: AgentScale, agents: Sequence[AgentCell], processes: int) -> dict[str, Any]:
    """Time steps of every kind of training, one scoring of codes per task, and agents of every kind for a moment.

    What an agent costs does not depend on what its encoder has learned, so that all have the untrained one.

    Args:
        scale: entry of `AGENT_SCALES`.
        agents: the cells to be computed; those that must record for them first are added.
        processes: how many will run at a time; one alone is timed, so that the estimate is low where they share memory.

    Returns:
        "rows", "hours" of one process in all, "hours_with_processes" and "machine".
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        tasks = list(dict.fromkeys(cell.task_name for cell in agents))
        record_frames(scale, tasks, out, progress=False)
        scorings = {task: _seconds_of_scoring(encoder_cell(scale, task, UNTRAINED, 0, out)) for task in tasks}
        rounds = rounds_of(scale, agents, out)
        encoders = [cell for one in rounds for cell in one.encoders]
        rows = _encoder_rows(encoders, out, scorings)
        rows += _agent_rows(scale, [cell for one in rounds for cell in one.agents], out)
        rows += _recording_rows(scale, encoders, out)
    seconds = sum(row["cells"] * row["seconds"] for row in rows)
    return {
        "rows": rows,
        "hours": seconds / 3600,
        "processes": processes,
        "hours_with_processes": seconds / 3600 / processes,
        "machine": machine_facts(),
    }


def _seconds_of_scoring(cell: EncoderCell) -> float:
    """Of an untrained encoder's codes; a trained one also has reconstructions, which take little beside it."""
    agent_encoders.complete_encoders([cell], lambda _: None)
    return float(read_json(cell.folder / agent_encoders.RECORD)["seconds"]["evaluation"])


def _encoder_rows(cells: Sequence[EncoderCell], out: Path, scorings: dict[str, float]) -> list[dict[str, Any]]:
    kinds = {(cell.task_name, cell.encoder): cell for cell in reversed(cells)}
    runs = {kind: cell.training for kind, cell in kinds.items() if cell.training is not None}
    # a second round has as many frames of the same size
    data = {task: load_dataset("h5", recording_of(out, task, TRAIN_FRAMES)) for task, _ in runs}
    with cpu_threads(cells[0].threads if cells else None):
        steps = time_steps({kind: prepared_trainer(run, data[kind[0]]) for kind, run in runs.items()})
    rows = []
    for (task, encoder), count in Counter((cell.task_name, cell.encoder) for cell in cells).items():
        seconds = scorings[task]
        if (task, encoder) in steps:
            seconds += runs[task, encoder].steps * steps[task, encoder]["median"]
        rows.append({"cell": f"encoder {encoder}, {task}", "cells": count, "seconds": seconds})
    return rows


def _agent_rows(scale: AgentScale, agents: Sequence[AgentCell], out: Path) -> list[dict[str, Any]]:
    kinds = [(cell.task_name, cell.arm_name, cell.algorithm_name) for cell in agents]
    rows = []
    for kind, count in Counter(kinds).items():
        cell = agents[kinds.index(kind)]
        brief = _brief(scale, cell, out)
        agent_training.complete_agents([brief], lambda _: None)
        seconds = read_json(brief.folder / agent_training.RECORD)["seconds"]
        steps = brief.algorithm.steps
        total = seconds["training"] * cell.steps / steps + seconds["evaluation"] * cell.episodes / _EPISODES
        rows.append({"cell": f"{kind[2]} {cell.arm.title}, {kind[0]}", "cells": count, "seconds": total})
    return rows


def _brief(scale: AgentScale, cell: AgentCell, out: Path) -> AgentCell:
    """The same cell for a moment, on the untrained encoder."""
    algorithm = cell.algorithm
    if cell.algorithm_name == "ppo":
        steps = _ROLLOUTS * algorithm.environments * algorithm.settings["n_steps"]
        settings = dict(algorithm.settings)
    else:
        steps, settings = _OFF_POLICY_STEPS, {**algorithm.settings, "learning_starts": 50}
    encoder = None
    if cell.encoder_folder is not None:
        encoder = encoder_cell(scale, cell.task_name, UNTRAINED, 0, out).folder
    return dataclasses.replace(
        cell,
        folder=out / "agents" / cell.name,
        algorithm=dataclasses.replace(algorithm, steps=steps, settings=settings),
        encoder_folder=encoder,
        episodes=_EPISODES,
    )


def _recording_rows(scale: AgentScale, cells: Sequence[EncoderCell], out: Path) -> list[dict[str, Any]]:
    """What agents record for a second round; random policies record once for all, which is little beside it."""
    kinds = Counter((cell.task_name, cell.encoder) for cell in cells if cell.recorded is not None)
    rows = []
    for (task, encoder), count in kinds.items():
        recorded = next(cell.recorded for cell in cells if (cell.task_name, cell.encoder) == (task, encoder))
        assert recorded is not None  # kinds are of those alone
        brief = dataclasses.replace(
            recorded, agent=_brief(scale, recorded.agent, out), frames=min(_FRAMES, recorded.frames)
        )
        agent_training.complete_agents([brief.agent], lambda _: None)
        path = recording_of(out, f"{task}-{encoder}", "brief")
        record_agent_frames(brief, path)
        seconds = (seconds_of_recording(path) or 0.0) * recorded.frames / brief.frames
        rows.append({"cell": f"frames of {encoder}, {task}", "cells": count, "seconds": seconds})
    return rows


def budget_as_markdown(budget: dict[str, Any]) -> str:
    """The budget as a table."""
    rows = [
        [row["cell"], str(row["cells"]), f"{row['seconds']:.0f}", f"{row['cells'] * row['seconds'] / 60:.0f}"]
        for row in budget["rows"]
    ]
    machine = budget["machine"]
    return (
        f"{markdown_table(('cell', 'cells', 'seconds each', 'minutes in all'), rows)}\n\n"
        f"Estimated from a few steps of every kind: {budget['hours']:.1f} hours of one process, "
        f"{budget['hours_with_processes']:.1f} with {budget['processes']}. `{budget['command']}`; "
        f"{machine['processor']}, torch {machine['torch']}, {machine['date']}, git {machine['git_revision']}.\n"
    )
