"""Computing cells: train to each stop, evaluate there, and leave a record by which a finished one is known."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.measure.machine import machine_facts
from experiments.paper.cells import METHODS, Cell, Stop
from experiments.study.procedure import Procedure, claimed, run_has_begun, run_steps
from sparse_repr.devices import cpu_threads
from sparse_repr.evaluate.report import read_report
from sparse_repr.evaluate.run import EvaluateConfig, evaluate_run
from sparse_repr.files import write_bytes, write_json
from sparse_repr.files.json_reader import FLAG, OBJECT, TEXT, Shape, read_json, whole
from sparse_repr.pretrain.config import PretrainConfig
from sparse_repr.pretrain.term_sums import NonFiniteLossError
from sparse_repr.pretrain.together.ensemble import pretrain_encoders
from sparse_repr.pretrain.trainer import pretrain_encoder

RECORD = "cell.json"
_REMEDY = "remove it and run the study again"
"""File of a stop's folder that is written last: settings, seconds and machine of a finished evaluation."""
# what a folder needs to be evaluated; copied for a stop that the run goes on from
_ARTEFACTS = ("config.json", "encoder.safetensors", "vae.safetensors")


def stop_is_finished(cell: Cell, stop: Stop) -> bool:
    """Whether the evaluation of a cell at `stop` is there, done as it would be now."""
    path = cell.stop_folder(stop) / RECORD
    if not path.is_file():
        return False
    record = read_json(path, RECORD_SHAPE, remedy=_REMEDY)
    try:
        return Stop(**record["evaluation"]) == stop
    except TypeError as error:
        raise ValueError(f"{path} is damaged: evaluation has other entries ({error}); {_REMEDY}") from error


def is_finished(cell: Cell) -> bool:
    """Whether all of a cell is there."""
    return all(stop_is_finished(cell, stop) for stop in cell.stops)


def steps_taken(cell: Cell) -> int:
    """Steps that the cell's run has saved.

    Raises:
        ValueError: the folder holds a run with other settings or with more steps than the cell has.
    """
    return run_steps(cell.folder, cell.training)


def complete_cells(cells: Sequence[Cell], on_steps: Callable[[int], None]) -> None:
    """Train and evaluate cells that differ in nothing but the seed, where they are neither finished nor claimed.

    Several train together, as `pretrain_encoders` chooses. What is there is kept: a run goes on from its last save.

    Args:
        cells: with the same stops.
        on_steps: called with the number of steps taken since its last call.

    Raises:
        NonFiniteLossError: the loss of one or several became NaN or infinite; the others are finished.
        TrainingInterrupted: SIGINT or SIGTERM; the states were saved.
        ValueError, OSError: the settings, the data or a folder cannot be used.
    """
    failures: list[NonFiniteLossError] = []
    with claimed([cell for cell in cells if not is_finished(cell)]) as held:
        # looked at again: another process may have finished one before it was claimed
        left = [cell for cell in held if not is_finished(cell)]
        for stop in cells[0].stops:
            waiting = [cell for cell in left if not stop_is_finished(cell, stop)]
            if not waiting:
                continue
            seconds, failure = _train(waiting, stop, on_steps)
            if failure is not None:
                failures.append(failure)
                failed = [cell for cell in waiting if steps_taken(cell) < stop.steps]
                left = [cell for cell in left if cell not in failed]
            for cell in waiting:
                if cell in left:
                    _evaluate(cell, stop, seconds)
    if failures:
        raise NonFiniteLossError("; ".join(map(str, failures)))


def _train(
    cells: Sequence[Cell], stop: Stop, on_steps: Callable[[int], None]
) -> tuple[dict[str, Any], NonFiniteLossError | None]:
    """Take the runs to `stop`; what that cost, and the error of those whose loss was not finite."""
    # an early stop whose encoder was put aside needs no training, whatever the run has done since
    behind = [cell for cell in cells if not _has_artefacts(cell, stop)]
    before = [steps_taken(cell) for cell in behind]
    configs = [_config(cell, stop) for cell in behind]
    failure = None
    started = time.perf_counter()
    try:
        if len(configs) == 1:
            pretrain_encoder(configs[0], on_steps=on_steps)
        elif configs:
            pretrain_encoders(configs, on_steps=on_steps)
    except NonFiniteLossError as error:
        failure = error
    seconds = {
        "training": round(time.perf_counter() - started, 2),
        "from_step": min(before, default=stop.steps),
        "trained_together": len(behind),
    }
    return seconds, failure


def _config(cell: Cell, stop: Stop) -> PretrainConfig:
    return dataclasses.replace(cell.training, steps=stop.steps, resume=run_has_begun(cell.folder))


def _has_artefacts(cell: Cell, stop: Stop) -> bool:
    """Whether an early stop's own copies are there; the last one are the run's files, which training makes sure of."""
    return stop != cell.stops[-1] and all((cell.stop_folder(stop) / name).is_file() for name in _ARTEFACTS)


def _evaluate(cell: Cell, stop: Stop, seconds: dict[str, Any]) -> None:
    folder = cell.stop_folder(stop)
    if folder != cell.folder and not _has_artefacts(cell, stop):
        for name in _ARTEFACTS:
            write_bytes(folder / name, (cell.folder / name).read_bytes())
    threads = cell.training.threads
    started = time.perf_counter()
    with cpu_threads(threads):
        evaluate_run(
            EvaluateConfig(
                run=str(folder),
                metrics=stop.metrics,
                sample=stop.sample,
                image_items=stop.image_items,
                lpips_items=stop.lpips_items,
                device=cell.training.device,
                threads=threads,
                progress=False,
            )
        )
        seconds = {**seconds, "evaluation": round(time.perf_counter() - started, 2)}
        record = {
            "cell": cell.name,
            "dataset": cell.dataset,
            "method": cell.method,
            "seed": cell.seed,
            "steps": stop.steps,
            "last": stop == cell.stops[-1],
            "training": {**cell.training.resolve().to_json(), "steps": stop.steps},
            "evaluation": dataclasses.asdict(stop),
            "seconds": seconds,
            "machine": machine_facts(),
        }
    write_json(folder / RECORD, record)


def describe(cell: Cell) -> str:
    """One line about a finished cell."""
    report = read_report(cell.folder)
    part, candidates = next((name, value) for name, value in report["images"].items() if name != "protocol")
    quality = candidates["model"]
    words = [
        f"PSNR {quality['psnr_db']:.2f} dB" if quality["psnr_db"] is not None else "PSNR infinite",
        f"SSIM {quality['ssim']:.3f} ({part.replace('_', ' ')})",
    ]
    words += [
        f"{name.upper()} {report['disentanglement'][name]:.3f}"
        for name in ("mig", "aam")
        if name in report.get("disentanglement", {})
    ]
    return f"{cell.name}: {', '.join(words)}"


PAPER_CELLS = Procedure(
    complete=complete_cells,
    steps=lambda cell: cell.training.steps,
    steps_taken=steps_taken,
    is_finished=is_finished,
    describe=describe,
    arm=lambda cell: (cell.dataset, cell.method),
)
"""How the cells of `experiments.paper.cells` are computed."""


RECORD_SHAPE: Shape = {
    "cell": TEXT,
    "dataset": TEXT,
    "method": TEXT,
    "seed": whole(0),
    "steps": whole(1),
    "last": FLAG,
    "training": OBJECT,
    "evaluation": OBJECT,
    "seconds": OBJECT,
    "machine": OBJECT,
}
"""What a finished evaluation's `cell.json` holds at least."""


@dataclasses.dataclass(frozen=True)
class Finished:
    """What a finished evaluation of a cell left."""

    folder: Path
    """Holds encoder.safetensors and vae.safetensors, as `load_encoder` and `load_vae` read them, and figures/."""
    record: dict[str, Any]
    """Content of cell.json: cell, dataset, method, seed, steps, training settings, evaluation, seconds, machine."""
    report: dict[str, Any]
    """Content of metrics.json, see `sparse_repr.evaluate`."""


def finished_cells(out: Path) -> list[Finished]:
    """Every finished evaluation in the folder of a study: at the ends of the runs and at their early stops.

    Needs neither the scale nor the data, so that any machine can read what others computed.

    Args:
        out: folder of the study.

    Returns:
        By data set, method (in the order of `METHODS`, then the sweep's), seed and steps.
    """
    found = []
    for path in [*out.glob(f"*/{RECORD}"), *out.glob(f"*/at-*/{RECORD}")]:
        with contextlib.suppress(FileNotFoundError):  # another process may be at work on it
            found.append(Finished(path.parent, read_json(path, RECORD_SHAPE, remedy=_REMEDY), read_report(path.parent)))
    return in_order(found)


def in_order(evaluations: Sequence[Finished]) -> list[Finished]:
    """Evaluations by data set, method (in the order of `METHODS`, then the sweep's), seed and steps."""
    order = list(METHODS)

    def place(entry: Finished) -> tuple[Any, ...]:
        record = entry.record
        method = record["method"]
        known = order.index(method) if method in order else len(order)
        return record["dataset"], known, method, record["seed"], record["steps"]

    return sorted(evaluations, key=place)
