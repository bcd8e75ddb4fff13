"""Data-parallel pretraining: `torchrun` starts several processes, and each takes its share of every batch.

`torchrun --nproc-per-node 2 -m sparse_repr.pretrain ...` trains the model that one process would train with the same
settings: `batch_size` is that of all processes together, the gradients are averaged before each step, and every process
draws the noise of the whole batch and keeps its part. A run can so be continued by another number of processes, given
the same number of threads each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch
import torch.distributed

from sparse_repr.devices import cpu_threads, resolve_device
from sparse_repr.objectives import WeightedLoss, choose_objective
from sparse_repr.pretrain.config import PretrainConfig
from sparse_repr.pretrain.run_folder import as_begun
from sparse_repr.pretrain.shares import Shares
from sparse_repr.pretrain.trainer import opened_run


def launched_by_torchrun() -> bool:
    """Whether `torchrun` started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def check_distributed(config: PretrainConfig, processes: int) -> None:
    """Check that a run can be shared by `processes`.

    Raises:
        ValueError: the batch cannot be divided, or the objective's loss is not a mean over the images of a batch.
    """
    choice = choose_objective(config.objective)
    if choice.couples_images:
        raise ValueError(
            f"objective {config.objective!r} cannot be trained by several processes: {choice.couples_images}, so the "
            "losses of parts of a batch are not that of the batch; train it in one process"
        )
    if config.step_graph not in ("auto", "none"):
        raise ValueError(
            f"step_graph {config.step_graph!r} cannot be shared by several processes, which average their gradients "
            "inside each step; use auto or none"
        )
    for name in ("batch_size", "first_batch_size"):
        size = getattr(config, name)
        if size is not None and size % processes:
            raise ValueError(
                f"{name} needs a multiple of the number of processes, {processes}, got {size}: it is that of all "
                "processes together"
            )


def pretrain_distributed(config: PretrainConfig) -> Path:
    """Train one encoder with the processes that `torchrun` started; each of them calls this.

    The losses are those of one process to float32 rounding (terms that are no mean over images, such as active_units,
    are logged as the mean over the processes). The first process alone writes the run folder.

    Returns:
        The run folder.

    Raises:
        As `pretrain_encoder`, in every process; ValueError where `check_distributed` refuses.
    """
    with _joined_processes(config) as shares:
        check_distributed(config, shares.count)
        config = as_begun(dataclasses.replace(config, step_graph="none")).resolve()
        with cpu_threads(config.threads), opened_run(config, shares=shares) as (trainer, writer):
            shares.copy_from_first(trainer.objective.vae)
            shares.average_gradients(cast(WeightedLoss, trainer.objective).optimiser)
            trainer.run(writer)
            return trainer.folder


@contextlib.contextmanager
def _joined_processes(config: PretrainConfig) -> Iterator[Shares]:
    """Open torch's process group from the environment that `torchrun` sets; gloo for the CPU, NCCL for CUDA.

    Raises:
        ValueError: more processes of this machine than it has GPUs.
    """
    backend = "gloo"
    if resolve_device(config.device).type == "cuda":  # a run on the CPU has no use for the GPUs that are there
        rank, present = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if rank >= present:
            raise ValueError(
                f"--nproc-per-node needs at most {present} processes here, one for each GPU: start fewer, or give "
                "device (--device) cpu"
            )
        torch.cuda.set_device(rank)
        # stopping and errors are agreed upon by CPU tensors, which do not wait for the GPU
        backend = "cpu:gloo,cuda:nccl"
    torch.distributed.init_process_group(backend)
    try:
        yield Shares(torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        torch.distributed.destroy_process_group()
