"""Objectives that train one encoder and one decoder with one optimiser."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from sparse_repr.models import VAE
from sparse_repr.objectives.base import Regulariser, SingleOptimiserObjective, StepNumber, in_precision_of, ramp
from sparse_repr.objectives.reconstruction import Reconstruction
from sparse_repr.objectives.regularisers import WeightedKL
from sparse_repr.objectives.sparsity import (
    SPARSITY_TARGETS,
    achieved_sparsity,
    shrink_weights,
    sparsity_penalty,
    weight_zeros,
)
from sparse_repr.objectives.terms import gaussian_log_density, kl_divergence, l1_penalty


class VariationalObjective(SingleOptimiserObjective):
    """Reconstruction + beta * KL + sparsity_weight * L1 of the posterior mean, in nats per image.

    With beta 1 and no penalty it is the VAE (Kingma and Welling 2013; the paper, Eq. 1); beta > 1 is the beta-VAE
    (Higgins et al. 2017; the paper, Eq. 2); a positive sparsity weight is the paper's sparse VAE (section 4). The paper
    gives neither the weight nor the exact place of its L1 penalty: here it is the posterior mean, by default weight 1,
    and `sparsity_target` names the other readings. Another `regulariser` takes the place of beta * KL.
    """

    def __init__(
        self,
        vae: VAE,
        reconstruction: Reconstruction,
        *,
        learning_rate: float,
        beta: float = 1.0,
        sparsity_weight: float = 0.0,
        sparsity_target: str = "mean",
        sparsity_warmup: int = 0,
        sparsity_proximal: bool = False,
        regulariser: Regulariser | None = None,
        report_sparsity: bool = False,
    ) -> None:
        """Own `vae` and an Adam optimiser for it.

        Args:
            vae: the networks.
            reconstruction: f(logits, images) -> (B,) nats.
            learning_rate: of Adam.
            beta: weight of the KL term; unused when `regulariser` is given.
            sparsity_weight: weight of the L1 penalty.
            sparsity_target: mean, output, sample or weights.
            sparsity_warmup: steps over which the weight of the penalty grows linearly from 0.
            sparsity_proximal: for the weights, take the penalty as a proximal step, which makes exact zeros.
            regulariser: what is minimised beside the reconstruction.
            report_sparsity: add the achieved sparsity to the terms.

        Raises:
            ValueError: unknown target, or a proximal step asked for another target than the weights.
        """
        if sparsity_target not in SPARSITY_TARGETS:
            raise ValueError(f"sparsity_target needs one of {', '.join(SPARSITY_TARGETS)}, got {sparsity_target!r}")
        if sparsity_proximal and sparsity_target != "weights":
            raise ValueError(
                f"sparsity_proximal needs sparsity_target 'weights', got {sparsity_target!r}: a proximal step needs "
                "parameters to act on; for exact zeros in the codes use the objective sparse_shrinkage"
            )
        super().__init__(
            vae,
            learning_rate=learning_rate,
            noise_size=vae.code_size,
            after_step=self._shrink if sparsity_proximal else None,
        )
        self.reconstruction = reconstruction
        self.regulariser = WeightedKL(beta) if regulariser is None else regulariser
        self.sparsity_weight: float | Tensor = sparsity_weight
        self.penalised = sparsity_weight > 0
        self.sparsity_target = sparsity_target
        self.sparsity_warmup = sparsity_warmup
        self.sparsity_proximal = sparsity_proximal
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
        if self.penalised:
            penalty = sparsity_penalty(self.sparsity_target, posterior, z, self.vae.encoder)
            if not self.sparsity_proximal:
                loss = loss + in_precision_of(penalty, self.current_sparsity_weight(step_number)) * penalty
            if self.sparsity_target != "mean":
                further = {**further, f"l1_{self.sparsity_target}": penalty}
        if self.report_sparsity:
            further = {**further, **achieved_sparsity(posterior.mean)}
            if self.sparsity_target == "weights":
                further["weight_zeros"] = weight_zeros(self.vae.encoder)
        terms = {"loss": loss, "reconstruction": reconstruction, "kl": kl, "l1": l1, **further}
        return loss, {name: term.detach() for name, term in terms.items()}

    def current_sparsity_weight(self, step_number: StepNumber) -> float | Tensor:
        """Weight of the L1 penalty at a step."""
        return self.sparsity_weight * ramp(step_number, self.sparsity_warmup)

    def _shrink(self, step_number: StepNumber) -> None:
        """The proximal step of the penalty on the weights."""
        # the rate of this very step, which a schedule may have changed
        rate = self.optimiser.param_groups[0]["lr"]
        shrink_weights(self.vae.encoder, rate * self.current_sparsity_weight(step_number))

    def with_weights(self, weights: Mapping[str, Tensor]) -> VariationalObjective:
        """The same networks under other weights of the terms, scalar tensors by name; those not named stay."""
        changed = copy.copy(self)
        others = dict(weights)
        if "sparsity_weight" in others:
            changed.sparsity_weight, changed.penalised = others.pop("sparsity_weight"), True
        if others:
            changed.regulariser = dataclasses.replace(self.regulariser, **others)  # type: ignore[type-var]
        return changed


class ImportanceWeightedObjective(SingleOptimiserObjective):
    """The importance-weighted bound L_k = E log (1/k) sum_i p(x, z_i) / q(z_i|x) (Burda et al. 2016, Eq. 8).

    Tighter than the evidence lower bound, which is k = 1 with a sampled KL term. The reconstruction must be a
    likelihood. Each image is decoded k times.
    """

    def __init__(
        self, vae: VAE, reconstruction: Reconstruction, *, learning_rate: float, importance_samples: int = 5
    ) -> None:
        """Own `vae` and an Adam optimiser for it; `importance_samples` is k."""
        super().__init__(vae, learning_rate=learning_rate, noise_size=importance_samples * vae.code_size)
        self.reconstruction = reconstruction
        self.importance_samples = importance_samples

    def loss(
        self,
        images: Tensor,
        noise: Tensor,
        autocast: torch.autocast,
        step_number: StepNumber = 0,  # noqa: ARG002
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The negative bound (scalar, with gradient) and its terms (scalars, detached)."""
        count, samples = len(images), self.importance_samples
        with autocast:
            posterior = self.vae.encoder(images)
            repeated = [part.repeat_interleave(samples, dim=0) for part in posterior]  # (B * k, D)
            z = repeated[0] + (0.5 * repeated[1]).exp() * noise.reshape(count * samples, -1)
            logits = self.vae.decoder(z)
        reconstruction = self.reconstruction(logits, images.repeat_interleave(samples, dim=0))  # (B * k,)
        log_prior = gaussian_log_density(z, torch.zeros_like(z), torch.zeros_like(z)).sum(1)
        log_posterior = gaussian_log_density(z, *repeated).sum(1)
        log_weights = (log_prior - log_posterior - reconstruction).reshape(count, samples)
        loss = (math.log(samples) - torch.logsumexp(log_weights, dim=1)).mean()
        terms = {
            "loss": loss,
            "reconstruction": reconstruction.mean(),
            "kl": kl_divergence(*posterior).sum(1).mean(),
            "l1": l1_penalty(posterior.mean).mean(),
        }
        return loss, {name: term.detach() for name, term in terms.items()}

    def with_weights(self, weights: Mapping[str, Tensor]) -> ImportanceWeightedObjective:
        """Itself: the bound has no weights."""
        if weights:
            raise ValueError(f"the importance-weighted bound has no weights, got {', '.join(weights)}")
        return self
