"""FactorVAE: a discriminator tells codes from codes whose units were permuted (Kim and Mnih 2018)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparse_repr.models import VAE
from sparse_repr.objectives.base import StepNumber, minimise, reported
from sparse_repr.objectives.entry import ObjectiveChoice, Setting, number, one_of
from sparse_repr.objectives.reconstruction import Reconstruction
from sparse_repr.objectives.terms import kl_divergence, l1_penalty
from sparse_repr.objectives.total_correlation import permute_units

DISCRIMINATOR_BATCHES = {"second": 2, "split": 1}
"""Where the permuted codes come from: a second batch (Algorithm 2), or the other half of one batch."""
_check_batch = one_of(DISCRIMINATOR_BATCHES)
_LAYERS = 6
_WIDTH = 1000


def build_code_discriminator(code_size: int, *, seed: int) -> nn.Sequential:
    """6 dense layers of 1000 leaky ReLUs (slope 0.2) and 2 logits (Kim and Mnih 2018, appendix A).

    Codes (B, D) -> (B, 2): logits of "as encoded" and "permuted". The global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        width = code_size
        for _ in range(_LAYERS):
            layers += [nn.Linear(width, _WIDTH), nn.LeakyReLU(0.2)]
            width = _WIDTH
        return nn.Sequential(*layers, nn.Linear(_WIDTH, 2))


class FactorVAEObjective:
    """Reconstruction + KL + gamma * total correlation, the latter from a discriminator (Kim and Mnih 2018, Eq. 2).

    TC = E_q(z)[log D(z) / (1 - D(z))] by the density-ratio trick: the difference of the discriminator's two logits.
    Both networks take one step per call, the VAE first (Algorithm 2). The images of a step are halved: the first half
    trains the VAE, the second is encoded without gradient and permuted.
    """

    def __init__(
        self,
        vae: VAE,
        reconstruction: Reconstruction,
        *,
        learning_rate: float,
        total_correlation_weight: float,
        discriminator_learning_rate: float,
        discriminator_batch: str,
        seed: int,
    ) -> None:
        """Own `vae`, a discriminator and an Adam optimiser for each.

        Args:
            vae: the networks.
            reconstruction: f(logits, images) -> (B,) nats.
            learning_rate: of the VAE.
            total_correlation_weight: gamma.
            discriminator_learning_rate: of the discriminator, with Adam's betas 0.5 and 0.9 (appendix A).
            discriminator_batch: ``"second"`` (a batch of its own) or ``"split"`` (half of one batch, half the cost).
            seed: of the discriminator's initial weights.

        Raises:
            ValueError: unknown `discriminator_batch`.
        """
        _check_batch("discriminator_batch", discriminator_batch)
        self.vae = vae
        self.reconstruction = reconstruction
        self.total_correlation_weight = total_correlation_weight
        self.batches = DISCRIMINATOR_BATCHES[discriminator_batch]
        self.noise_size = 2 * vae.code_size
        self.discriminator = build_code_discriminator(vae.code_size, seed=seed).to(next(vae.parameters()).device)
        self.optimiser = torch.optim.Adam(vae.parameters(), lr=learning_rate, fused=True)
        self.discriminator_optimiser = torch.optim.Adam(
            self.discriminator.parameters(), lr=discriminator_learning_rate, betas=(0.5, 0.9), fused=True
        )

    @property
    def optimisers(self) -> Sequence[torch.optim.Optimizer]:
        """Of the VAE and of the discriminator."""
        return self.optimiser, self.discriminator_optimiser

    def step(
        self,
        images: Tensor,
        noise: Tensor,
        autocast: torch.autocast,
        step_number: StepNumber = 0,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        half = len(images) // 2
        if half < 2:
            raise ValueError(f"FactorVAE needs at least 4 images per step to halve and permute, got {len(images)}")
        sampling, keys = noise.chunk(2, dim=1)  # (2 * half, D) each
        self.discriminator.requires_grad_(False)  # its 5 million gradients are not needed in the VAE's step
        with autocast:
            posterior, z, logits = self.vae(images[:half], sampling[:half])
            scores = self.discriminator(z).float()
        reconstruction = self.reconstruction(logits, images[:half]).mean()
        kl = kl_divergence(*posterior).sum(1).mean()
        total_correlation = (scores[:, 0] - scores[:, 1]).mean()
        loss = reconstruction + kl + self.total_correlation_weight * total_correlation
        minimise(loss, self.optimiser)
        self.discriminator.requires_grad_(True)

        with autocast:
            with torch.no_grad():
                other = self.vae.encoder(images[half : 2 * half])
                others = other.mean + (0.5 * other.log_variance).exp() * sampling[half : 2 * half]
                permuted = permute_units(others, keys[half : 2 * half])
            # the codes of before the VAE's step, as in Algorithm 2; no gradient reaches the encoder
            scores = self.discriminator(torch.cat([z.detach(), permuted])).float()
        truth = torch.arange(2, device=scores.device).repeat_interleave(half)
        discriminator_loss = F.cross_entropy(scores, truth)
        minimise(discriminator_loss, self.discriminator_optimiser)
        terms = {
            "loss": loss,
            "reconstruction": reconstruction,
            "kl": kl,
            "l1": l1_penalty(posterior.mean).mean(),
            "total_correlation": total_correlation,
            "discriminator_loss": discriminator_loss,
            "discriminator_accuracy": (scores.argmax(1) == truth).float().mean(),
        }
        return reported(terms)

    def state_dict(self) -> dict[str, Any]:
        return {
            "vae": self.vae.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.vae.load_state_dict(state["vae"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])


FACTOR_VAE = ObjectiveChoice(
    "total correlation penalised through a discriminator (Kim and Mnih 2018)",
    {"total_correlation_weight": 6.4},
    FactorVAEObjective,
    {
        "discriminator_learning_rate": Setting(1e-4, number(0, math.inf)),
        "discriminator_batch": Setting("second", _check_batch),
    },
    needs=("seed",),
    smallest_batch=4,
    discriminates=True,
    couples_images="it permutes the codes of a batch",
)
