"""VAEase: a VAE whose decoder sees a unit the less, the nearer its posterior is to the prior."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from sparse_repr.models import VAE, Eased
from sparse_repr.objectives.base import SingleOptimiserObjective, StepNumber, reported
from sparse_repr.objectives.entry import ObjectiveChoice
from sparse_repr.objectives.reconstruction import Reconstruction
from sparse_repr.objectives.sparsity import achieved_sparsity
from sparse_repr.objectives.terms import kl_divergence, l1_penalty


class VAEaseObjective(SingleOptimiserObjective):
    """d / 2 log(E / d) + beta KL(N(mu, sigma^2) || N(0, 1)), with E the error of decoding (1 - sigma) (mu + sigma e).

    Lu, Zhu, He and Wipf 2025. log sigma^2 is at most 0, and a unit with sigma = 1 is exactly 0: off for that image, at
    no cost. The decoder's variance v is learned, d / 2 log v + E / (2 v) with E a sum of squared errors over d pixels.
    Here it is the one that suits the batch best, E / d, in closed form (Rybkin et al. 2021), so that no number beside
    the networks has to be learned. Deviation: a perceptual distance may take the place of the squared error, and the
    loss then is no density. A Bernoulli likelihood would not do: it has a large floor on grey pixels, by which E / d
    hardly falls, and the data would hardly count.
    """

    def __init__(self, vae: VAE, reconstruction: Reconstruction, *, learning_rate: float, beta: float) -> None:
        """Own `vae`, whose encoder has the head vaease, and an Adam optimiser for it.

        Args:
            vae: the networks.
            reconstruction: f(logits, images) -> (B,).
            learning_rate: of Adam.
            beta: weight of the KL term; 1 in the paper.
        """
        super().__init__(vae, learning_rate=learning_rate, noise_size=vae.code_size)
        self.reconstruction = reconstruction
        self.beta: float | Tensor = beta

    def loss(
        self,
        images: Tensor,
        noise: Tensor,
        autocast: torch.autocast,
        step_number: StepNumber = 0,  # noqa: ARG002
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss (scalar, with gradient) and its terms (scalars, detached), averaged over the batch."""
        with autocast:
            components: Eased = self.vae.encoder.components(self.vae.seen(images))
            logits = self.vae.decoder(components.sample(noise))
        error = self.reconstruction(logits, images).mean()
        kl = kl_divergence(components.mean, components.log_variance).sum(1).mean()
        pixels = logits[0].numel()
        variance = (error / pixels).clamp_min(_LEAST_VARIANCE)
        bound = pixels / 2 * (math.log(2 * math.pi) + variance.log() + 1)
        code = components.moments().mean
        terms = {
            "loss": bound + self.beta * kl,
            "reconstruction": error,
            "decoder_variance": variance,
            "kl": kl,
            "l1": l1_penalty(code).mean(),
            **achieved_sparsity(code),
        }
        return terms["loss"], reported(terms)

    def with_weights(self, weights: Mapping[str, Tensor]) -> VAEaseObjective:
        """The same networks under another weight of the KL term, a scalar tensor by its name "beta"."""
        changed = copy.copy(self)
        changed.beta = weights.get("beta", self.beta)
        return changed


_LEAST_VARIANCE = 1e-6

VAEASE = ObjectiveChoice(
    "VAE whose decoder takes (1 - sigma) z, so that a unit at its prior is exactly 0 (Lu et al. 2025)",
    {"beta": 1.0},
    VAEaseObjective,
    heads=("vaease",),
    reconstruction="gaussian",
    learns_variance=True,
    couples_images="the variance of its decoder is that of a batch",
)
