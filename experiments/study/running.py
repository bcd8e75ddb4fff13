"""Running the cells of a study: one after another or in several processes, beside others that share the folder."""

from __future__ import annotations

import collections
import dataclasses
import functools
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic

from tqdm import tqdm

from experiments.study.procedure import AnyCell, Procedure, check_cells, claimed
from sparse_repr.command_line.interruption import CommandInterrupted, TrainingInterrupted, stop_on_signal
from sparse_repr.pretrain.run_folder import RunFolderHeldError
from sparse_repr.pretrain.together.worker_processes import Workers

POLL_S = 20.0
"""Seconds after which a cell that another process holds is looked at again."""
_IDLE_S = 0.5
_FIRST_S = 60.0


@dataclasses.dataclass(eq=False)
class CellGroup(Generic[AnyCell]):
    """Cells that are computed together."""

    cells: list[AnyCell]
    shown: int
    """Steps of theirs that the bar has counted."""

    @property
    def folder(self) -> Path:
        """Names the group."""
        return self.cells[0].folder


class Agenda(Generic[AnyCell]):
    """What is still to be computed, what others compute, and what went wrong."""

    def __init__(
        self,
        cells: Sequence[AnyCell],
        procedure: Procedure[AnyCell],
        *,
        together: bool = False,
        poll_s: float = POLL_S,
        progress: bool = True,
        on_finished: Callable[[], object] | None = None,
    ) -> None:
        """Check every folder, so that whatever is wrong with one is said before anything is computed.

        Args:
            cells: in the order to start them.
            procedure: how they are computed.
            together: make one group of the seeds of an arm, which a GPU trains in one loop.
            poll_s: seconds after which a cell that another process holds is looked at again.
            progress: show a bar.
            on_finished: called whenever further cells are finished; what it raises is told and goes no further.

        Raises:
            ValueError: a folder holds a run with other settings.
        """
        taken = check_cells(cells, procedure)
        self.procedure = procedure
        groups: dict[Any, list[AnyCell]] = {}
        for cell in cells:
            groups.setdefault(procedure.arm(cell) if together else cell.name, []).append(cell)
        self._waiting = collections.deque(
            CellGroup(group, sum(taken[cell.name] for cell in group)) for group in groups.values()
        )
        self._later: collections.deque[tuple[float, CellGroup[AnyCell]]] = collections.deque()
        self._poll_s = poll_s
        self.failures: dict[str, str] = {}
        """Message by the folder of the group that failed."""
        self.steps = sum(taken.values())
        """Steps of all cells that are known to be taken."""
        self.bar = tqdm(
            total=sum(map(procedure.steps, cells)),
            initial=self.steps,
            unit="step",
            desc=f"{len(cells)} cells",
            disable=not progress,
        )
        self._told = {cell.name for cell in cells if procedure.is_finished(cell)}
        self._quiet = not progress
        self._on_finished = on_finished

    def __bool__(self) -> bool:
        """Whether groups wait, here or for another process."""
        return bool(self._waiting or self._later)

    def next(self) -> CellGroup[AnyCell] | None:
        """A group to compute now; None where all that are left are held by other processes, or none are left."""
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            self._waiting.append(self._later.popleft()[1])
        while self._waiting:
            group = self._waiting.popleft()
            left = [cell for cell in group.cells if not self.procedure.is_finished(cell)]
            if not left:
                self._close(group)
                continue
            with claimed(left) as free:
                pass  # only to see whether there is one: who computes it claims it anew
            if free:
                return group
            self._later.append((now + self._poll_s, group))
        return None

    def took(self, group: CellGroup[AnyCell], steps: int) -> None:
        """Count steps of a group."""
        group.shown += steps
        self.steps += steps
        self.bar.update(steps)

    def ended(self, group: CellGroup[AnyCell], error: BaseException | None = None) -> None:
        """Take note that a group that `next` gave has ended, well or not; cells that others hold are kept for later."""
        if error is not None:
            self.failures[str(group.folder)] = f"{error}"
            self._say(f"{group.folder.name} failed: {error}")
            self._close(group)
        elif all(self.procedure.is_finished(cell) for cell in group.cells):
            self._close(group)
        else:
            self._later.append((time.monotonic() + self._poll_s, group))

    def _close(self, group: CellGroup[AnyCell]) -> None:
        new = [cell for cell in group.cells if self.procedure.is_finished(cell) and cell.name not in self._told]
        for cell in new:
            self._told.add(cell.name)
            self._say(self.procedure.describe(cell))
        if new and self._on_finished is not None:
            try:
                self._on_finished()
            except Exception as error:  # whatever it is, the cells that are still to be computed do not suffer from it
                self._say(f"not reported: {error}")
        # what another process trained, or what will not be trained, counts as done
        self.took(group, sum(map(self.procedure.steps, group.cells)) - group.shown)

    def _say(self, line: str) -> None:
        if not self._quiet:
            self.bar.write(line)


class Throttled:
    """Does something when it is called, first after a minute and never for more than a small share of the time.

    For the report on the way: no worker is started while it is written.
    """

    def __init__(self, work: Callable[[], object], share: float = 0.02) -> None:
        self._work, self._share, self._next = work, share, time.monotonic() + _FIRST_S

    def __call__(self) -> None:
        started = time.monotonic()
        if started >= self._next:
            self._work()
            ended = time.monotonic()
            self._next = ended + (ended - started) / self._share


def run_study(agenda: Agenda[AnyCell], out: Path, *, processes: int = 1) -> None:
    """Compute what is on the agenda.

    A cell that fails leaves the others alone; its message is in `agenda.failures`. Cells that other processes hold are
    waited for, so that everything is there in the end.

    Args:
        agenda: the cells.
        out: folder of the study, for the message of an interruption.
        processes: groups at a time, each in a process of its own; 1 computes in this one.

    Raises:
        TrainingInterrupted: SIGINT or SIGTERM; the states were saved, and the same study goes on from there.
    """
    with agenda.bar:
        if processes == 1:
            _run_here(agenda, out)
        else:
            _run_in_processes(agenda, out, processes)


def _run_here(agenda: Agenda[AnyCell], out: Path) -> None:
    try:
        while agenda:
            group = agenda.next()
            if group is None:
                time.sleep(_IDLE_S)
                continue
            try:
                agenda.procedure.complete(group.cells, functools.partial(agenda.took, group))
            except TrainingInterrupted as stopped:
                raise TrainingInterrupted(out, None, stopped.signal_number) from stopped
            except Exception as error:
                agenda.ended(group, taken_elsewhere(error))
            else:
                agenda.ended(group)
    except KeyboardInterrupt as stopped:  # outside training; an evaluation is begun anew
        number = stopped.signal_number if isinstance(stopped, CommandInterrupted) else signal.SIGINT
        raise TrainingInterrupted(out, None, number) from stopped


def _run_in_processes(agenda: Agenda[AnyCell], out: Path, processes: int) -> None:
    running: dict[Path, CellGroup[AnyCell]] = {}
    stopping = False
    with stop_on_signal() as signals, Workers() as workers:
        while workers or (agenda and not stopping):
            while len(workers) < processes and not stopping:
                group = agenda.next()
                if group is None:
                    break
                running[group.folder] = group
                workers.start(group.folder, functools.partial(agenda.procedure.complete, group.cells))
            if not workers:
                time.sleep(_IDLE_S)
            for folder, message in workers.messages():
                if isinstance(message, int):
                    agenda.took(running[folder], message)
                    continue
                group = running.pop(folder)
                if not stopping:
                    agenda.ended(group, taken_elsewhere(message))
            if signals and not stopping:
                stopping = True
                workers.terminate()
    if stopping:
        raise TrainingInterrupted(out, None, signals[0])


def taken_elsewhere(error: Exception | None) -> Exception | None:
    """The error, or None where it says that another process trains in that folder: the cell is then waited for."""
    return None if isinstance(error, RunFolderHeldError) else error
