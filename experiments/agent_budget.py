"""What a study of agents will take: every kind of cell is run for a moment, and its time scaled up."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import agent_encoders, agent_training
from experiments.agent_cells import AgentCell, AgentScale, EncoderCell, encoder_cells, recording_of
from experiments.committed import markdown_table
from experiments.measuring import machine_facts

_ROLLOUTS = 2
_SAC_STEPS = 400
_FRAMES = 400
_ENCODER_STEPS = 20
_EPISODES = 20


def measure_budget(scale: AgentScale, agents: Sequence[AgentCell], processes: int) -> dict[str, Any]:
    """Run one cell of every kind for a moment.

    What an agent costs does not depend on what its encoder has learned, so that these are all but untrained.

    Args:
        scale: entry of `SCALES`.
        agents: the cells to be computed.
        processes: how many will run at a time; one alone is timed, so that the estimate is low where they share memory.

    Returns:
        "rows", "hours" of one process in all, "hours_with_processes" and "machine".
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        brief = dataclasses.replace(scale, frames=dict.fromkeys(scale.frames, _FRAMES), metrics="mig_histogram")
        agent_encoders.record_frames(brief, list(dict.fromkeys(cell.task_name for cell in agents)), out, progress=False)
        rows = _encoder_rows(scale, agents, out) + _agent_rows(agents, out)
    seconds = sum(row["cells"] * row["seconds"] for row in rows)
    return {
        "rows": rows,
        "hours": seconds / 3600,
        "processes": processes,
        "hours_with_processes": seconds / 3600 / processes,
        "machine": machine_facts(),
    }


def _encoder_rows(scale: AgentScale, agents: Sequence[AgentCell], out: Path) -> list[dict[str, Any]]:
    cells = encoder_cells(scale, agents, out)
    counts = Counter((cell.task_name, cell.encoder) for cell in cells)
    rows = []
    for (task, encoder), count in counts.items():
        first = next(cell for cell in cells if (cell.task_name, cell.encoder) == (task, encoder))
        seconds = _seconds_of_encoder(first, out)
        rows.append({"cell": f"encoder {encoder}, {task}", "cells": count, "seconds": seconds})
    return rows


def _seconds_of_encoder(cell: EncoderCell, out: Path) -> float:
    """Training to its last step, and scoring, which takes its time whatever the number of steps."""
    brief = dataclasses.replace(cell, folder=out / "encoders" / cell.name)
    frames = {part: recording_of(out, cell.task_name, part) for part in cell.frames}
    training = cell.training
    if training is not None:
        training = dataclasses.replace(
            training,
            steps=_ENCODER_STEPS,
            run_dir=str(brief.folder),
            data_path=str(frames[agent_encoders.TRAIN_FRAMES]),
        )
    brief = dataclasses.replace(brief, training=training, frames=frames, metrics="mig_histogram", image_items=64)
    agent_encoders.complete_encoders([brief], lambda _: None)
    seconds = json.loads((brief.folder / agent_encoders.RECORD).read_text())["seconds"]
    return float(seconds["training"] * max(cell.steps, 1) / max(brief.steps, 1) + seconds["evaluation"])


def _agent_rows(agents: Sequence[AgentCell], out: Path) -> list[dict[str, Any]]:
    kinds = [(cell.task_name, cell.arm_name, cell.algorithm_name) for cell in agents]
    rows = []
    for kind, count in Counter(kinds).items():
        cell = agents[kinds.index(kind)]
        algorithm = cell.algorithm
        if cell.algorithm_name == "ppo":
            steps = _ROLLOUTS * algorithm.environments * algorithm.settings["n_steps"]
            settings = dict(algorithm.settings)
        else:
            steps, settings = _SAC_STEPS, {**algorithm.settings, "learning_starts": 50}
        encoder = None if cell.encoder_folder is None else out / "encoders" / cell.encoder_folder.name
        brief = dataclasses.replace(
            cell,
            folder=out / "agents" / cell.name,
            algorithm=dataclasses.replace(algorithm, steps=steps, settings=settings),
            encoder_folder=encoder,
            episodes=_EPISODES,
        )
        agent_training.complete_agents([brief], lambda _: None)
        seconds = json.loads((brief.folder / agent_training.RECORD).read_text())["seconds"]
        total = seconds["training"] * cell.steps / steps + seconds["evaluation"] * cell.episodes / _EPISODES
        rows.append({"cell": f"{kind[2]} {cell.arm.title}, {kind[0]}", "cells": count, "seconds": total})
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
