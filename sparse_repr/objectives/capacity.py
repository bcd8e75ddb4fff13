"""beta-VAE with a capacity: the KL divergence is held at a value that grows (Burgess et al. 2018)."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import torch
from torch import Tensor

from sparse_repr.command_line.bounds import require_whole
from sparse_repr.models import Posterior
from sparse_repr.objectives.base import Regularised, StepNumber, in_precision_of, ramp
from sparse_repr.objectives.entry import ObjectiveChoice, Setting, number
from sparse_repr.objectives.terms import kl_divergence
from sparse_repr.objectives.variational import variational


@dataclasses.dataclass(frozen=True)
class Capacity:
    """gamma * |KL - C|, where C grows linearly from 0 to `capacity_nats` (Burgess et al. 2018, Eq. 8)."""

    capacity_weight: float | Tensor
    capacity_nats: float
    capacity_steps: int

    def capacity(self, step_number: StepNumber) -> float | Tensor:
        """C at a step, in nats."""
        return self.capacity_nats * ramp(step_number, self.capacity_steps)

    def __call__(self, posterior: Posterior, z: Tensor, step_number: StepNumber) -> Regularised:  # noqa: ARG002
        kl = kl_divergence(*posterior).sum(1).mean()
        capacity = in_precision_of(kl, self.capacity(step_number))
        reported = capacity if isinstance(capacity, Tensor) else torch.full_like(kl, capacity)
        return self.capacity_weight * (kl - capacity).abs(), {"capacity": reported}


BETA_VAE_CAPACITY = ObjectiveChoice(
    "the KL held at a capacity that grows with the steps (Burgess et al. 2018)",
    # gamma 100 in public reference settings
    {"capacity_weight": 100.0},
    variational(Capacity),
    # dSprites up to 25 nats over 100,000 steps (Burgess et al. 2018)
    {
        "capacity_nats": Setting(25.0, number(0, math.inf)),
        "capacity_steps": Setting(100_000, partial(require_whole, least=0)),
    },
    couples_images="it takes the distance of the batch's mean KL from the capacity",
)
