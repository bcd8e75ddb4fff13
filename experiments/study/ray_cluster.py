"""Running the cells of a study on a Ray cluster (extra `distributed`).

Every machine needs this package at the same revision and the folder of the study under the same path (a network file
system that knows locks), because a cell is claimed by a lock in its folder and goes on from the state saved there: a
cell whose worker is killed is started again by Ray, on any machine, and continues from its last save. Data sets from
files are found by each machine's own SPARSE_REPR_DATA. Plain processes on one machine need none of this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.study.procedure import AnyCell
from experiments.study.running import Agenda, CellGroup, taken_elsewhere
from sparse_repr.command_line.interruption import TrainingInterrupted, stop_on_signal

RETRIES = 5
"""Times that a cell whose worker was killed is started again; one that always takes too much memory ends so."""
_SIGNALS_EVERY_S = 0.5
_STOPPING_S = 120.0


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            "--ray needs Ray, which is not installed: pip install 'sparse-repr[distributed]'; without --ray the study "
            "runs in plain processes"
        ) from error
    return ray


def _complete(complete: Callable[..., None], cells: Sequence[AnyCell]) -> None:
    """What a worker does."""
    complete(cells, lambda _: None)


def run_study_on_ray(
    agenda: Agenda[AnyCell], out: Path, address: str, *, processes: int, threads: int, gpus: float
) -> None:
    """Compute what is on the agenda by tasks of a Ray cluster; what fails is in `agenda.failures`.

    Args:
        agenda: the cells; their folders are absolute paths.
        out: folder of the study, for the message of an interruption.
        address: of the cluster, such as ``"auto"`` or ``"ray://HOST:10001"``; ``"local"`` starts one here.
        processes: groups at a time in a cluster that is started here.
        threads: CPU cores of a group.
        gpus: GPUs of a group; a fraction lets several share one.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: there is no cluster at `address`.
        TrainingInterrupted: SIGINT or SIGTERM; the states were saved.
    """
    ray = _import_ray()
    local = {"num_cpus": processes * threads} if address == "local" else {}
    ray.init(address=address, include_dashboard=False, log_to_driver=False, **local)
    try:
        with agenda.bar:
            _run(ray, agenda, out, threads, gpus)
    finally:
        ray.shutdown()


def _run(ray: Any, agenda: Agenda[AnyCell], out: Path, threads: int, gpus: float) -> None:
    complete = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=RETRIES)(_complete)
    running: dict[Any, CellGroup[AnyCell]] = {}
    with stop_on_signal() as signals:
        while (agenda or running) and not signals:
            while (group := agenda.next()) is not None:
                running[complete.remote(agenda.procedure.complete, group.cells)] = group
            ready, _ = ray.wait(list(running), timeout=_SIGNALS_EVERY_S) if running else ([], [])
            for reference in ready:
                agenda.ended(running.pop(reference), taken_elsewhere(_outcome(ray, reference)))
        if signals:
            for reference in running:
                # training takes the interrupt as Ctrl-C and saves; what has not begun is taken off the queue
                ray.cancel(reference, force=False, recursive=False)
            if running:
                ray.wait(list(running), num_returns=len(running), timeout=_STOPPING_S)
            raise TrainingInterrupted(out, None, signals[0])


def _outcome(ray: Any, reference: Any) -> Exception | None:
    """What a task raised, as the worker raised it where Ray knows; None where it ended well."""
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        return cause if isinstance(cause, Exception) else error
    except ray.exceptions.RayError as error:
        failure: Exception = error
        return failure
    return None
