"""Where scalars and pictures go: TensorBoard by default, else what was named; services are stood in for."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sqlite3
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from tensorboard.summary.writer import event_file_writer  # type: ignore[import-untyped]

from sparse_repr import PretrainConfig, pretrain_encoder
from sparse_repr.pretrain.__main__ import main
from sparse_repr.pretrain.loggers import LOGGERS, open_logger
from tests.conftest import rectangles_config

Told = list[tuple[str, Any, int]]


class _Recorded:
    """A logger that keeps what it is told."""

    def __init__(self, folder: Path, step: int, settings: Any) -> None:
        self.told: Told = []
        self.opened, self.closed = (folder.name, step, dict(settings)), False

    def add_scalar(self, name: str, value: float, step: int, /) -> None:
        self.told.append((name, value, step))

    def add_image(self, name: str, picture: torch.Tensor, step: int, /) -> None:
        self.told.append((name, picture, step))

    def close(self) -> None:
        self.closed = True


def test_a_logger_of_ones_own_is_told_what_tensorboard_is(
    rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[_Recorded] = []
    monkeypatch.setitem(LOGGERS, "recorded", lambda *given: made.append(_Recorded(*given)) or made[-1])
    config = rectangles_config(rectangles, tmp_path / "run", log_every=1, picture_every=2, logger="recorded")
    run = pretrain_encoder(config)
    (recorded,) = made
    assert recorded.closed
    assert recorded.opened[:2] == ("run", 0)
    assert recorded.opened[2]["dataset"] == "folder"
    told = {(name, step) for name, _, step in recorded.told}
    assert {("train/loss", 1), ("train/loss", 2), ("train/images_per_s", 2), ("reconstructions", 2)} <= told
    picture = next(value for name, value, _ in recorded.told if name == "reconstructions")
    assert picture.ndim == 3
    assert 0 <= picture.min() <= picture.max() <= 1
    assert not list(run.glob("events*"))
    # how a run is watched decides nothing: it goes on with another logger
    pretrain_encoder(dataclasses.replace(config, logger="tensorboard", resume=True, steps=3))
    assert list(run.glob("events*"))
    assert '"logger"' not in (run / "config.json").read_text()


def test_an_unknown_logger_is_told() -> None:
    with pytest.raises(ValueError, match="unknown logger 'wanb'. Did you mean 'wandb'"):
        PretrainConfig(logger="wanb")


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_a_missing_package_names_its_extra(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"logger '{name}' \(--logger\) needs {name}: install sparse-repr\[{name}\]"):
        open_logger(name, tmp_path, 0, {})


def test_a_missing_package_leaves_no_folder(
    rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    words = ["--dataset", "folder", "--data-path", str(rectangles), "--run-dir", str(tmp_path / "run")]
    assert main([*words, "--image-size", "32", "--logger", "wandb"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: logger 'wandb' (--logger) needs wandb: install sparse-repr[wandb]"
    )
    assert not (tmp_path / "run" / "config.json").exists()


class _Run:
    """What `wandb.init` and `trackio.init` return."""

    def __init__(self, log: Told) -> None:
        self._log, self.finished = log, False

    def log(self, metrics: dict[str, Any], step: int) -> None:
        self._log += [(name, value, step) for name, value in metrics.items()]

    def finish(self) -> None:
        self.finished = True


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_services_with_runs_are_called_as_they_want(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log: Told = []
    asked: list[dict[str, Any]] = []
    runs: list[_Run] = []

    def init(**given: Any) -> _Run:
        asked.append(given)
        runs.append(_Run(log))
        return runs[-1]

    fake = types.SimpleNamespace(init=init, Image=lambda pixels: ("picture", pixels))
    monkeypatch.setitem(sys.modules, name, fake)
    folder = tmp_path / "sparse"
    folder.mkdir()
    logger = open_logger(name, folder, 0, {"seed": 3})
    logger.add_scalar("train/loss", 0.5, 7)
    logger.add_image("seen", torch.tensor([[[0.0, 1.0]]]), 8)
    logger.close()
    assert runs[0].finished
    assert (asked[0]["project"], asked[0]["config"], asked[0]["resume"]) == ("sparse-repr", {"seed": 3}, "allow")
    assert log[0] == ("train/loss", 0.5, 7)
    assert (log[1][0], log[1][1][0], log[1][2]) == ("seen", "picture", 8)
    assert log[1][1][1].tolist() == [[[0, 0, 0], [255, 255, 255]]]
    assert log[1][1][1].dtype == np.uint8
    key = "id" if name == "wandb" else "name"
    open_logger(name, folder, 10, {})  # the run goes on
    assert asked[1][key] == asked[0][key]
    open_logger(name, folder, 0, {})  # it begins anew, and so does its name
    assert asked[2][key] != asked[0][key]


def test_mlflow_is_called_through_its_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    class Client:
        def get_experiment_by_name(self, name: str) -> Any:
            return None if not calls else types.SimpleNamespace(experiment_id="1")

        def create_experiment(self, name: str) -> str:
            calls.append(("create_experiment", name))
            return "1"

        def create_run(self, experiment: str, *, run_name: str) -> Any:
            calls.append(("create_run", experiment, run_name))
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id=f"r{len(calls)}"))

        def __getattr__(self, name: str) -> Any:
            return lambda *given, **named: calls.append((name, *given, *named.values()))

    monkeypatch.setitem(sys.modules, "mlflow", types.SimpleNamespace(MlflowClient=Client))
    logger = open_logger("mlflow", tmp_path, 0, {"seed": 3, "text": "x" * 600})
    logger.add_scalar("train/loss", 0.5, 7)
    logger.add_image("seen", torch.zeros(3, 2, 2), 8)
    logger.close()
    assert calls[:3] == [
        ("create_experiment", "sparse-repr"),
        ("create_run", "1", tmp_path.name),
        ("log_param", "r2", "seed", "3"),
    ]
    assert calls[3] == ("log_param", "r2", "text", "x" * 500)
    assert calls[4] == ("log_metric", "r2", "train/loss", 0.5, 7)
    assert (calls[5][:2], calls[5][2].shape, calls[5][3:]) == (("log_image", "r2"), (2, 2, 3), ("seen", 8))
    assert calls[6] == ("set_terminated", "r2")
    before = len(calls)
    open_logger("mlflow", tmp_path, 5, {"seed": 3})
    assert len(calls) == before  # the same run goes on


def test_trackios_local_store_holds_what_a_run_told(
    rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trackio")
    place = str(tmp_path / "run")
    code = f"""
from pathlib import Path
from sparse_repr import pretrain_encoder
from tests.conftest import rectangles_config
pretrain_encoder(rectangles_config(Path({str(rectangles)!r}), Path({place!r}), log_every=1, logger="trackio"))
"""
    # in a process of its own: it reads where its store is when it is imported, and keeps threads
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "store"), "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True)
    (store,) = (tmp_path / "store").rglob("*.db")
    with contextlib.closing(sqlite3.connect(store)) as connection:
        rows = connection.execute("SELECT step, metrics FROM metrics").fetchall()
    told = {(name, step) for step, metrics in rows for name in json.loads(metrics)}
    assert {("train/loss", 1), ("train/loss", 2), ("reconstructions", 2)} <= told
    assert list((tmp_path / "store").rglob("*.png"))


def test_what_is_logged_later_in_one_second_is_read_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter(["9", "10"])  # by name, 10 comes before 9
    monkeypatch.setattr(event_file_writer, "_global_uid", types.SimpleNamespace(get=lambda: next(counts)))
    clock, began = time.time, time.time()
    monkeypatch.setattr(time, "time", lambda: int(began) + clock() - began)  # both are opened in one second
    for step in (0, 2):
        logger = open_logger("tensorboard", tmp_path, step, {})
        logger.add_scalar("train/loss", 4.0 - step, step + 1)
        logger.add_scalar("train/loss", 3.0 - step, step + 2)
        logger.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.value for event in events.Scalars("train/loss")] == [4.0, 3.0, 2.0, 1.0]
