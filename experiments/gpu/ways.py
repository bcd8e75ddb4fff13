"""One or several models of the study's sparse VAE on dSprites, as they take their steps in every way."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from sparse_repr import PretrainConfig
from sparse_repr.data import FactorDataset
from sparse_repr.pretrain.together.stacked import StackedModels
from sparse_repr.pretrain.trainer import Trainer

BATCH = 64


def config_for(device: str, precision: str, way: str, seed: int) -> PretrainConfig:
    """Settings whose steps are launched in one way; on a CPU, a graph is the steps on memory that keeps its place."""
    config = PretrainConfig(
        dataset="dsprites",
        objective="sparse",
        batch_size=BATCH,
        seed=seed,
        device=device,
        precision=precision,
        step_graph="none",
        health_check=0,
        progress=False,
    )
    return dataclasses.replace(config.resolve(), step_graph=way)


@dataclasses.dataclass
class Models:
    """Models that take their steps together."""

    trainers: Sequence[Trainer]
    stack: StackedModels | None
    """None where there is one, or where each takes its steps alone."""

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.trainers[0].device

    @property
    def config(self) -> PretrainConfig:
        """Of the first."""
        return self.trainers[0].config

    def train_step(self) -> dict[str, Tensor]:
        """One step of all; terms are (S,)."""
        if self.stack is not None:
            return self.stack.train_step()
        terms = [trainer.train_step() for trainer in self.trainers]
        return {name: torch.stack([each[name] for each in terms]) for name in terms[0]}

    def parameters(self) -> list[Tensor]:
        """Those of all, one after another."""
        if self.stack is not None and self.stack.step:
            self.stack.write_back()
        return [value.detach().clone() for trainer in self.trainers for value in trainer.objective.vae.parameters()]

    def close(self) -> None:
        """Stop what reads ahead."""
        for trainer in self.trainers:
            trainer.batches.close()


def make_models(
    data: FactorDataset, device: str, precision: str, way: str, seeds: Sequence[int], *, stacked: bool
) -> Models:
    """Models of these seeds at their first step; one alone is never stacked."""
    trainers = [Trainer(config_for(device, precision, way, seed), data) for seed in seeds]
    return Models(trainers, StackedModels(trainers) if stacked and len(trainers) > 1 else None)


@contextmanager
def noted_warnings() -> Iterator[list[str]]:
    """The warnings of the block, each once, instead of their being shown."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield said
    said += dict.fromkeys(f"{one.message}".splitlines()[0] for one in told)
