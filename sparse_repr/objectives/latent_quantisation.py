"""Latent quantisation: each unit takes one of a few learned values (QLAE)."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from sparse_repr.models import VAE, Quantised
from sparse_repr.objectives.base import Objective, StepNumber
from sparse_repr.objectives.entry import ObjectiveChoice, Setting, weight
from sparse_repr.objectives.point_code import Coded, PointCodeObjective
from sparse_repr.objectives.reconstruction import Reconstruction


@dataclasses.dataclass(frozen=True)
class LatentQuantisation:
    """quantise_weight |sg(a) - q|^2 + commit_weight |a - sg(q)|^2, q_j the value of unit j's own list nearest to a_j.

    Hsu et al. 2023 (QLAE). The decoder takes q, and the gradient passes as if nothing had been rounded
    (straight-through). The lists have ten values each, at first evenly between -1/2 and 1/2, and a strong decay of all
    weights (AdamW) makes the networks take values to mean the same whatever the other units say.
    """

    quantise_weight: float | Tensor
    """Weight of the values' distance from what is rounded to them."""
    commit_weight: float | Tensor
    """Weight of the distance of what is rounded from the values."""

    def __call__(self, components: Quantised, noise: Tensor, step_number: StepNumber) -> Coded:  # noqa: ARG002
        values, nearest = components.values, components.nearest()
        quantise = (values.detach() - nearest).square().sum(1).mean()
        commit = (values - nearest.detach()).square().sum(1).mean()
        code = values + (nearest - values).detach()
        return code, self.quantise_weight * quantise + self.commit_weight * commit, {"rounding": commit}


def _build(
    vae: VAE, reconstruction: Reconstruction, *, learning_rate: float, weight_decay: float, **settings: Any
) -> Objective:
    objective = PointCodeObjective(vae, reconstruction, LatentQuantisation(**settings), learning_rate=learning_rate)
    objective.optimiser = torch.optim.AdamW(vae.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    return objective


LATENT_QUANTISATION = ObjectiveChoice(
    "autoencoder whose units take one of ten learned values each, under a strong weight decay (QLAE, Hsu et al. 2023)",
    {"quantise_weight": 0.01, "commit_weight": 0.01},
    _build,
    {"weight_decay": Setting(0.1, weight)},
    heads=("quantised",),
)
