"""The folder of one pretraining run: its configuration, its training state and the checks before any work is done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import torch

from sparse_repr.config import PretrainConfig
from sparse_repr.files import atomic_path, require_space, write_json
from sparse_repr.json_reader import TEXT, Shape, optional, read_json, whole
from sparse_repr.training_state import read_state

# Room for the state, the weights and the event file of one run, with a margin.
_NEEDED_BYTES = 100_000_000
# What may differ between a run and its continuation: none of these changes the numbers (beyond rounding, where one
# process with a graph continues what several began without).
_MAY_CHANGE = frozenset({"steps", "log_every", "picture_every", "save_every", "step_graph"})


# What evaluation needs to know of a run; config.json has it all.
_SETTINGS: Shape = {
    "dataset": TEXT,
    "data_path": optional(TEXT),
    "objective": TEXT,
    "seed": whole(0),
    "steps": whole(1),
    "code_size": whole(1),
}
_REMEDY = "put back the file that the run wrote, or choose another folder with --run-dir"


class RunFolderHeldError(FileExistsError):
    """Another process holds the run folder; it may be free later."""


@contextlib.contextmanager
def locked_run_folder(folder: Path, *, lock_name: str = ".lock") -> Iterator[None]:
    """Hold the run folder for this process; the lock goes with the process, however it ends.

    Args:
        folder: the run folder; created if needed.
        lock_name: file in it that is locked; another one than training's claims the folder for more than training.

    Raises:
        RunFolderHeldError: another process is training in this folder.
        FileExistsError: `folder` is a file.
        OSError: the folder cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"run_dir {folder} is a file; choose another folder with --run-dir")
    created = not folder.exists()
    require_space(folder, _NEEDED_BYTES, "the run folder")
    path = folder / lock_name
    lock = filelock.FileLock(path, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise RunFolderHeldError(
            f"{folder} is being trained in by another process; wait for it, or choose another folder with --run-dir"
        ) from error
    try:
        yield
    finally:
        # unlinked while still held, so that no other process can be holding it; Windows refuses that, and keeps it
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
        if created and not any(folder.iterdir()):
            folder.rmdir()


def open_run_folder(config: PretrainConfig) -> dict[str, Any] | None:
    """Check the folder of a resolved configuration without writing to it; returns the state to resume from.

    Raises:
        FileExistsError: the folder holds a run and `resume` is off.
        FileNotFoundError: `resume` is on and there is nothing to resume.
        ValueError: the run there has other settings; all differences are listed.
    """
    folder = config.run_folder()
    described = folder / "config.json"
    state = None
    if described.is_file():
        _compare(folder, config)
        if not config.resume:
            raise FileExistsError(
                f"{folder} already holds a run with these settings; continue it with --resume, "
                "or choose another folder with --run-dir"
            )
        # killed before the first save: the continuation starts at step 0
        state = read_state(folder / "state.pt") if (folder / "state.pt").is_file() else None
        if state is not None and state["step"] > config.steps:
            raise ValueError(
                f"{folder} already has {state['step']} steps, {config.steps} were asked for; give --steps at least that"
            )
    elif config.resume:
        raise FileNotFoundError(
            f"nothing to resume: {folder} holds no run (no config.json); leave --resume out to start one"
        )
    return state


def write_config(config: PretrainConfig) -> None:
    """Write `config.json`, which marks the folder as this run's: once the data is there and training can start."""
    write_json(config.run_folder() / "config.json", config.to_json())


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of the run in a folder.

    Returns:
        Content of `config.json`: at least dataset, data_path, objective, seed, steps and code_size, of their types.

    Raises:
        FileNotFoundError: the folder holds no run.
        ValueError: `config.json` is damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"no config.json in {folder}: expected a run folder of sparse_repr.pretrain")
    return dict(read_json(path, _SETTINGS, remedy="put back the file that the run wrote"))


def differing_settings(folder: Path, config: PretrainConfig) -> list[str]:
    """What `config.json` of a run folder has otherwise than a resolved configuration, in words, one by one.

    What changes no number, such as the steps, which may be more, is left out.

    Raises:
        ValueError: `config.json` is damaged.
    """
    found = read_json(folder / "config.json", remedy=_REMEDY)
    wanted = config.to_json()
    return [
        f"{name}: {found.get(name)!r} there, {wanted.get(name)!r} asked for"
        for name in sorted(found.keys() | wanted.keys())
        if name not in _MAY_CHANGE and found.get(name) != wanted.get(name)
    ]


def _compare(folder: Path, config: PretrainConfig) -> None:
    different = differing_settings(folder, config)
    if different:
        raise ValueError(
            f"{folder} holds a run with other settings ({'; '.join(different)}); "
            "choose another folder with --run-dir, or give the same settings"
        )


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write `state.pt` atomically; tensors and plain values only."""
    with atomic_path(folder / "state.pt") as temporary:
        torch.save(state, temporary)
