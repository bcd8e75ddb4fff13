"""Whether a recording, a stack and a single run take the same steps: how far they are apart after some of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch

from experiments.gpu.record import Work
from experiments.gpu.ways import Models, make_models, noted_warnings
from sparse_repr.data import load_dataset
from sparse_repr.devices import resolve_precision

_ALONE, _TOGETHER = False, True
PAIRS: dict[str, tuple[tuple[str, bool], tuple[str, bool]]] = {
    "single, twice": (("none", _ALONE), ("none", _ALONE)),
    "single, graph": (("none", _ALONE), ("cuda_graph", _ALONE)),
    "stack, twice": (("none", _TOGETHER), ("none", _TOGETHER)),
    "stack, graph": (("none", _TOGETHER), ("cuda_graph", _TOGETHER)),
    "single, stack": (("none", _ALONE), ("none", _TOGETHER)),
    "single, stack as a graph": (("none", _ALONE), ("cuda_graph", _TOGETHER)),
}
"""What is compared -> two ways, and whether the models are stacked; what differs from itself sets the measure."""


def measure_equality(work: Work) -> None:
    """Every pair in every precision that the device has."""
    has_bf16 = resolve_precision("auto", work.device) == "bf16"
    precisions = [precision for precision in work.sizes.precisions if precision == "float32" or has_bf16]
    items: dict[str, Callable[[], Mapping[str, Any]]] = {
        f"{pair}, {precision}": functools.partial(_compare, work, pair, precision)
        for precision in precisions
        for pair in PAIRS
    }
    work.do("equality", items)


def _compare(work: Work, pair: str, precision: str) -> dict[str, Any]:
    sizes = work.sizes
    data = load_dataset("dsprites")
    with noted_warnings() as said:
        first, second = (
            make_models(data, sizes.device, precision, way, range(sizes.compared_models), stacked=stacked)
            for way, stacked in PAIRS[pair]
        )
        found = distances(first, second, sizes.compared_steps)
    first.close()
    second.close()
    return {"models": sizes.compared_models, "steps": sizes.compared_steps, **found, "warnings": said}


def distances(first: Models, second: Models, steps: int) -> dict[str, float]:
    """Train both, and compare.

    Args:
        first: models at their first step.
        second: the same, by another way.
        steps: how many they take.

    Returns:
        The greatest difference of a loss as a share of it, of the first step and of all; and the norm of the difference
        of all parameters as a share of the norm of what the first way changed them by.
    """
    start = first.parameters()
    losses = []
    for _ in range(steps):
        one, other = (models.train_step()["loss"].double().clone() for models in (first, second))
        losses.append(((one - other).abs() / one.abs()).max())
    values = torch.stack(losses)
    ends, others = first.parameters(), second.parameters()
    changed, apart = (
        sum(float((one - two).double().square().sum()) for one, two in zip(ends, rest, strict=True)) ** 0.5
        for rest in (start, others)
    )
    return {
        "first_loss": float(values[0]),
        "loss": float(values.max()),
        "parameters": apart / changed,
    }
