"""What a training step costs: runs on a shared machine are compared by the time that they would take alone."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping

from experiments.measuring import summary
from sparse_repr import PretrainConfig
from sparse_repr.data import FactorDataset
from sparse_repr.devices import autocast_for
from sparse_repr.training import Trainer

Costs = Mapping[str, Mapping[str, float]]
"""Kind of step (objective, batch, averaging) -> seconds: median, least and greatest."""


def stages(run: PretrainConfig, steps: int) -> list[tuple[int, int]]:
    """Batch sizes of the first `steps` steps of a run, and how many of the steps have each."""
    sizes, found, step = run.batch_sizes(), [], 0
    while step < steps:
        size = sizes.size(step)
        count = steps - step if size == run.batch_size else min(steps - step, sizes.growth_steps)
        found.append((size, count))
        step += count
    return found


def kind_of_step(run: PretrainConfig, size: int) -> str:
    """Steps of one kind cost the same, whatever the learning rate and the initial weights."""
    return f"{run.objective}, batch {size}{', average' if run.weight_averaging else ''}"


def measure_step_costs(
    runs: Iterable[PretrainConfig], data: FactorDataset, *, rounds: int, images: int = 640
) -> dict[str, dict[str, float]]:
    """Seconds of processor time of every kind of step in `runs`, measured in turns on the CPU.

    Processor time: on shared cores the clock on the wall also counts what others do. A round takes as many steps of
    each kind as need `images`.
    """
    kinds = {
        kind_of_step(run, size): dataclasses.replace(
            run, batch_size=size, first_batch_size=None, batch_growth_steps=None
        )
        for run in runs
        for size, _ in stages(run, run.steps)
    }
    trainers = {name: Trainer(run.resolve(), data) for name, run in kinds.items()}
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for measured in range(-1, rounds):  # a first round warms up and does not count
        for name, trainer in trainers.items():
            autocast = autocast_for(trainer.device, trainer.config.precision)
            steps = max(1, images // trainer.config.batch_size)
            started = time.process_time()
            for _ in range(steps):
                trainer.train_step(autocast)
            if measured >= 0:
                seconds[name].append((time.process_time() - started) / steps)
    return {name: summary(times) for name, times in seconds.items()}


def cost_of(run: PretrainConfig, steps: float, costs: Costs) -> float:
    """Seconds that the first `steps` steps of a run cost: the sum of the medians of their kinds."""
    return sum(count * costs[kind_of_step(run, size)]["median"] for size, count in stages(run, int(steps)))


def steps_worth(run: PretrainConfig, seconds: float, costs: Costs) -> int:
    """The most steps of a run that cost no more than `seconds`."""
    low, high = 0, 1
    while cost_of(run, high, costs) <= seconds:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost_of(run, middle, costs) <= seconds else (low, middle)
    return low
