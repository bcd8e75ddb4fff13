"""The training loop: exact resume, signals, NaN, and the checks before training starts."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sparse_repr import PretrainConfig, load_encoder, pretrain_encoder
from sparse_repr.command_line.interruption import TrainingInterrupted
from sparse_repr.data import FactorDataset
from sparse_repr.encoder.vae import load_vae
from sparse_repr.pretrain import trainer as training
from sparse_repr.pretrain.__main__ import main
from sparse_repr.pretrain.batches import BatchOrder
from sparse_repr.pretrain.run_folder import locked_run_folder
from sparse_repr.pretrain.schedules import BatchSizes
from sparse_repr.pretrain.term_sums import NonFiniteLossError
from tests.conftest import STATISTICS_ITEMS, TINY

FILES = {"config.json", "encoder.safetensors", "vae.safetensors", "state.pt"}


def _config(folder: Path, **changes: object) -> PretrainConfig:
    return dataclasses.replace(TINY, run_dir=str(folder), **changes)  # type: ignore[arg-type]


def _state(folder: Path) -> dict[str, object]:
    return torch.load(folder / "state.pt", weights_only=True)


def _same(first: object, second: object) -> bool:
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and first.keys() == second.keys()
            and all(_same(first[k], second[k]) for k in first)
        )
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_same, first, second))  # type: ignore[arg-type]
    return first == second


def test_the_run_folder_holds_what_it_should(tiny_run: Path) -> None:
    names = {path.name for path in tiny_run.iterdir()}
    assert names >= FILES
    assert sum(name.startswith("events.out.tfevents") for name in names) == 1
    assert not any(name.endswith(".partial") for name in names)
    config = json.loads((tiny_run / "config.json").read_text())
    assert (config["precision"], config["device"]) == ("float32", TINY.resolve().device)
    assert (config["beta"], config["sparsity_weight"]) == (1.0, 1.0)


def test_tensorboard_holds_scalars_and_pictures(tiny_run: Path) -> None:
    events = EventAccumulator(str(tiny_run))
    events.Reload()
    tags = events.Tags()
    expected = {f"train/{name}" for name in ("loss", "reconstruction", "kl", "l1", "images_per_s")}
    assert expected <= set(tags["scalars"])
    assert {"reconstructions", "traversals"} <= set(tags["images"])
    assert [event.step for event in events.Scalars("train/loss")] == [10, 20, 30, 40]
    losses = [event.value for event in events.Scalars("train/loss")]
    assert losses[-1] < 0.7 * losses[0]


def test_the_encoder_is_that_of_the_vae_and_knows_its_origin(tiny_run: Path) -> None:
    encoder, (vae, spec) = load_encoder(tiny_run), load_vae(tiny_run)
    for name, tensor in vae.encoder.state_dict().items():
        assert torch.equal(tensor, encoder.network().state_dict()[name])
    assert spec == encoder.spec
    assert encoder.spec.objective["name"] == "sparse"
    assert encoder.spec.objective["steps"] == 40
    assert encoder.spec.dataset["factor_names"] == ["shape", "scale", "orientation", "position_x", "position_y"]
    assert len(encoder.spec.units.std) == 10


def test_unit_statistics_are_those_of_the_codes(tiny_run: Path, dsprites: FactorDataset) -> None:
    encoder = load_encoder(tiny_run)
    items = np.sort(np.random.default_rng(0).permutation(dsprites.split[0])[:STATISTICS_ITEMS])
    codes = encoder.encode(dsprites.images(items))
    np.testing.assert_allclose(encoder.spec.units.mean, codes.mean(0), atol=1e-6)
    np.testing.assert_allclose(encoder.spec.units.std, codes.std(0), atol=1e-6)
    assert list(encoder.spec.units.active) == (codes.var(0) > 0.01).tolist()


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_stopped_and_resumed_run_is_bit_identical(
    dsprites: FactorDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    whole = pretrain_encoder(_config(tmp_path / "whole", precision=precision))
    step = training.Trainer.train_step

    def stop_at_23(self: training.Trainer) -> dict[str, torch.Tensor]:
        terms = step(self)
        if self.step == 23:
            os.kill(os.getpid(), signal.SIGINT)
        return terms

    monkeypatch.setattr(training.Trainer, "train_step", stop_at_23)
    with pytest.raises(TrainingInterrupted, match="stopped at step 23.*continue with resume") as stopped:
        pretrain_encoder(_config(tmp_path / "parts", precision=precision))
    assert (stopped.value.step, stopped.value.signal_number) == (23, signal.SIGINT)
    assert _state(tmp_path / "parts")["step"] == 23
    monkeypatch.setattr(training.Trainer, "train_step", step)
    parts = pretrain_encoder(_config(tmp_path / "parts", precision=precision, resume=True))
    assert _same(_state(parts), _state(whole))
    assert (parts / "encoder.safetensors").read_bytes() == (whole / "encoder.safetensors").read_bytes()


def test_a_killed_run_resumes_from_its_last_save(tiny_run: Path, dsprites: FactorDataset, tmp_path: Path) -> None:
    short = pretrain_encoder(_config(tmp_path / "run", steps=20))
    (short / "encoder.safetensors").unlink()  # derived: state.pt alone is what resume reads
    (short / "vae.safetensors").unlink()
    longer = pretrain_encoder(_config(tmp_path / "run", resume=True))
    assert _same(_state(longer), _state(tiny_run))
    assert (longer / "encoder.safetensors").read_bytes() == (tiny_run / "encoder.safetensors").read_bytes()


def test_sigterm_saves_and_exits_cleanly(rectangles: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "sparse_repr.pretrain", "--run-dir", str(folder), "--steps", "1000000"]
    command += ["--dataset", "folder", "--data-path", str(rectangles), "--image-size", "32", "--batch-size", "4"]
    process = subprocess.Popen([*command, "--save-every", "5", "--no-progress"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (folder / "state.pt").is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "continue with resume (--resume)" in errors
    assert "Traceback" not in errors
    assert {path.name for path in folder.iterdir()} >= FILES
    assert load_encoder(folder).spec.objective["steps"] == _state(folder)["step"]


def test_nan_stops_with_the_step_and_keeps_the_last_good_state(
    dsprites: FactorDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = training.Trainer.train_step

    def poisoned(self: training.Trainer) -> dict[str, torch.Tensor]:
        if self.step == 26:
            with torch.no_grad():
                next(self.objective.vae.parameters()).fill_(float("nan"))
        return step(self)

    monkeypatch.setattr(training.Trainer, "train_step", poisoned)
    with pytest.raises(NonFiniteLossError, match="NaN or infinite at step 27; the last good state is kept"):
        pretrain_encoder(_config(tmp_path / "run"))
    state = _state(tmp_path / "run")
    assert state["step"] == 20
    assert all(torch.isfinite(tensor).all() for tensor in state["objective"]["vae"].values())  # type: ignore[index]


def test_another_configuration_in_the_folder_is_refused(tiny_run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_run.iterdir()}
    with pytest.raises(ValueError, match=r"run with other settings \(learning_rate: 0.0005 there, 0.1 asked for"):
        pretrain_encoder(_config(tiny_run, learning_rate=0.1))
    with pytest.raises(FileExistsError, match="already holds a run with these settings; continue it with resume"):
        pretrain_encoder(_config(tiny_run))
    assert {path: path.stat().st_mtime_ns for path in tiny_run.iterdir()} == before


def test_two_processes_cannot_train_in_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with locked_run_folder(folder):
        with pytest.raises(FileExistsError, match="is being trained in by another process"):
            pretrain_encoder(_config(folder))
        (folder / "kept").write_text("")
    assert [path.name for path in folder.iterdir()] == ["kept"]


def test_resume_needs_a_readable_state(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "damaged")
    state = tmp_path / "damaged" / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"state\.pt: not a readable training state"):
        pretrain_encoder(_config(tmp_path / "damaged", resume=True))


def test_resume_to_fewer_steps_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    with pytest.raises(ValueError, match="already has 40 steps, 30 were asked for"):
        pretrain_encoder(_config(tmp_path / "run", steps=30, resume=True))


def test_full_disk_and_files_in_the_way_fail_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "load_dataset", lambda *_: pytest.fail("training was prepared"))
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="is a file; choose another folder"):
        pretrain_encoder(_config(tmp_path / "file"))
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"the run folder needs 100 MB"):
        pretrain_encoder(_config(tmp_path / "new"))
    assert not (tmp_path / "new" / "config.json").exists()


def test_a_run_whose_data_is_missing_leaves_nothing_that_blocks_the_next_try(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="no HDF5 file at"):
        pretrain_encoder(_config(folder, dataset="h5", data_path=str(tmp_path / "missing.h5")))
    assert not folder.exists()


def test_batches_are_seeded_permutations() -> None:
    order = BatchOrder(np.arange(100, 110), BatchSizes(4), seed=3)
    batches = [order(step) for step in range(5)]
    first, second = np.concatenate(batches)[:10], np.concatenate(batches)[10:20]
    assert sorted(first) == sorted(second) == list(range(100, 110))
    assert first.tolist() != second.tolist()
    assert np.array_equal(BatchOrder(np.arange(100, 110), BatchSizes(4), seed=3)(2), batches[2])  # spans two epochs
    assert not np.array_equal(BatchOrder(np.arange(100, 110), BatchSizes(4), seed=4)(2), batches[2])
    assert len(BatchOrder(np.arange(3), BatchSizes(8), seed=0)(0)) == 8  # fewer items than the batch holds


def test_the_command_line_reports_and_returns_codes(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--batch-size", "8", "--steps", "2", "--no-progress", "--precision", "float32"]
    assert main(["--run-dir", str(tmp_path / "run"), *options]) == 0
    printed = capsys.readouterr().out
    assert "encoder.safetensors" in printed
    assert "python -m sparse_repr.evaluate" in printed
    assert main(["--run-dir", str(tmp_path / "run"), *options]) == 2
    assert "error: " in capsys.readouterr().err
    for options, message in (
        (["--objective", "betavae"], "Did you mean 'beta_vae'"),
        (["--code-size", "0"], "code_size"),
    ):
        assert main(options) == 2
        assert message in " ".join(capsys.readouterr().err.split())
