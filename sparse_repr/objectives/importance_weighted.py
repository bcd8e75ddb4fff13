"""The importance-weighted autoencoder: a bound from several samples for each image (Burda et al. 2016)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from sparse_repr.command_line.bounds import require_whole
from sparse_repr.models import VAE
from sparse_repr.objectives.base import SingleOptimiserObjective, StepNumber, reported
from sparse_repr.objectives.entry import ObjectiveChoice, Setting
from sparse_repr.objectives.reconstruction import Reconstruction
from sparse_repr.objectives.terms import gaussian_log_density, kl_divergence, l1_penalty


class ImportanceWeightedObjective(SingleOptimiserObjective):
    """The importance-weighted bound L_k = E log (1/k) sum_i p(x, z_i) / q(z_i|x) (Burda et al. 2016, Eq. 8).

    Tighter than the evidence lower bound, which is k = 1 with a sampled KL term. The reconstruction must be a
    likelihood. Each image is decoded k times.
    """

    def __init__(
        self, vae: VAE, reconstruction: Reconstruction, *, learning_rate: float, importance_samples: int
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
            posterior = self.vae.encoder(self.vae.seen(images))
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
        return loss, reported(terms)

    def with_weights(self, weights: Mapping[str, Tensor]) -> ImportanceWeightedObjective:
        """Itself: the bound has no weights."""
        if weights:
            raise ValueError(f"the importance-weighted bound has no weights, got {', '.join(weights)}")
        return self


IWAE = ObjectiveChoice(
    "the importance-weighted bound (Burda et al. 2016; the paper's future work)",
    {},
    ImportanceWeightedObjective,
    {"importance_samples": Setting(5, partial(require_whole, least=1))},
    needs_likelihood=True,
)
