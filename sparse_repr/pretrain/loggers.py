"""Where a run's scalars and pictures go: TensorBoard, or a service that was named. Another is a line in `LOGGERS`."""

from __future__ import annotations

import importlib
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sparse_repr.files import write_json
from sparse_repr.files.json_reader import TEXT, each, read_json

DEFAULT_LOGGER = "tensorboard"
_PROJECT = "sparse-repr"
_RUNS = "logger_runs.json"
_LONGEST = 500


class Logger(Protocol):
    """Takes what a run has to tell; of `torch.utils.tensorboard.SummaryWriter` these are three methods."""

    def add_scalar(self, name: str, value: float, step: int, /) -> Any:
        """A number after `step` steps."""

    def add_image(self, name: str, picture: Tensor, step: int, /) -> Any:
        """A picture (C, H, W) in 0..1, C 1 or 3, after `step` steps."""

    def close(self) -> None:
        """Send what is left."""


def open_logger(name: str, folder: Path, step: int, settings: Mapping[str, Any]) -> Logger:
    """A logger of the run in `folder`, which goes on where the run does.

    What was logged after the last save is logged again where a run is resumed: TensorBoard hides the first of the two,
    W&B keeps it, MLflow and trackio keep both.

    Args:
        name: an entry of `LOGGERS`.
        folder: of the run; its name is that of the run in the service, in a project called sparse-repr.
        step: steps taken so far.
        settings: plain values that the service shows beside the run.

    Raises:
        ImportError: the package of that logger is not installed; the message names the extra.
    """
    return LOGGERS[name](folder, step, settings)


def _tensorboard(folder: Path, step: int, _: Mapping[str, Any]) -> Logger:
    from torch.utils.tensorboard import SummaryWriter

    _wait_for_a_later_name(folder)
    # what was logged after the last save is logged again; the save's own step is not
    writer: Logger = SummaryWriter(str(folder), purge_step=step + 1 if step else 0)
    return writer


def _wait_for_a_later_name(folder: Path) -> None:
    """Wait, less than a second, until a new file of events has a name behind those in `folder`.

    TensorBoard reads a folder's files by name. A name begins with the second and ends with a count that has no leading
    zeros, so that of two files of one second the later may be read first, and what is older then hides what is newer.
    """
    seconds = [path.name.split(".")[3] for path in folder.glob("events.out.tfevents.*")]
    latest = max((int(second) for second in seconds if second.isdecimal()), default=0)
    now = time.time()
    if int(now) == latest:
        time.sleep(latest + 1 - now)


class _Wandb:
    def __init__(self, folder: Path, step: int, settings: Mapping[str, Any]) -> None:
        self._wandb = _imported("wandb")
        self._run = self._wandb.init(
            project=_PROJECT,
            name=folder.name,
            id=_run_of(folder, "wandb", step, lambda: uuid.uuid4().hex),
            resume="allow",
            reinit="create_new",  # several runs may be trained in one process
            dir=str(folder),
            config=dict(settings),
        )

    def add_scalar(self, name: str, value: float, step: int, /) -> None:
        self._run.log({name: float(value)}, step=step)

    def add_image(self, name: str, picture: Tensor, step: int, /) -> None:
        self._run.log({name: self._wandb.Image(_pixels(picture))}, step=step)

    def close(self) -> None:
        self._run.finish()


class _Mlflow:
    def __init__(self, folder: Path, step: int, settings: Mapping[str, Any]) -> None:
        # a client and not mlflow.start_run: that has one run for the whole process
        self._client = _imported("mlflow").MlflowClient()

        def started() -> str:
            found = self._client.get_experiment_by_name(_PROJECT)
            experiment = self._client.create_experiment(_PROJECT) if found is None else found.experiment_id
            run = self._client.create_run(experiment, run_name=folder.name)
            for name, value in settings.items():
                self._client.log_param(run.info.run_id, name, str(value)[:_LONGEST])
            return str(run.info.run_id)

        self._run = _run_of(folder, "mlflow", step, started)

    def add_scalar(self, name: str, value: float, step: int, /) -> None:
        self._client.log_metric(self._run, name, float(value), step=step)

    def add_image(self, name: str, picture: Tensor, step: int, /) -> None:
        self._client.log_image(self._run, _pixels(picture), key=name, step=step)

    def close(self) -> None:
        self._client.set_terminated(self._run)


class _Trackio:
    def __init__(self, folder: Path, step: int, settings: Mapping[str, Any]) -> None:
        self._trackio = _imported("trackio")
        # a run goes on by its name, so this is one that no other folder has
        name = _run_of(folder, "trackio", step, lambda: f"{folder.name}-{uuid.uuid4().hex[:8]}")
        self._run = self._trackio.init(project=_PROJECT, name=name, config=dict(settings), resume="allow", embed=False)

    def add_scalar(self, name: str, value: float, step: int, /) -> None:
        self._run.log({name: float(value)}, step=step)

    def add_image(self, name: str, picture: Tensor, step: int, /) -> None:
        self._run.log({name: self._trackio.Image(_pixels(picture))}, step=step)

    def close(self) -> None:
        self._run.finish()


LOGGERS: dict[str, Callable[[Path, int, Mapping[str, Any]], Logger]] = {
    DEFAULT_LOGGER: _tensorboard,
    "wandb": _Wandb,
    "mlflow": _Mlflow,
    "trackio": _Trackio,
}
"""Name -> (run folder, steps taken, settings) -> logger. Packages are imported where their logger is made."""


_SERVICES = ("wandb", "mlflow", "trackio")


def require_logger(name: str) -> None:
    """Check that the package of a logger is there, before anything is written.

    Raises:
        ImportError: it is not; the extra that installs it is named.
    """
    if name in _SERVICES:
        _imported(name)


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"logger {name!r} (--logger) needs {name}: install sparse-repr[{name}]") from error


def _run_of(folder: Path, service: str, step: int, start: Callable[[], str]) -> str:
    """The name of this run in a service: the one that was noted in the folder, or a new one that is noted now."""
    path = folder / _RUNS
    noted: dict[str, str] = read_json(path, each(TEXT)) if path.is_file() else {}
    if service not in noted or not step:
        noted[service] = start()
        write_json(path, noted)
    return noted[service]


def _pixels(picture: Tensor) -> npt.NDArray[np.uint8]:
    """(C, H, W) in 0..1 -> (H, W, 3) uint8, which every service takes."""
    pixels = picture.detach().float().clamp(0, 1).mul(255).round().byte().cpu()
    return pixels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
