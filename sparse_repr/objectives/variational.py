"""The objective that most others are a form of: one encoder, one decoder, one optimiser."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from sparse_repr.models import VAE
from sparse_repr.objectives.base import Objective, Regulariser, SingleOptimiserObjective, StepNumber, reported
from sparse_repr.objectives.reconstruction import Reconstruction
from sparse_repr.objectives.sparsity import L1Penalty, achieved_sparsity, weight_zeros
from sparse_repr.objectives.terms import kl_divergence, l1_penalty


class VariationalObjective(SingleOptimiserObjective):
    """Reconstruction + regulariser + penalty, in nats per image.

    With beta * KL as the regulariser and no penalty it is the VAE (Kingma and Welling 2013) or the beta-VAE (Higgins et
    al. 2017); with an L1 penalty it is the paper's sparse VAE (section 4).
    """

    def __init__(
        self,
        vae: VAE,
        reconstruction: Reconstruction,
        regulariser: Regulariser,
        penalty: L1Penalty | None = None,
        *,
        learning_rate: float,
        report_sparsity: bool = False,
    ) -> None:
        """Own `vae` and an Adam optimiser for it.

        Args:
            vae: the networks.
            reconstruction: f(logits, images) -> (B,) nats.
            regulariser: what is minimised beside the reconstruction.
            penalty: what else is.
            learning_rate: of Adam.
            report_sparsity: add the achieved sparsity to the terms.
        """
        proximal = penalty is not None and penalty.sparsity_proximal
        super().__init__(
            vae,
            learning_rate=learning_rate,
            noise_size=vae.code_size,
            after_step=self._shrink if proximal else None,
        )
        self.reconstruction = reconstruction
        self.regulariser = regulariser
        self.penalty = penalty
        self.report_sparsity = report_sparsity

    def loss(
        self, images: Tensor, noise: Tensor, autocast: torch.autocast, step_number: StepNumber = 0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss (scalar, with gradient) and its terms (scalars, detached), averaged over the batch."""
        with autocast:
            posterior, z, logits = self.vae(images, noise)
        # outside autocast: sums over thousands of pixels in bfloat16 would lose the last three digits
        reconstruction = self.reconstruction(logits, images).mean()
        kl = kl_divergence(*posterior).sum(1).mean()
        l1 = l1_penalty(posterior.mean).mean()
        value, further = self.regulariser(posterior, z, step_number)
        loss = reconstruction + value
        if self.penalty is not None:
            penalty, of_penalty = self.penalty(posterior, z, self.vae.encoder, step_number)
            loss, further = loss + penalty, {**further, **of_penalty}
        if self.report_sparsity:
            further = {**further, **achieved_sparsity(posterior.mean)}
            if self.penalty is not None and self.penalty.sparsity_target == "weights":
                further["weight_zeros"] = weight_zeros(self.vae.encoder)
        terms = {"loss": loss, "reconstruction": reconstruction, "kl": kl, "l1": l1, **further}
        return loss, reported(terms)

    def _shrink(self, step_number: StepNumber) -> None:
        assert self.penalty is not None
        # the rate of this very step, which a schedule may have changed
        self.penalty.shrink(self.vae.encoder, self.optimiser.param_groups[0]["lr"], step_number)

    def with_weights(self, weights: Mapping[str, Tensor]) -> VariationalObjective:
        """The same networks under other weights of the terms, scalar tensors by name; those not named stay."""
        changed = copy.copy(self)
        others = dict(weights)
        if self.penalty is not None and "sparsity_weight" in others:
            changed.penalty = dataclasses.replace(self.penalty, sparsity_weight=others.pop("sparsity_weight"))
        if others:
            changed.regulariser = dataclasses.replace(self.regulariser, **others)  # type: ignore[type-var]
        return changed


def variational(regulariser: Callable[..., Regulariser], *, report_sparsity: bool = False) -> Callable[..., Objective]:
    """How a `VariationalObjective` is built whose weights and options are all its regulariser's.

    Args:
        regulariser: of the weights and options.
        report_sparsity: add the achieved sparsity to the terms.

    Returns:
        What `ObjectiveChoice.build` is.
    """

    def build(vae: VAE, reconstruction: Reconstruction, *, learning_rate: float, **settings: Any) -> Objective:
        return VariationalObjective(
            vae,
            reconstruction,
            regulariser(**settings),
            learning_rate=learning_rate,
            report_sparsity=report_sparsity,
        )

    return build
