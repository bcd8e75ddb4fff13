"""What a study needs to know of its cells, whatever they are: folders, progress, and how one is computed."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from sparse_repr.pretrain.config import PretrainConfig
from sparse_repr.pretrain.run_folder import RunFolderHeldError, differing_settings, locked_run_folder, open_run_folder


class StudyCell(Protocol):
    """One piece of work of a study: a folder with a name."""

    @property
    def name(self) -> str:
        """What the cell, and its folder, is called."""

    @property
    def folder(self) -> Path:
        """Holds all that is computed of it."""


AnyCell = TypeVar("AnyCell", bound=StudyCell)


@dataclasses.dataclass(frozen=True)
class Procedure(Generic[AnyCell]):
    """How cells of one kind are computed; its functions are those of a module, so that other processes know them."""

    complete: Callable[[Sequence[Any], Callable[[int], None]], None]
    """Compute cells of the same arm, calling back with the number of steps taken since the last call."""
    steps: Callable[[AnyCell], int]
    """Steps of a cell in all."""
    steps_taken: Callable[[AnyCell], int]
    """Steps that are saved; ValueError where the folder holds something else."""
    is_finished: Callable[[AnyCell], bool]
    """Whether all of a cell is there."""
    describe: Callable[[AnyCell], str]
    """One line about a finished cell."""
    arm: Callable[[AnyCell], Hashable]
    """The same for cells that may be computed together."""


def check_cells(cells: Sequence[AnyCell], procedure: Procedure[AnyCell]) -> dict[str, int]:
    """Steps taken by cell name, where every folder is new or holds what the cells say.

    Raises:
        ValueError: some hold something else; all of them are listed.
    """
    answers = {cell.name: _steps_or_problem(cell, procedure) for cell in cells}
    problems = [answer for answer in answers.values() if isinstance(answer, str)]
    if problems:
        raise ValueError("\n".join(problems))
    return {name: answer for name, answer in answers.items() if isinstance(answer, int)}


def _steps_or_problem(cell: AnyCell, procedure: Procedure[AnyCell]) -> int | str:
    if cell.folder.exists() and not cell.folder.is_dir():
        return f"{cell.folder} is a file where a cell's folder should be: remove it, or choose another --out"
    try:
        return procedure.steps_taken(cell)
    except ValueError as error:
        return str(error)


def run_steps(folder: Path, config: PretrainConfig) -> int:
    """Steps that a run has saved in its folder; 0 where none has begun.

    Args:
        folder: of the run.
        config: its settings.

    Raises:
        ValueError: the folder holds a run with other settings or with more steps than are asked for.
    """
    if not run_has_begun(folder):
        return 0
    resolved = config.resolve()
    refuse_other_settings(folder, differing_settings(folder, resolved))
    state = open_run_folder(dataclasses.replace(resolved, resume=True))
    return 0 if state is None else int(state["step"])


def run_has_begun(folder: Path) -> bool:
    """Whether there is a run to go on with in a folder."""
    return (folder / "config.json").is_file()


def refuse_other_settings(folder: Path, different: Sequence[str]) -> None:
    """Refuse to go on in a folder that was computed with other settings.

    Args:
        folder: of a cell.
        different: a few words per setting that differs; none where all are the same.

    Raises:
        ValueError: some differ.
    """
    if different:
        raise ValueError(
            f"{folder} was computed with other settings ({'; '.join(different)}); what is computed is never "
            "overwritten: choose another folder with --out, or give the same settings"
        )


@contextlib.contextmanager
def claimed(cells: Sequence[AnyCell]) -> Iterator[list[AnyCell]]:
    """Hold those cells that no other process holds, on this machine or another one that shares the folder."""
    with contextlib.ExitStack() as stack:
        held = []
        for cell in cells:
            with contextlib.suppress(RunFolderHeldError):
                stack.enter_context(locked_run_folder(cell.folder, lock_name=".claim"))
                held.append(cell)
        yield held
