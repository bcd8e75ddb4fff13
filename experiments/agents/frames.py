"""The recordings of the study of agents: what a random policy sees of each task, and what first agents see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import filelock

from experiments.agents.cells import AgentCell, AgentFrames, recording_of
from experiments.agents.scales import TEST_FRAMES, TRAIN_FRAMES, AgentScale
from experiments.agents.tasks import TASKS, Task
from experiments.agents.training import RECORD, agent_is_finished, load_trained, make_environments
from experiments.measure.side_by_side import family_clock
from rl import save_agent
from rl.record import RecordConfig, record
from rl.recording import OtherSettingsError, partial_path
from sparse_repr.data import load_dataset
from sparse_repr.files import write_json
from sparse_repr.files.json_reader import number, read_json

RANDOM_SHARE = 0.5
"""Of the environments of a second round, whose actions are random as in the first one."""
# behind the name of a recording: how long it took
_SECONDS = ".seconds.json"
# recordings of a task have seeds of their own
_SEEDS = {TRAIN_FRAMES: 0, TEST_FRAMES: 1_000_000}
_SECOND_SEED = 2_000_000
_SAVED = "agent-with-encoder.zip"


def record_frames(scale: AgentScale, tasks: Sequence[str], out: Path, *, progress: bool = True) -> None:
    """Record what a random policy sees in the source domain of each task, where that has not been done.

    Args:
        scale: entry of `AGENT_SCALES`.
        tasks: keys of `TASKS`.
        out: folder of the study; several processes may call this at once, one records.
        progress: show bars.

    Raises:
        OSError: the folder cannot be written or has no room.
        ValueError: a finished recording there holds another number of frames, or one that was begun has other settings.
    """
    for task in tasks:
        for part, frames in scale.frames.items():
            path = recording_of(out, task, part)
            options = {"frames": frames, "every": scale.spacing[part], "seed": _SEEDS[part], "progress": progress}
            _record_once(path, TASKS[task], options)


def record_agent_frames(made_by: AgentFrames, path: Path) -> None:
    """Record what a finished agent sees, and a random policy beside it, where that has not been done.

    Args:
        made_by: the agent, and how many frames.
        path: file to write; several processes may call this at once, one records.

    Raises:
        FileNotFoundError: the agent is not finished.
        OSError: the folder cannot be written or has no room.
        ValueError: a finished recording there holds another number of frames, or one that was begun has other settings.
    """
    options = {
        "frames": made_by.frames,
        "every": made_by.every,
        "seed": _SECOND_SEED + made_by.agent.seed,
        "random_share": RANDOM_SHARE,
        "progress": False,
    }
    _record_once(path, made_by.agent.task, options, made_by.agent)


def seconds_of_recording(path: Path) -> float | None:
    """None where it was not measured: it was recorded in parts, or before there was this file."""
    kept = path.with_suffix(_SECONDS)
    return float(read_json(kept, {"seconds": number(0)})["seconds"]) if kept.is_file() else None


def _record_once(path: Path, task: Task, options: dict[str, Any], agent: AgentCell | None = None) -> None:
    """Record by a random policy or by an agent, with these settings of `RecordConfig`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{path}.lock"):
        if path.is_file():
            found = len(load_dataset("h5", path))
            if found != options["frames"]:
                raise ValueError(f"{path} holds {found} frames, expected {options['frames']}: choose another --out")
            if agent is None:
                return
            if not (agent.folder / _SAVED).is_file():
                # nothing to compare with: written anew it has other bytes, though the agent is the same
                learned = agent.folder / RECORD
                if learned.is_file() and learned.stat().st_mtime > path.stat().st_mtime:
                    raise ValueError(_of_another(path, agent, "that agent is younger than the recording"))
                return
            # goes on below, where it is compared with this very agent, and nothing is recorded
        there, clock = path.is_file(), family_clock(None)
        started, whole_recording = clock(), not partial_path(path).exists()
        config = RecordConfig(
            f"envs:{task.environment}",
            str(path),
            env_kwargs=json.dumps(task.arguments("source")),
            policy=None if agent is None else str(_saved_with_encoder(agent)),
            resume=True,
            **options,
        )
        try:
            record(config)
        except OtherSettingsError as error:
            if not there or agent is None:
                raise
            raise ValueError(_of_another(path, agent, str(error))) from error
        if whole_recording and not there:
            write_json(path.with_suffix(_SECONDS), {"seconds": round(clock() - started, 2)})


def _of_another(path: Path, agent: AgentCell, why: str) -> str:
    return (
        f"{path} does not hold what the agent in {agent.folder} sees ({why}): remove it, the second encoder that "
        "learned from it and that one's agents, and run the same command again"
    )


def _saved_with_encoder(cell: AgentCell) -> Path:
    """The file of `save_agent` of a finished agent on codes, which is written where it is not there yet."""
    path = cell.folder / _SAVED
    if path.is_file():
        return path
    if not agent_is_finished(cell):
        raise FileNotFoundError(
            f"no finished agent in {cell.folder}, whose frames an encoder is to learn from: train it first, "
            f"--arm {cell.arm_name} --algorithm {cell.algorithm_name}"
        )
    venv = make_environments(cell, "source", cell.algorithm.environments, 0)
    try:
        agent = load_trained(cell)
        agent.set_env(venv)
        return save_agent(path, agent)
    finally:
        venv.close()
