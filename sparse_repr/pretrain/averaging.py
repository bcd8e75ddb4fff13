"""WeightAverage: the exponential moving average of a network's weights, which is what a run with one exports."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor

from sparse_repr.models import VAE


def require_decay(decay: float) -> None:
    """Check the decay of an average; 0 stands for none.

    Raises:
        ValueError: not in 0..1, 1 excluded.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"weight_averaging needs a number of at least 0 and below 1, got {decay!r}")


def decay_at(decay: float, step: int) -> float:
    """Share of the average that step `step` (counted from 0) keeps: min(decay, (1 + step) / (10 + step)).

    It grows to `decay`, so that the random weights of the start are soon forgotten.
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def move_averages(averages: Iterable[Tensor], values: Iterable[Tensor], kept: float) -> None:
    """average <- kept * average + (1 - kept) * value, in place, for each pair."""
    for average, value in zip(averages, values, strict=True):
        average.lerp_(value, 1 - kept)


class WeightAverage:
    """A copy of a network whose weights are the average of those that the network had (Polyak and Juditsky 1992)."""

    def __init__(self, network: VAE, decay: float) -> None:
        """Start at the present weights of `network`; `decay` is in 0..1, 1 excluded: about 1 / (1 - decay) steps."""
        require_decay(decay)
        self.decay = decay
        self.network: VAE = copy.deepcopy(network).requires_grad_(False)

    def update(self, network: VAE, step: int) -> None:
        """Take in the weights that step `step` (counted from 0) left."""
        move_averages(self.network.parameters(), network.parameters(), decay_at(self.decay, step))
        for own, present in zip(self.network.buffers(), network.buffers(), strict=True):
            own.copy_(present)  # statistics that layers keep are averages already
