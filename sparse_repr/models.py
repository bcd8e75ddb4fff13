"""The networks: a convolutional encoder and its mirrored decoder (Burgess et al. 2018, appendix A)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparse_repr.registry import lookup
from sparse_repr.transposed_convolution import apply_layers

_CHANNELS = 32
_HIDDEN = 256
# Network size -> number of stride-2 convolutions; each halves the picture down to 4x4.
_CONVOLUTIONS = {64: 4, 32: 3}


class Posterior(NamedTuple):
    """Diagonal Gaussian q(z|x), one row per image."""

    mean: Tensor
    """(B, D) float32."""
    log_variance: Tensor
    """(B, D) float32, log of sigma squared."""


def _burgess_features(channels: int, size: int) -> nn.Sequential:
    """Images (B, C, S, S) in 0..1 -> (B, 256)."""
    layers: list[nn.Module] = []
    width = channels
    for _ in range(_CONVOLUTIONS[size]):
        layers += [nn.Conv2d(width, _CHANNELS, 4, stride=2, padding=1), nn.ReLU()]
        width = _CHANNELS
    layers += [nn.Flatten(), nn.Linear(_CHANNELS * 16, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU()]
    return nn.Sequential(*layers)


class BurgessEncoder(nn.Module):
    """Image in 0..1 -> posterior: 4 (64x64) or 3 (32x32) convolutions of 32 channels 4x4 stride 2, two dense of 256."""

    def __init__(self, *, channels: int, size: int, code_size: int) -> None:
        super().__init__()
        _check_sizes(channels, size, code_size)
        self.code_size = code_size
        self.features = _burgess_features(channels, size)
        self.posterior = nn.Linear(_HIDDEN, 2 * code_size)

    def forward(self, images: Tensor) -> Posterior:
        """Images (B, C, S, S) in 0..1 -> posterior, float32 also under autocast."""
        features = self.features(images)  # (B, 256)
        mean, log_variance = self.posterior(features).float().chunk(2, dim=1)
        return Posterior(mean, log_variance)


class SpikeAndSlab(NamedTuple):
    """q(z|x) whose units are 0 with probability 1 - gamma, else Gaussian; one row per image."""

    mean: Tensor
    """(B, D) float32, mu of the slab."""
    log_variance: Tensor
    """(B, D) float32, log of sigma squared of the slab."""
    slab_logit: Tensor
    """(B, D) float32, logit of gamma, the probability of the slab."""

    def moments(self) -> Posterior:
        """Mean and log-variance of z itself: gamma mu, and gamma sigma^2 + gamma (1 - gamma) mu^2."""
        gamma = torch.sigmoid(self.slab_logit)
        rest = torch.sigmoid(-self.slab_logit)
        # the floor keeps the logarithm finite where gamma has rounded to 0
        variance = (gamma * (self.log_variance.exp() + rest * self.mean.square())).clamp_min(1e-30)
        return Posterior(gamma * self.mean, variance.log())


def soft_threshold(values: Tensor, threshold: Tensor) -> Tensor:
    """sign(v) max(|v| - threshold, 0): the proximal operator of threshold * |v| (Parikh and Boyd 2014, section 6.5.2).

    Args:
        values: any shape.
        threshold: at least 0, broadcast.

    Returns:
        Like `values`, exactly 0 where |v| <= threshold.
    """
    return values - torch.maximum(torch.minimum(values, threshold), -threshold)


class BurgessShrinkageEncoder(nn.Module):
    """The Burgess encoder whose mean passes a shrinkage unit: soft-thresholding with one learned threshold per unit.

    The codes hold exact zeros (Gregor and LeCun 2010, whose learned ISTA ends in the same function). Thresholds are
    softplus(raw) and start at 0.1. Deviation: the gradient passes the dead zone as if nothing had been cut off there;
    else a unit that is 0 for every image, as all are at the start, could never speak again.
    """

    def __init__(self, *, channels: int, size: int, code_size: int) -> None:
        super().__init__()
        _check_sizes(channels, size, code_size)
        self.code_size = code_size
        self.features = _burgess_features(channels, size)
        self.posterior = nn.Linear(_HIDDEN, 2 * code_size)
        self.raw_threshold = nn.Parameter(torch.full((code_size,), 0.1).expm1().log())

    def forward(self, images: Tensor) -> Posterior:
        """Images (B, C, S, S) in 0..1 -> posterior with exact zeros in the mean, float32 also under autocast."""
        mean, log_variance = self.posterior(self.features(images)).float().chunk(2, dim=1)
        shrunk = soft_threshold(mean.detach(), F.softplus(self.raw_threshold))
        return Posterior(shrunk + (mean - mean.detach()), log_variance)


class BurgessSpikeAndSlabEncoder(nn.Module):
    """The Burgess encoder with a third output per unit, the logit of the slab's probability (Tonolini et al. 2019)."""

    def __init__(self, *, channels: int, size: int, code_size: int) -> None:
        super().__init__()
        _check_sizes(channels, size, code_size)
        self.code_size = code_size
        self.features = _burgess_features(channels, size)
        self.posterior = nn.Linear(_HIDDEN, 3 * code_size)

    def components(self, images: Tensor) -> SpikeAndSlab:
        """Images (B, C, S, S) in 0..1 -> spike-and-slab posterior, float32 also under autocast."""
        return SpikeAndSlab(*self.posterior(self.features(images)).float().chunk(3, dim=1))

    def forward(self, images: Tensor) -> Posterior:
        """Images (B, C, S, S) in 0..1 -> the first two moments of the posterior, which is not a Gaussian."""
        return self.components(images).moments()


class BurgessDecoder(nn.Module):
    """z -> logits of the pixels, the encoder mirrored."""

    def __init__(self, *, channels: int, size: int, code_size: int) -> None:
        super().__init__()
        _check_sizes(channels, size, code_size)
        layers: list[nn.Module] = [nn.Linear(code_size, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU()]
        layers += [nn.Linear(_HIDDEN, _CHANNELS * 16), nn.ReLU(), nn.Unflatten(1, (_CHANNELS, 4, 4))]
        for _ in range(_CONVOLUTIONS[size] - 1):
            layers += [nn.ConvTranspose2d(_CHANNELS, _CHANNELS, 4, stride=2, padding=1), nn.ReLU()]
        layers.append(nn.ConvTranspose2d(_CHANNELS, channels, 4, stride=2, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """z (B, D) -> logits (B, C, S, S), float32 also under autocast; the pixel means are their sigmoid."""
        return apply_layers(self.layers, z).float()


class VAE(nn.Module):
    """An encoder and a decoder of one architecture; what is minimised lives in `objectives`."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        # Any: objectives call what their own head or layers offer beyond a plain module
        self.encoder: Any = encoder
        self.decoder: Any = decoder

    @property
    def code_size(self) -> int:
        """D, the number of units."""
        return int(self.encoder.code_size)

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Posterior, Tensor, Tensor]:
        """Images (B, C, S, S) in 0..1 and standard normal noise (B, D) -> posterior, z (B, D), logits (B, C, S, S)."""
        posterior = self.encoder(images)
        z = posterior.mean + (0.5 * posterior.log_variance).exp() * noise
        return posterior, z, self.decoder(z)


def _check_sizes(channels: int, size: int, code_size: int) -> None:
    if size not in _CONVOLUTIONS:
        raise ValueError(
            f"the Burgess network needs 64x64 or 32x32 images, got {size}x{size}: set image_size (--image-size)"
        )
    if channels not in (1, 3):
        raise ValueError(f"the Burgess network needs 1 or 3 channels, got {channels}")
    if code_size < 1:
        raise ValueError(f"code_size needs at least 1 unit, got {code_size}")


POSTERIOR_FAMILIES = ("gaussian", "spike_and_slab")


class Architecture(NamedTuple):
    """How to build the two halves of a network from `channels`, `size` and `code_size`."""

    encoder: Callable[..., nn.Module]
    decoder: Callable[..., nn.Module]
    head: str = "gaussian"
    """What the encoder ends in: gaussian, shrinkage (a Gaussian with exact zeros in its mean) or spike_and_slab."""

    @property
    def posterior(self) -> str:
        """Family of q(z|x): one of `POSTERIOR_FAMILIES`. Whether a mean was shrunk does not change its family."""
        return "spike_and_slab" if self.head == "spike_and_slab" else "gaussian"


ARCHITECTURES: dict[str, Architecture] = {
    "burgess": Architecture(BurgessEncoder, BurgessDecoder),
    "burgess_shrinkage": Architecture(BurgessShrinkageEncoder, BurgessDecoder, "shrinkage"),
    "burgess_spike_and_slab": Architecture(BurgessSpikeAndSlabEncoder, BurgessDecoder, "spike_and_slab"),
}


def build_encoder(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    """An encoder by its name in `ARCHITECTURES`; arguments are `channels`, `size` and `code_size`.

    Its weights are arbitrary and are meant to be replaced; the global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        return lookup(ARCHITECTURES, architecture, "architecture").encoder(**arguments)


def build_vae(architecture: str, arguments: dict[str, Any], *, seed: int) -> VAE:
    """A VAE whose initial weights depend on `seed` alone; the global random state is left as it was."""
    network = lookup(ARCHITECTURES, architecture, "architecture")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VAE(network.encoder(**arguments), network.decoder(**arguments))
