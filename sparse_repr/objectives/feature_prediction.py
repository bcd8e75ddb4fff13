"""Feature prediction: a small head predicts frozen features of an image from its code; no picture is decoded."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sparse_repr.command_line.bounds import require_whole
from sparse_repr.models import VAE
from sparse_repr.models.transposed_convolution import apply_layers
from sparse_repr.objectives.base import Objective, SingleOptimiserObjective, StepNumber, reported
from sparse_repr.objectives.entry import ObjectiveChoice, Setting
from sparse_repr.objectives.reconstruction import Reconstruction
from sparse_repr.objectives.sparsity import SPARSITY_OPTIONS, L1Penalty, achieved_sparsity, weight_zeros
from sparse_repr.objectives.terms import kl_divergence, l1_penalty
from sparse_repr.objectives.weighted_kl import KL_OPTIONS, WeightedKL, check_kl_options

_HIDDEN = 256
_CHANNELS = 32
_SMALLEST = 4


class Targets(Protocol):
    """Frozen features of images on a grid, normalised over the training images."""

    shape: tuple[int, int, int]
    """(C, G, G) of an image."""

    @property
    def pixel_variance(self) -> Tensor:
        """Sum over the pixels of their variance over the training images, scalar."""

    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, C, S, S) in 0..1 -> (B, *shape) of mean 0 and variance 1 in each channel; no gradient."""


class FeatureHead(nn.Module):
    """z -> features (B, C, G, G): two dense layers of 256, 32 channels at 4x4, doubled up to the grid, then C at once.

    Features without a place (G = 1) follow the dense layers. The weights before every ReLU are those of He et al. 2015.
    """

    def __init__(self, code_size: int, shape: tuple[int, int, int]) -> None:
        """Predict features of `shape` (C, G, G), G being 1 or 4 doubled any number of times."""
        super().__init__()
        channels, side, _ = shape
        layers: list[nn.Module] = [nn.Linear(code_size, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU()]
        if side == 1:
            layers += [nn.Linear(_HIDDEN, channels), nn.Unflatten(1, (channels, 1, 1))]
        else:
            layers += [nn.Linear(_HIDDEN, _CHANNELS * _SMALLEST**2), nn.ReLU()]
            layers.append(nn.Unflatten(1, (_CHANNELS, _SMALLEST, _SMALLEST)))
            for _ in range((side // _SMALLEST).bit_length() - 1):
                layers += [nn.ConvTranspose2d(_CHANNELS, _CHANNELS, 4, stride=2, padding=1), nn.ReLU()]
            layers.append(nn.Conv2d(_CHANNELS, channels, 1))
        self.layers = nn.Sequential(*layers)
        for layer in layers[:-2]:
            if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
                # a stride of 2 leaves every output with 4 of the 16 taps
                inputs = layer.in_features if isinstance(layer, nn.Linear) else 4 * layer.in_channels
                nn.init.normal_(layer.weight, std=(2 / inputs) ** 0.5)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, z: Tensor) -> Tensor:
        """z (B, D) -> (B, C, G, G), float32 also under autocast."""
        return apply_layers(self.layers, z).float()


class FeaturePredictionObjective(SingleOptimiserObjective):
    """feature_weight T mean (h(z) - t(x))^2 + beta KL + sparsity_weight L1 (Pihlgren, Sandin and Liwicki 2021).

    t are frozen features of the image, normalised; h is the head; the mean is over channels and places, so that it is
    the share of their variance that the code does not explain. T, the sum over the pixels of their variance, gives the
    term the size of the sum of squared errors whose place it takes, and beta and sparsity_weight their meaning.
    Deviations from the paper: features of VGG16, or of a denoising autoencoder, normalised channel by channel, where it
    has AlexNet's through a sigmoid; features averaged to a grid and a convolutional head where it has a dense one on
    all; the L1 penalty is this package's.
    """

    def __init__(
        self,
        vae: VAE,
        targets: Targets,
        regulariser: WeightedKL,
        penalty: L1Penalty,
        *,
        feature_weight: float | Tensor,
        learning_rate: float,
        seed: int,
    ) -> None:
        """Own the encoder of `vae`, a head and an Adam optimiser for both; the decoder is left out.

        Args:
            vae: the networks.
            targets: what the head predicts.
            regulariser: what is minimised beside the error.
            penalty: the L1 penalty, which may weigh nothing.
            feature_weight: weight of the error.
            learning_rate: of Adam.
            seed: of the head's weights.
        """
        device = next(vae.parameters()).device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = FeatureHead(vae.code_size, targets.shape)
        super().__init__(
            VAE(vae.encoder, None),
            learning_rate=learning_rate,
            noise_size=vae.code_size,
            after_step=self._shrink if penalty.sparsity_proximal else None,
            head=head.to(device).to(memory_format=torch.channels_last),
        )
        self.targets = targets
        self.regulariser = regulariser
        self.penalty = penalty
        self.feature_weight = feature_weight

    def loss(
        self, images: Tensor, noise: Tensor, autocast: torch.autocast, step_number: StepNumber = 0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss (scalar, with gradient) and its terms (scalars, detached), averaged over the batch."""
        assert self.head is not None
        wanted = self.targets(images)
        with autocast:
            posterior, z = self.vae.sample(images, noise)
            predicted = self.head(z)
        unexplained = (predicted - wanted).square().mean()
        kl = kl_divergence(*posterior).sum(1).mean()
        l1 = l1_penalty(posterior.mean).mean()
        value, further = self.regulariser(posterior, z, step_number)
        penalty, of_penalty = self.penalty(posterior, z, self.vae.encoder, step_number)
        loss = self.feature_weight * self.targets.pixel_variance * unexplained + value + penalty
        further = {**further, **of_penalty, **achieved_sparsity(posterior.mean)}
        if self.penalty.sparsity_target == "weights":
            further["weight_zeros"] = weight_zeros(self.vae.encoder)
        terms = {"loss": loss, "unexplained_features": unexplained, "kl": kl, "l1": l1, **further}
        return loss, reported(terms)

    def _shrink(self, step_number: StepNumber) -> None:
        # the rate of this very step, which a schedule may have changed
        self.penalty.shrink(self.vae.encoder, self.optimiser.param_groups[0]["lr"], step_number)

    def with_weights(self, weights: Mapping[str, Tensor]) -> FeaturePredictionObjective:
        """The same networks under other weights of the terms, scalar tensors by name; those not named stay."""
        changed = copy.copy(self)
        changed.feature_weight = weights.get("feature_weight", self.feature_weight)
        changed.regulariser = dataclasses.replace(self.regulariser, beta=weights.get("beta", self.regulariser.beta))
        weight = weights.get("sparsity_weight", self.penalty.sparsity_weight)
        changed.penalty = dataclasses.replace(self.penalty, sparsity_weight=weight)
        return changed


def _build(
    vae: VAE,
    reconstruction: Reconstruction,  # noqa: ARG001 (it has none)
    *,
    targets: Targets,
    learning_rate: float,
    seed: int,
    beta: float,
    beta_start: float,
    beta_steps: int,
    feature_weight: float,
    sparsity_weight: float,
    **options: Any,
) -> Objective:
    return FeaturePredictionObjective(
        vae,
        targets,
        WeightedKL(beta, beta_start, beta_steps),
        L1Penalty(sparsity_weight, **{name: options[name] for name in SPARSITY_OPTIONS}),
        feature_weight=feature_weight,
        learning_rate=learning_rate,
        seed=seed,
    )


def _check(*, beta_start: float, beta_steps: int, **options: Any) -> None:
    check_kl_options(beta_start=beta_start, beta_steps=beta_steps)
    L1Penalty(0.0, **{name: options[name] for name in SPARSITY_OPTIONS})


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{name} needs a name, got {value!r}")


FEATURE_PREDICTION = ObjectiveChoice(
    "a small head predicts features of VGG16 from the code, beside the KL term; no pictures are decoded (Pihlgren, "
    "Sandin and Liwicki 2021)",
    {"beta": 1.0, "sparsity_weight": 0.0, "feature_weight": 1.0},
    _build,
    {
        # which networks, layers and grids there are is known to `perceptual.targets`, which stands above this
        "feature_network": Setting("vgg16", _text),
        "feature_layer": Setting("relu2_2", _text),
        "feature_grid": Setting(8, partial(require_whole, least=1)),
        **KL_OPTIONS,
        **SPARSITY_OPTIONS,
    },
    check=_check,
    needs=("seed", "targets"),
    reconstructs=False,
    decodes=False,
)
