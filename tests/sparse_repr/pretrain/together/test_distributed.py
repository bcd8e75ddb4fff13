"""Data-parallel pretraining: two processes of torchrun take the steps of one."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparse_repr import PretrainConfig, pretrain_encoder
from sparse_repr.objectives import OBJECTIVES
from sparse_repr.pretrain.__main__ import main
from sparse_repr.pretrain.shares import ONLY_PROCESS, Shares
from sparse_repr.pretrain.together.distributed import check_distributed, pretrain_distributed
from tests import ROOT
from tests.sparse_repr.pretrain.test_trainer import _state
from tests.sparse_repr.pretrain.together.test_ensemble import logged_losses


def _optimiser(folder: Path) -> dict[str, Any]:
    objective: Any = _state(folder)["objective"]
    return objective["optimiser"]


def _in_two_processes(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What `torchrun --nproc-per-node 2 -m sparse_repr.pretrain` does, with this process as the first of the two."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test"}
    for name, value in {**together, "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "sparse_repr.pretrain", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment |= {"RANK": "1", "LOCAL_RANK": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        assert main(list(arguments)) == 0
        printed, _ = run.communicate(timeout=600)
        return subprocess.CompletedProcess(command, run.returncode, printed)


def _torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [*command, "-m", "sparse_repr.pretrain", *arguments], env=environment, capture_output=True, text=True
    )


def _options(rectangles: Path, run: Path) -> list[str]:
    options = {
        "dataset": "folder",
        "data-path": rectangles,
        "run-dir": run,
        "image-size": 32,
        "batch-size": 8,
        "steps": 24,
        "log-every": 1,
        "precision": "float32",
        "device": "cpu",
    }
    return [*(f"--{name}={value}" for name, value in options.items()), "--no-progress"]


@pytest.mark.slow  # torchrun's own environment and launching; what the processes do is tested below
def test_torchrun_starts_a_run(rectangles: Path, tmp_path: Path) -> None:
    run = _torchrun(*_options(rectangles, tmp_path / "run"))
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("encoder: ") == 1
    assert _state(tmp_path / "run")["step"] == 24


def test_two_processes_take_the_steps_of_one_and_resume(
    small_study: PretrainConfig,
    rectangles: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = pretrain_encoder(dataclasses.replace(small_study, steps=24, run_dir=str(tmp_path / "one")))
    two = pretrain_encoder(dataclasses.replace(small_study, steps=4, run_dir=str(tmp_path / "two")))
    capsys.readouterr()
    run = _in_two_processes(monkeypatch, *_options(rectangles, two), "--resume")
    assert run.returncode == 0, run.stdout
    assert (capsys.readouterr().out + run.stdout).count("encoder: ") == 1
    ours, theirs = logged_losses(two), logged_losses(whole)
    assert len(ours) == 24
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert _state(two)["step"] == 24
    assert torch.equal(_state(two)["generator"], _state(whole)["generator"])  # type: ignore[arg-type]
    # Adam's steps hardly depend on the scale of the gradients, its moments do
    moments = [
        torch.cat([moment["exp_avg"].flatten() for moment in _optimiser(folder)["state"].values()])
        for folder in (two, whole)
    ]
    assert float((moments[0] - moments[1]).norm() / moments[1].norm()) < 0.01
    assert (two / "encoder.safetensors").is_file()


def test_objectives_whose_loss_is_no_mean_over_images_are_refused() -> None:
    shared = {name for name, choice in OBJECTIVES.items() if not choice.couples_images}
    assert {"vae", "beta_vae", "sparse", "sparse_shrinkage", "spike_and_slab", "laplace_prior", "iwae"} <= shared
    assert (
        not {"beta_tcvae", "dip_vae_i", "dip_vae_ii", "factor_vae", "info_gan", "beta_vae_capacity", "batch_top_k"}
        & shared
    )
    with pytest.raises(ValueError, match=r"'beta_tcvae' cannot be trained by several processes: it estimates q\(z\)"):
        check_distributed(PretrainConfig(objective="beta_tcvae"), 2)
    with pytest.raises(ValueError, match="batch_size needs a multiple of the number of processes, 3, got 64"):
        check_distributed(PretrainConfig(), 3)
    with pytest.raises(ValueError, match="first_batch_size needs a multiple of the number of processes, 4, got 2"):
        check_distributed(PretrainConfig(first_batch_size=2, batch_growth_steps=10), 4)
    check_distributed(PretrainConfig(), 4)


def test_every_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def open_group(backend: str) -> None:
        opened.append(backend)
        raise ConnectionError

    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.distributed, "init_process_group", open_group)
    with pytest.raises(ValueError, match="at most 1 processes here, one for each GPU: start fewer, or give device"):
        pretrain_distributed(PretrainConfig(device="cuda"))
    # a run on the CPU leaves the GPUs alone, of which there may be fewer
    with pytest.raises(ConnectionError):
        pretrain_distributed(PretrainConfig(device="cpu"))
    assert opened == ["gloo"]


def test_shares_divide_a_batch() -> None:
    items = np.arange(12)
    parts = [items[Shares(rank, 3).part(12)].tolist() for rank in range(3)]
    assert parts == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert items[ONLY_PROCESS.part(12)].tolist() == items.tolist()
    assert ONLY_PROCESS.agree_to_stop(True, 3)
    assert ONLY_PROCESS.from_first(lambda: 5) == 5
