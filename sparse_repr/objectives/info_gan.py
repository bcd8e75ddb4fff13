"""InfoGAN: a generator whose codes a Q network can read back; that network becomes the encoder (Chen et al. 2016)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from sparse_repr.command_line.bounds import require_whole
from sparse_repr.models import VAE
from sparse_repr.objectives.base import Objective, StepNumber, minimise, reported
from sparse_repr.objectives.entry import ObjectiveChoice, Setting, number
from sparse_repr.objectives.generator import Generator
from sparse_repr.objectives.reconstruction import Reconstruction
from sparse_repr.objectives.sparsity import achieved_sparsity
from sparse_repr.objectives.terms import gaussian_log_density

_BETAS = (0.5, 0.999)
_SLOPE = 0.1


def build_picture_discriminator(encoder: Any) -> nn.Sequential:
    """A discriminator of the shape of `encoder`'s features, its weights spectrally normalised (Miyato et al. 2018).

    Pictures (B, C, S, S) in 0..1 -> (B, 1): logit of "real". The convolutions and the first dense layer of a
    `BurgessEncoder` with leaky ReLUs (slope 0.1), then one logit. Its weights are new, drawn from the global state.
    """
    layers: list[nn.Module] = []
    for layer in encoder.features:
        if isinstance(layer, nn.Conv2d):
            convolution = nn.Conv2d(layer.in_channels, layer.out_channels, 4, stride=2, padding=1)
            layers += [spectral_norm(convolution), nn.LeakyReLU(_SLOPE)]
        elif isinstance(layer, nn.Linear):
            dense = spectral_norm(nn.Linear(layer.in_features, layer.out_features))
            return nn.Sequential(
                *layers, nn.Flatten(), dense, nn.LeakyReLU(_SLOPE), spectral_norm(nn.Linear(layer.out_features, 1))
            )
    raise TypeError(f"the discriminator needs an encoder of convolutions and dense layers, got {encoder!r}")


class InfoGANObjective:
    """min_(G,Q) max_D V(D, G) - lambda L_I(G, Q), with L_I = E log Q(c|G(c, n)) + H(c) (Chen et al. 2016).

    V is the value of the GAN and L_I the variational lower bound of the mutual information between code and picture.
    The code c has D independent units, uniform in -1..1 like the noise n; Q is the encoder, a Gaussian around its
    mean. What is exported are plain networks: Q, and the generator at noise 0 with its normalisation folded into a
    decoder. Deviations: Q shares no layers with the discriminator, which is spectrally normalised as in InfoGAN-CR
    (Lin et al. 2020; without it the discriminator wins on dSprites) and whose learning rate is twice the generator's,
    likewise; Q learns its variance, which the authors' code fixes at 1, so that lambda counts for more the better a
    code is read, and is trained at the generator's rate; the Burgess networks take the place of the paper's; the
    generator's loss is the non-saturating one of Goodfellow et al. 2014.
    """

    batches = 1

    def __init__(
        self,
        vae: VAE,
        *,
        learning_rate: float,
        information_weight: float,
        discriminator_learning_rate: float,
        noise_units: int,
        seed: int,
    ) -> None:
        """Own `vae`, the generator, the discriminator and two Adam optimisers (betas 0.5 and 0.999).

        Args:
            vae: encoder (Q) and decoder (what the generator folds into).
            learning_rate: of the generator and Q.
            information_weight: lambda.
            discriminator_learning_rate: of the discriminator.
            noise_units: size of the noise n beside the code.
            seed: of the initial weights of the discriminator and the layers that the generator adds.
        """
        device = next(vae.parameters()).device
        self.vae = vae
        self.information_weight = information_weight
        self.noise_units = noise_units
        self.noise_size = vae.code_size + noise_units
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            generator = Generator(vae.decoder, noise_units)
            discriminator = build_picture_discriminator(vae.encoder)
        self.generator = generator.to(device).to(memory_format=torch.channels_last)
        self.discriminator = discriminator.to(device).to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.Adam(
            [*self.generator.parameters(), *vae.encoder.parameters()], lr=learning_rate, betas=_BETAS, fused=True
        )
        self.discriminator_optimiser = torch.optim.Adam(
            self.discriminator.parameters(), lr=discriminator_learning_rate, betas=_BETAS, fused=True
        )

    @property
    def optimisers(self) -> Sequence[torch.optim.Optimizer]:
        """Of the generator with Q and of the discriminator."""
        return self.optimiser, self.discriminator_optimiser

    def step(
        self,
        images: Tensor,
        noise: Tensor,
        autocast: torch.autocast,
        step_number: StepNumber = 0,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        """One step of the discriminator, then one of the generator and Q; see `Objective.step`."""
        if len(images) < 2:
            raise ValueError(f"InfoGAN needs at least 2 images per step to normalise over, got {len(images)}")
        uniform = 2 * torch.special.ndtr(noise) - 1  # in -1..1
        codes, free = uniform.split([self.vae.code_size, self.noise_units], dim=1)
        with autocast:
            generated = torch.sigmoid(self.generator(codes, free))
            verdicts = self.discriminator(torch.cat([images, generated.detach()])).float()
        real, fake = verdicts.chunk(2)
        discriminator_loss = F.softplus(-real).mean() + F.softplus(fake).mean()
        minimise(discriminator_loss, self.discriminator_optimiser)

        self.discriminator.requires_grad_(False)  # the gradient passes through to the generator alone
        with autocast:
            verdict = self.discriminator(generated).float()
            posterior = self.vae.encoder(generated)
        generator_loss = F.softplus(-verdict).mean()
        # the entropy of the uniform density 1/2 on -1..1 is log 2 per unit
        information = gaussian_log_density(codes, *posterior).sum(1).mean() + self.vae.code_size * math.log(2)
        loss = generator_loss - self.information_weight * information
        minimise(loss, self.optimiser)
        self.discriminator.requires_grad_(True)
        self.generator.fold_into(self.vae.decoder)
        terms = {
            "loss": loss,
            "information": information,
            "discriminator_loss": discriminator_loss,
            "generator_loss": generator_loss,
            "discriminator_accuracy": 0.5 * ((real > 0).float().mean() + (fake < 0).float().mean()),
            **achieved_sparsity(posterior.mean),
        }
        return reported(terms)

    def state_dict(self) -> dict[str, Any]:
        """Weights, running statistics and singular vectors, and the state of both optimisers."""
        return {
            "vae": self.vae.state_dict(),
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.vae.load_state_dict(state["vae"])
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])


def _build(vae: VAE, reconstruction: Reconstruction, **settings: Any) -> Objective:  # noqa: ARG001 (it has none)
    return InfoGANObjective(vae, **settings)


INFO_GAN = ObjectiveChoice(
    "a generator whose codes a Q network reads back, which becomes the encoder (Chen et al. 2016)",
    {"information_weight": 0.1},
    _build,
    {
        "discriminator_learning_rate": Setting(1e-3, number(0, math.inf)),
        "noise_units": Setting(5, partial(require_whole, least=1)),
    },
    needs=("seed",),
    heads=("gaussian",),
    reconstructs=False,
    standard_normal=False,
    smallest_batch=2,
    discriminates=True,
    couples_images="its two networks take turns on one batch",
)
