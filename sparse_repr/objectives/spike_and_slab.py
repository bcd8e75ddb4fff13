"""Variational sparse coding: a posterior whose units are exactly 0 with a probability of their own (Tonolini 2019)."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from sparse_repr.models import VAE, SpikeAndSlab
from sparse_repr.objectives.base import SingleOptimiserObjective, StepNumber, reported
from sparse_repr.objectives.entry import ObjectiveChoice, Setting, number
from sparse_repr.objectives.reconstruction import Reconstruction
from sparse_repr.objectives.sparsity import achieved_sparsity
from sparse_repr.objectives.terms import kl_divergence, l1_penalty

_SHARPNESS = 50.0
_check_probability = number(0, 1)


def spike_and_slab_kl(components: SpikeAndSlab, *, slab_probability: float) -> Tensor:
    """KL divergence of each unit's spike-and-slab posterior from the spike-and-slab prior.

    gamma KL(N(mu, sigma^2) || N(0, 1)) + gamma log(gamma / alpha) + (1 - gamma) log((1 - gamma) / (1 - alpha)), with
    gamma = sigmoid(slab_logit) the probability of the slab and alpha that of the prior (Tonolini et al. 2019,
    for a fixed prior).

    Args:
        components: (B, D) each.
        slab_probability: alpha, between 0 and 1.

    Returns:
        (B, D) nats, at least 0.
    """
    gamma = torch.sigmoid(components.slab_logit)
    # logarithms of the sigmoid from the logit itself: gamma rounds to 0 or 1 long before they are infinite
    log_gamma, log_rest = F.logsigmoid(components.slab_logit), F.logsigmoid(-components.slab_logit)
    alpha = torch.full((), slab_probability, dtype=gamma.dtype, device=gamma.device)
    selection = gamma * (log_gamma - alpha.log()) + (1 - gamma) * (log_rest - torch.log1p(-alpha))
    return gamma * kl_divergence(components.mean, components.log_variance) + selection


def sample_spike_and_slab(components: SpikeAndSlab, normal: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """A relaxed sample, which has gradients, and the exact one (the reparameterisation of Tonolini et al. 2019).

    relaxed = T(eta - 1 + gamma) (mu + sigma epsilon), with T(y) = sigmoid(50 y) in place of the step function.

    Args:
        components: (B, D) each.
        normal: (B, D) epsilon.
        uniform: (B, D) eta in 0..1.

    Returns:
        Two (B, D): the relaxed sample, and the one with exact zeros (no gradient).
    """
    margin = uniform - 1 + torch.sigmoid(components.slab_logit)
    slab = components.mean + (0.5 * components.log_variance).exp() * normal
    return torch.sigmoid(_SHARPNESS * margin) * slab, slab.detach().masked_fill(~(margin > 0), 0.0)


class SpikeAndSlabObjective(SingleOptimiserObjective):
    """Reconstruction + beta * KL between spike-and-slab distributions (Tonolini et al. 2019).

    Deviations: the prior is the fixed one, without the pseudo-inputs and the warm-up of the paper. The code
    that the encoder exports is the posterior mean gamma * mu, as for every other objective; the exact zeros reported
    are those of the samples.
    """

    def __init__(
        self,
        vae: VAE,
        reconstruction: Reconstruction,
        *,
        learning_rate: float,
        beta: float,
        slab_probability: float,
    ) -> None:
        """Own `vae`, whose encoder has a spike-and-slab head, and an Adam optimiser for it.

        Args:
            vae: the networks.
            reconstruction: f(logits, images) -> (B,) nats.
            learning_rate: of Adam.
            beta: weight of the KL term.
            slab_probability: alpha, the prior probability that a unit is used.

        Raises:
            ValueError: a probability outside 0..1.
        """
        _check_probability("slab_probability", slab_probability)
        super().__init__(vae, learning_rate=learning_rate, noise_size=2 * vae.code_size)
        self.reconstruction = reconstruction
        self.beta: float | Tensor = beta
        self.slab_probability = slab_probability

    def loss(
        self,
        images: Tensor,
        noise: Tensor,
        autocast: torch.autocast,
        step_number: StepNumber = 0,  # noqa: ARG002
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss (scalar, with gradient) and its terms (scalars, detached), averaged over the batch."""
        normal, other = noise.chunk(2, dim=1)
        with autocast:
            components: SpikeAndSlab = self.vae.encoder.components(self.vae.seen(images))
            z, exact = sample_spike_and_slab(components, normal, torch.special.ndtr(other))
            logits = self.vae.decoder(z)
        reconstruction = self.reconstruction(logits, images).mean()
        kl = spike_and_slab_kl(components, slab_probability=self.slab_probability).sum(1).mean()
        loss = reconstruction + self.beta * kl
        code = components.moments().mean
        terms = {
            "loss": loss,
            "reconstruction": reconstruction,
            "kl": kl,
            "l1": l1_penalty(code).mean(),
            "slab_share": torch.sigmoid(components.slab_logit).mean(),
            **achieved_sparsity(exact),
        }
        return loss, reported(terms)

    def with_weights(self, weights: Mapping[str, Tensor]) -> SpikeAndSlabObjective:
        """The same networks under another weight of the KL term, a scalar tensor by its name "beta"."""
        changed = copy.copy(self)
        changed.beta = weights.get("beta", self.beta)
        return changed


SPIKE_AND_SLAB = ObjectiveChoice(
    "variational sparse coding, units are exactly 0 with a learned probability (Tonolini et al. 2019)",
    {"beta": 1.0},
    SpikeAndSlabObjective,
    {"slab_probability": Setting(0.2, _check_probability)},
    heads=("spike_and_slab",),
)
