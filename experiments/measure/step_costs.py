"""What a training step costs: runs on a shared machine are compared by the time that they would take alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Mapping
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from experiments.measure.side_by_side import steady_clock, summary
from sparse_repr import PretrainConfig
from sparse_repr.data import FactorDataset
from sparse_repr.pretrain.trainer import Trainer

Costs = Mapping[str, Mapping[str, float]]
"""Kind of step (objective, batch, averaging) -> seconds: median, least and greatest."""


Kind = TypeVar("Kind", bound=Hashable)

SECONDS_PER_ROUND = 0.5
_MOST_STEPS = 50


class Stepper(Protocol):
    """What takes training steps: a `Trainer`, or several models at a time."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def config(self) -> PretrainConfig:
        """Its settings."""

    def train_step(self) -> dict[str, Tensor]:
        """Take one; the terms have a loss, of one model or of each."""


def kind_of_step(run: PretrainConfig, size: int) -> str:
    """Steps of one kind cost the same, whatever the learning rate and the initial weights."""
    return f"{run.objective}, batch {size}{', average' if run.weight_averaging else ''}"


def measure_step_costs(
    runs: Iterable[PretrainConfig], data: FactorDataset, *, rounds: int, seconds: float = SECONDS_PER_ROUND
) -> dict[str, dict[str, float]]:
    """Seconds of every kind of step in `runs`, as `time_steps` measures them."""
    kinds = {
        kind_of_step(run, size): dataclasses.replace(
            run, batch_size=size, first_batch_size=None, batch_growth_steps=None
        )
        for run in runs
        for size, _ in run.batch_sizes().stages(run.steps)
    }
    trainers = {name: prepared_trainer(run, data) for name, run in kinds.items()}
    return time_steps(trainers, rounds=rounds, seconds=seconds)


def prepared_trainer(run: PretrainConfig, data: FactorDataset) -> Trainer:
    """A trainer whose steps cost what those of the run do; features that it learns first are learned for a moment."""
    trainer = Trainer(dataclasses.replace(run, dae_steps=1).resolve(), data)
    trainer.prepare()
    return trainer


def time_steps(
    trainers: Mapping[Kind, Stepper],
    *,
    rounds: int = 3,
    seconds: float = SECONDS_PER_ROUND,
    most_steps: int = _MOST_STEPS,
) -> dict[Kind, dict[str, float]]:
    """Seconds of one training step of each trainer, in turns so that a busy moment of the machine hits all.

    Args:
        trainers: what is measured; they are trained by it.
        rounds: turns of each.
        seconds: about how long a turn takes, at least one step.
        most_steps: of a turn.

    Returns:
        Median, least and greatest over the rounds, by `steady_clock`.
    """
    counts = {}
    for kind, trainer in trainers.items():
        _take(trainer, 1)  # optimiser state, kernels chosen for these shapes
        counts[kind] = min(most_steps, max(1, round(seconds / _take(trainer, 1))))
    times: dict[Kind, list[float]] = {kind: [] for kind in trainers}
    for _ in range(rounds):
        for kind, trainer in trainers.items():
            times[kind].append(_take(trainer, counts[kind]) / counts[kind])
    return {kind: summary(taken) for kind, taken in times.items()}


def _take(trainer: Stepper, steps: int) -> float:
    """Seconds of some steps."""
    now = steady_clock(trainer.device, trainer.config.threads)
    started = now()
    for _ in range(steps):
        terms = trainer.train_step()
    float(terms["loss"].sum())  # waits for the device
    return now() - started


def cost_of(run: PretrainConfig, steps: float, costs: Costs) -> float:
    """Seconds that the first `steps` steps of a run cost: the sum of the medians of their kinds."""
    return sum(count * costs[kind_of_step(run, size)]["median"] for size, count in run.batch_sizes().stages(int(steps)))


def steps_worth(run: PretrainConfig, seconds: float, costs: Costs) -> int:
    """The most steps of a run that cost no more than `seconds`."""
    low, high = 0, 1
    while cost_of(run, high, costs) <= seconds:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost_of(run, middle, costs) <= seconds else (low, middle)
    return low
