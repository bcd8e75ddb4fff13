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
    """P / D (quantise_weight |sg(a) - q|^2 + commit_weight |a - sg(q)|^2), q_j the value in unit j's list nearest a_j.

    Hsu et al. 2023 (QLAE). The decoder takes q, and the gradient passes as if nothing had been rounded (straight-
    through). The lists have ten values each, at first evenly between -1/2 and 1/2, and a strong decay of all weights
    (AdamW; not of biases and values, as in the authors' code) makes the networks take values to mean the same whatever
    the other units say. What decays, decays by learning rate times decay a step: over the authors' 200,000 steps at
    1e-3 that is e^-20, over 3,000 a quarter, so that short runs need more of it. Theirs are means over the D units
    beside a mean over the P numbers of a picture; the reconstruction here is their sum, so that the same weights count
    P times.
    """

    quantise_weight: float | Tensor
    """Weight of the values' mean squared distance from what is rounded to them, beside the mean error of a pixel."""
    commit_weight: float | Tensor
    """Weight of the mean squared distance of what is rounded from the values."""
    pixels: int
    """P, numbers of a picture: channels times height times width."""

    def __call__(self, components: Quantised, noise: Tensor, step_number: StepNumber) -> Coded:  # noqa: ARG002
        values, nearest = components.values, components.nearest()
        quantise = (values.detach() - nearest).square().mean()
        commit = (values - nearest.detach()).square().mean()
        code = values + (nearest - values).detach()
        added = self.pixels * (self.quantise_weight * quantise + self.commit_weight * commit)
        return code, added, {"rounding": values.shape[1] * commit}


def _build(
    vae: VAE, reconstruction: Reconstruction, *, learning_rate: float, weight_decay: float, **settings: Any
) -> Objective:
    with torch.no_grad():
        pixels = vae.decoder(next(vae.parameters()).new_zeros(1, vae.code_size)).numel()
    sparsifier = LatentQuantisation(**settings, pixels=pixels)
    objective = PointCodeObjective(vae, reconstruction, sparsifier, learning_rate=learning_rate)
    decays = {name: parameter.ndim > 1 and not name.endswith("codebook") for name, parameter in vae.named_parameters()}
    groups: list[dict[str, Any]] = [
        {"params": [parameter for name, parameter in vae.named_parameters() if decays[name]]},
        {"params": [parameter for name, parameter in vae.named_parameters() if not decays[name]], "weight_decay": 0.0},
    ]
    objective.optimiser = torch.optim.AdamW(groups, lr=learning_rate, weight_decay=weight_decay, fused=True)
    return objective


LATENT_QUANTISATION = ObjectiveChoice(
    "autoencoder whose units take one of ten learned values each, under a strong weight decay (QLAE, Hsu et al. 2023)",
    {"quantise_weight": 0.01, "commit_weight": 0.01},
    _build,
    {"weight_decay": Setting(0.1, weight)},
    heads=("quantised",),
)
