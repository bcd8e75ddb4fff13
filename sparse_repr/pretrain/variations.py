"""Variations of one configuration: several seeds and weights of the objective's terms, a run folder for each."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sparse_repr.objectives import weight_names
from sparse_repr.pretrain.config import PretrainConfig

WEIGHT_NAMES = tuple(
    field.name for field in dataclasses.fields(PretrainConfig) if field.name in frozenset(weight_names())
)
"""Weights of which a list can be given: those of the terms of any objective that are options of their own."""

_MOST_SEEDS = 10_000


def parse_seeds(text: str) -> list[int]:
    """Seeds from numbers and ranges, both ends included: ``"0,2,5-7"`` is 0, 2, 5, 6 and 7.

    Raises:
        ValueError: anything else, a range that ends before it starts, or a seed named twice.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None:
            raise ValueError(f"--seeds needs numbers and ranges such as 0-15 or 0,2,5-7, got {text!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"--seeds needs ranges that go up, got {part.strip()!r}; write {last}-{first}")
        if last - first >= _MOST_SEEDS:
            raise ValueError(f"--seeds needs at most {_MOST_SEEDS} seeds, got {part.strip()!r}")
        seeds += range(first, last + 1)
    repeated = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if repeated:
        raise ValueError(
            f"--seeds needs every seed once, got {', '.join(map(str, repeated))} more than once in {text!r}"
        )
    return seeds


def parse_weights(name: str, text: str) -> list[float]:
    """Values of the weight `name`, separated by commas.

    Raises:
        ValueError: a part is not a number, or a value comes twice.
    """
    option = f"--{name.replace('_', '-')}"
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(f"{option} needs a number, or numbers separated by commas, got {text!r}") from error
    if len(set(values)) < len(values):
        raise ValueError(f"{option} needs every value once, got {text!r}")
    return values


def vary(
    config: PretrainConfig, *, seeds: Sequence[int] = (), weights: Mapping[str, Sequence[float]] | None = None
) -> list[PretrainConfig]:
    """One configuration for every combination of a seed and a value of each weight.

    Each gets a folder of its own inside `config.run_dir` (``runs`` unless set), named as a single run is by default,
    with the varied weights in the name: ``dsprites-sparse-sparsity_weight4-seed0``.

    Args:
        config: everything else.
        seeds: the seeds; that of `config` if empty.
        weights: values by weight, names of `WEIGHT_NAMES`.

    Returns:
        The configurations, seeds changing fastest.

    Raises:
        ValueError: a weight that the objective does not take, or a value it cannot use.
    """
    weights = weights or {}
    parent = Path(config.run_dir or "runs")
    varied = []
    for values in itertools.product(*weights.values()):
        chosen = dict(zip(weights, values, strict=True))
        marks = "".join(f"-{name}{value:.12g}" for name, value in chosen.items())
        for seed in seeds or [config.seed]:
            member = dataclasses.replace(config, seed=seed, **chosen)  # type: ignore[arg-type]
            varied.append(dataclasses.replace(member, run_dir=str(parent / member.run_name(marks))))
    return varied
