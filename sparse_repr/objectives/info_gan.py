"""InfoGAN: a generator whose codes a Q network can read back; that network becomes the encoder (Chen et al. 2016)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparse_repr.models import VAE
from sparse_repr.objectives.base import minimise
from sparse_repr.objectives.sparsity import achieved_sparsity
from sparse_repr.objectives.terms import gaussian_log_density

_BETAS = (0.5, 0.999)


class InfoGANObjective:
    """min_(G,Q) max_D V(D, G) - lambda L_I(G, Q), with L_I = E log Q(c|G(c, n)) + H(c) (Chen et al. 2016, Eq. 5, 6).

    The code c has D independent units, uniform in -1..1. Q and the discriminator share all layers but the last
    (section 5), here the encoder's; Q's output is the encoder's Gaussian. The generator is the decoder, which also
    takes noise n through a layer of its own at its first activation: the same as one dense layer on (c, n), and the
    exported decoder is the generator at n = 0. Deviations: the Burgess networks, without batch normalisation, in
    place of the paper's; the generator's loss is the non-saturating one of Goodfellow et al. 2014, section 3.
    """

    batches = 1

    def __init__(
        self,
        vae: VAE,
        *,
        learning_rate: float,
        information_weight: float,
        discriminator_learning_rate: float = 2e-4,
        noise_units: int = 62,
        seed: int = 0,
    ) -> None:
        """Own `vae`, the last layer of the discriminator, the generator's noise layer and two Adam optimisers.

        Args:
            vae: encoder (Q and most of the discriminator) and decoder (the generator).
            learning_rate: of the generator.
            information_weight: lambda.
            discriminator_learning_rate: of the discriminator and Q.
            noise_units: size of n.
            seed: of the initial weights of the added layers.
        """
        device = next(vae.parameters()).device
        self.vae = vae
        self.information_weight = information_weight
        self.noise_units = noise_units
        self.noise_size = vae.code_size + noise_units
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.verdict = nn.Linear(vae.encoder.posterior.in_features, 1).to(device)
            self.noise_layer = nn.Linear(noise_units, vae.decoder.layers[0].out_features, bias=False).to(device)
        self.optimiser = torch.optim.Adam(
            [*vae.decoder.parameters(), *self.noise_layer.parameters()], lr=learning_rate, betas=_BETAS, fused=True
        )
        self.discriminator_optimiser = torch.optim.Adam(
            [*vae.encoder.parameters(), *self.verdict.parameters()],
            lr=discriminator_learning_rate,
            betas=_BETAS,
            fused=True,
        )

    def generate(self, codes: Tensor, noise: Tensor) -> Tensor:
        """Codes (B, D) in -1..1 and standard normal noise (B, noise_units) -> logits (B, C, S, S)."""
        first, *rest = self.vae.decoder.layers
        hidden = first(codes) + self.noise_layer(noise)
        for layer in rest:
            hidden = layer(hidden)
        return hidden.float()

    def step(self, images: Tensor, noise: Tensor, autocast: torch.autocast, step_number: int = 0) -> dict[str, Tensor]:  # noqa: ARG002
        """One step of the discriminator and Q, then one of the generator; see `Objective.step`.

        Both minimise -lambda L_I beside their own loss.
        """
        normal, free = noise.split([self.vae.code_size, self.noise_units], dim=1)
        codes = 2 * torch.special.ndtr(normal) - 1  # uniform in -1..1
        with autocast:
            generated = torch.sigmoid(self.generate(codes, free))
            real = self.verdict(self.vae.encoder.features(images)).float()
        fake, information, means = self._judge(generated.detach(), codes, autocast)
        discriminator_loss = F.softplus(-real).mean() + F.softplus(fake).mean()
        minimise(discriminator_loss - self.information_weight * information, self.discriminator_optimiser)

        self._discriminate(False)  # the gradient passes through to the generator alone
        fake_again, information_again, _ = self._judge(generated, codes, autocast)
        generator_loss = F.softplus(-fake_again).mean()
        loss = generator_loss - self.information_weight * information_again
        minimise(loss, self.optimiser)
        self._discriminate(True)
        terms = {
            "loss": loss,
            "information": information,
            "discriminator_loss": discriminator_loss,
            "generator_loss": generator_loss,
            "discriminator_accuracy": 0.5 * ((real > 0).float().mean() + (fake < 0).float().mean()),
            **achieved_sparsity(means),
        }
        return {name: term.detach() for name, term in terms.items()}

    def _judge(self, pictures: Tensor, codes: Tensor, autocast: torch.autocast) -> tuple[Tensor, Tensor, Tensor]:
        """The discriminator's logits (B, 1), the bound L_I in nats (scalar) and Q's means (B, D)."""
        with autocast:
            features = self.vae.encoder.features(pictures)
            verdict = self.verdict(features).float()
            mean, log_variance = self.vae.encoder.posterior(features).float().chunk(2, dim=1)
        # entropy of the uniform density 1/2 on -1..1: log 2 per unit
        entropy = self.vae.code_size * math.log(2)
        return verdict, gaussian_log_density(codes, mean, log_variance).sum(1).mean() + entropy, mean.detach()

    def _discriminate(self, learning: bool) -> None:
        self.vae.encoder.requires_grad_(learning)
        self.verdict.requires_grad_(learning)

    def state_dict(self) -> dict[str, Any]:
        return {
            "vae": self.vae.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "verdict": self.verdict.state_dict(),
            "noise_layer": self.noise_layer.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.vae.load_state_dict(state["vae"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.verdict.load_state_dict(state["verdict"])
        self.noise_layer.load_state_dict(state["noise_layer"])
        self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])
