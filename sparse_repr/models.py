"""The networks: a convolutional encoder and its mirrored decoder (Burgess et al. 2018, appendix A)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sparse_repr.registry import lookup

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


class BurgessEncoder(nn.Module):
    """Image in 0..1 -> posterior: 4 (64x64) or 3 (32x32) convolutions of 32 channels 4x4 stride 2, two dense of 256."""

    def __init__(self, *, channels: int, size: int, code_size: int) -> None:
        super().__init__()
        _check_sizes(channels, size, code_size)
        layers: list[nn.Module] = []
        width = channels
        for _ in range(_CONVOLUTIONS[size]):
            layers += [nn.Conv2d(width, _CHANNELS, 4, stride=2, padding=1), nn.ReLU()]
            width = _CHANNELS
        layers += [nn.Flatten(), nn.Linear(_CHANNELS * 16, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.posterior = nn.Linear(_HIDDEN, 2 * code_size)

    def forward(self, images: Tensor) -> Posterior:
        """Images (B, C, S, S) in 0..1 -> posterior, float32 also under autocast."""
        features = self.features(images)  # (B, 256)
        mean, log_variance = self.posterior(features).float().chunk(2, dim=1)
        return Posterior(mean, log_variance)


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
        return self.layers(z).float()


class VAE(nn.Module):
    """An encoder and a decoder of one architecture; what is minimised lives in `objectives`."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Posterior, Tensor, Tensor]:
        """Images (B, C, S, S) in 0..1 and standard normal noise (B, D) -> posterior, z (B, D), logits (B, C, S, S)."""
        posterior = self.encoder(images)
        z = posterior.mean + (0.5 * posterior.log_variance).exp() * noise
        return posterior, z, self.decoder(z)


def _check_sizes(channels: int, size: int, code_size: int) -> None:
    if size not in _CONVOLUTIONS:
        raise ValueError(f"the Burgess network needs 64x64 or 32x32 images, got {size}x{size}: set --image-size")
    if channels not in (1, 3):
        raise ValueError(f"the Burgess network needs 1 or 3 channels, got {channels}")
    if code_size < 1:
        raise ValueError(f"code_size needs at least 1 unit, got {code_size}")


class Architecture(NamedTuple):
    """How to build the two halves of a network from `channels`, `size` and `code_size`."""

    encoder: Callable[..., nn.Module]
    decoder: Callable[..., nn.Module]


ARCHITECTURES: dict[str, Architecture] = {"burgess": Architecture(BurgessEncoder, BurgessDecoder)}


def build_encoder(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    """An encoder by its name in `ARCHITECTURES`; arguments are `channels`, `size` and `code_size`."""
    return lookup(ARCHITECTURES, architecture, "architecture").encoder(**arguments)


def build_vae(architecture: str, arguments: dict[str, Any], *, seed: int) -> VAE:
    """A VAE whose initial weights depend on `seed` alone; the global random state is left as it was."""
    network = lookup(ARCHITECTURES, architecture, "architecture")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VAE(network.encoder(**arguments), network.decoder(**arguments))
