"""Pretraining that is killed at random moments, again and again, ends in the bits of a run that was left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sparse_repr.pretrain.test_trainer import _same, _state

KILLS = 20


def _command(pictures: Path, folder: Path) -> list[str]:
    words = ["--dataset", "folder", "--data-path", str(pictures), "--run-dir", str(folder), "--image-size", "32"]
    words += ["--batch-size", "8", "--steps", "1500", "--save-every", "3", "--log-every", "7", "--picture-every", "50"]
    words += ["--device", "cpu", "--precision", "float32", "--threads", "1", "--no-progress", "--resume"]
    return [sys.executable, "-m", "sparse_repr.pretrain", *words]


def _start(pictures: Path, folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        _command(pictures, folder), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _wait_for_training(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until this process, not an earlier one, has begun to write events."""
    before = set(folder.glob("events*"))
    deadline = time.monotonic() + 300
    while not (set(folder.glob("events*")) - before) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.mark.slow
def test_kills_at_random_moments_change_no_bit(rectangles: Path, tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    _, said = (process := _start(rectangles, straight)).communicate()
    assert process.returncode == 0, said
    chance = random.Random(0)
    kills = 0
    for _ in range(KILLS):
        process = _start(rectangles, killed)
        _wait_for_training(process, killed)
        time.sleep(chance.uniform(0, 1.5))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills > KILLS // 2  # the others had reached the end before
    _, said = (process := _start(rectangles, killed)).communicate()
    assert process.returncode == 0, said
    assert _same(_state(killed), _state(straight))
    for name in ("encoder.safetensors", "vae.safetensors"):
        assert (killed / name).read_bytes() == (straight / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_signals_that_come_together_end_in_one_line_and_a_state(rectangles: Path, tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "run"
    process = _start(rectangles, folder)
    _wait_for_training(process, folder)
    chance = random.Random(seed)
    time.sleep(chance.uniform(0.05, 0.5))
    first, second = chance.sample([signal.SIGINT, signal.SIGTERM], 2)
    process.send_signal(first)
    process.send_signal(second)
    time.sleep(chance.uniform(0, 0.1))
    process.send_signal(second)
    _, said = process.communicate(timeout=300)
    # of two that are pending at once, Python hears the lower number first
    assert process.returncode in (128 + first, 128 + second), said
    assert "Traceback" not in said
    assert (
        f"stopped at step {_state(folder)['step']}; the state is in {folder}, continue with resume (--resume)" in said
    )
