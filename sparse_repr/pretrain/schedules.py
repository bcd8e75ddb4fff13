"""How the learning rate and the batch change with the steps: closed forms, so that a resumed run needs no memory."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from sparse_repr.command_line.bounds import require_whole
from sparse_repr.registry import lookup

DECAYS = ("constant", "cosine")


@dataclasses.dataclass(frozen=True)
class LearningRate:
    """The learning rate of every step: a linear warm-up, then constant or half a cosine down to `final`.

    eta_t = final + (peak - final) (1 + cos(pi p)) / 2, where p goes from 0 after the warm-up to 1 at `decay_steps`
    (Loshchilov and Hutter 2017, Eq. 5, without restarts); `final` holds from there on.
    """

    peak: float
    """The full learning rate."""
    warmup: int = 0
    """Steps until it is reached: step t of them takes peak (t + 1) / warmup."""
    decay: str = "constant"
    """What follows the warm-up: constant, or cosine."""
    decay_steps: int | None = None
    """Step at which the cosine ends; None for a constant rate."""
    final: float = 0.0
    """Where the cosine ends."""
    restart: int = 0
    """Step at which optimisers begin anew."""
    restart_warmup: int = 0
    """Steps from there on until the rate is whole again: the k-th of them takes (k + 1) / restart_warmup of it."""

    def __post_init__(self) -> None:
        require_whole("opening_warmup", self.restart_warmup, least=0)
        if not 0 < self.peak < float("inf"):
            raise ValueError(f"learning_rate needs a positive number, got {self.peak!r}")
        require_whole("learning_rate_warmup", self.warmup, least=0)
        lookup(dict.fromkeys(DECAYS), self.decay, "learning-rate decay")
        if self.decay == "constant":
            if self.decay_steps is not None or self.final:
                raise ValueError(
                    "learning_rate_decay_steps and final_learning_rate need learning_rate_decay 'cosine', got "
                    f"{self.decay!r}"
                )
        elif self.decay_steps is None or self.decay_steps <= self.warmup:
            raise ValueError(
                f"the cosine needs to end after the learning_rate_warmup of {self.warmup} steps, got step "
                f"{self.decay_steps}: set learning_rate_decay_steps"
            )
        elif not 0 <= self.final <= self.peak:
            raise ValueError(f"final_learning_rate needs a number in 0..{self.peak}, got {self.final!r}")

    def __call__(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0."""
        again = step - self.restart
        share = (again + 1) / self.restart_warmup if 0 <= again < self.restart_warmup else 1.0
        return share * self._without_restart(step)

    def _without_restart(self, step: int) -> float:
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if self.decay_steps is None:
            return self.peak
        progress = min(1.0, (step - self.warmup) / (self.decay_steps - self.warmup))
        return self.final + (self.peak - self.final) * (1 + math.cos(math.pi * progress)) / 2

    def set_on(self, optimiser: torch.optim.Optimizer, step: int) -> None:
        """Give every parameter group the learning rate of a step; one that never changes is left as it is."""
        if not self.warmup and not self.restart_warmup and self.decay_steps is None:
            return
        rate = self(step)
        for group in optimiser.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)  # a captured graph reads the number from this very tensor
            else:
                group["lr"] = rate


@dataclasses.dataclass(frozen=True)
class BatchSizes:
    """The number of images of every step: `first` to begin with, doubled every `growth_steps` steps up to `last`.

    While the loss lies on its first plateau, what counts is the number of steps, and on a CPU a small batch takes them
    cheaply; later the larger batch averages the noise away (Smith et al. 2018 grow the batch in place of a decay).
    """

    last: int
    """Images of a step in the end."""
    first: int | None = None
    """Images of a step at first: `last` halved a number of times; None for `last` throughout."""
    growth_steps: int | None = None
    """Steps that each smaller batch is kept for; with `first`."""

    def __post_init__(self) -> None:
        if (self.first is None) != (self.growth_steps is None):
            raise ValueError(
                f"first_batch_size and batch_growth_steps need each other, got {self.first!r} and {self.growth_steps!r}"
            )
        if self.first is None or self.growth_steps is None:
            return
        doublings = self.last // max(1, self.first)
        if self.first < 1 or self.last != self.first * doublings or doublings & (doublings - 1):
            raise ValueError(
                f"first_batch_size needs batch_size {self.last} halved a number of times, so that doubling it gets "
                f"there, got {self.first}"
            )
        if self.growth_steps < 1:
            raise ValueError(f"batch_growth_steps needs a whole number of at least 1, got {self.growth_steps!r}")

    @property
    def whole_from(self) -> int:
        """Step from which on a batch has as many images as in the end."""
        return self._growth * ((self.last // self._start).bit_length() - 1)

    @property
    def _start(self) -> int:
        return self.last if self.first is None else self.first

    @property
    def _growth(self) -> int:
        return self.growth_steps or 1  # one size throughout is kept for any number of steps

    def _doublings(self, step: int) -> int:
        return min(step // self._growth, (self.last // self._start).bit_length() - 1)

    def size(self, step: int) -> int:
        """Images of step `step`, counted from 0."""
        return self._start << self._doublings(step)

    def position(self, step: int) -> int:
        """Images of all steps before `step`.

        first growth_steps (2^k - 1) + (step - k growth_steps) first 2^k, where k is how often the batch has doubled.
        """
        doublings = self._doublings(step)
        before = self._growth * ((1 << doublings) - 1)  # in units of the first batch
        return self._start * (before + ((step - doublings * self._growth) << doublings))

    def stages(self, steps: int) -> list[tuple[int, int]]:
        """Sizes of the first `steps` steps in their order, and how many of the steps have each.

        >>> BatchSizes(32, first=8, growth_steps=3).stages(10)
        [(8, 3), (16, 3), (32, 4)]
        """
        found: list[tuple[int, int]] = []
        step = 0
        while step < steps:
            size = self.size(step)
            count = steps - step if size == self.last else min(steps - step, self._growth)
            found.append((size, count))
            step += count
        return found

    def times(self, batches: int) -> BatchSizes:
        """The sizes where a step reads that many batches."""
        first = None if self.first is None else self.first * batches
        return BatchSizes(self.last * batches, first, self.growth_steps)
