"""The Burgess network: a convolutional encoder and its mirrored decoder (Burgess et al. 2018, appendix A)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from sparse_repr.models.heads import HEADS, Components, Posterior
from sparse_repr.models.transposed_convolution import apply_layers

_CHANNELS = 32
_HIDDEN = 256
# Network size -> number of stride-2 convolutions; each halves the picture down to 4x4.
_CONVOLUTIONS = {64: 4, 32: 3}


class BurgessEncoder(nn.Module):
    """Image in 0..1 -> posterior: 4 (64x64) or 3 (32x32) convolutions of 32 channels 4x4 stride 2, two dense of 256."""

    def __init__(self, *, channels: int, size: int, code_size: int, head: str = "gaussian") -> None:
        super().__init__()
        _check_sizes(channels, size, code_size)
        self.code_size = code_size
        self.head = head
        layers: list[nn.Module] = []
        width = channels
        for _ in range(_CONVOLUTIONS[size]):
            layers += [nn.Conv2d(width, _CHANNELS, 4, stride=2, padding=1), nn.ReLU()]
            width = _CHANNELS
        layers += [nn.Flatten(), nn.Linear(_CHANNELS * 16, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.posterior = nn.Linear(_HIDDEN, HEADS[head].outputs * code_size)
        self._own = HEADS[head].add_to(self, code_size)

    def components(self, images: Tensor) -> Components:
        """Images (B, C, S, S) in 0..1 -> the parameters of q(z|x), float32 also under autocast."""
        outputs = self.posterior(self.features(images)).float()  # (B, outputs * D)
        return HEADS[self.head].read(outputs, {name: getattr(self, name) for name in self._own})

    def forward(self, images: Tensor) -> Posterior:
        """Images (B, C, S, S) in 0..1 -> mean and log-variance of q(z|x), float32 also under autocast."""
        return self.components(images).moments()


_transposed = partial(nn.ConvTranspose2d, kernel_size=4, stride=2, padding=1)


class BurgessDecoder(nn.Module):
    """z -> logits of the pixels, the encoder mirrored."""

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        code_size: int,
        doubling: Callable[[int, int], nn.Module] = _transposed,
    ) -> None:
        """Build the layers; `doubling`, of input and output channels, is what doubles the size of a picture."""
        super().__init__()
        _check_sizes(channels, size, code_size)
        layers: list[nn.Module] = [nn.Linear(code_size, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU()]
        layers += [nn.Linear(_HIDDEN, _CHANNELS * 16), nn.ReLU(), nn.Unflatten(1, (_CHANNELS, 4, 4))]
        for _ in range(_CONVOLUTIONS[size] - 1):
            layers += [doubling(_CHANNELS, _CHANNELS), nn.ReLU()]
        layers.append(doubling(_CHANNELS, channels))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """z (B, D) -> logits (B, C, S, S), float32 also under autocast; the pixel means are their sigmoid."""
        return apply_layers(self.layers, z).float()


def _check_sizes(channels: int, size: int, code_size: int) -> None:
    if size not in _CONVOLUTIONS:
        raise ValueError(
            f"the Burgess network needs 64x64 or 32x32 images, got {size}x{size}: set image_size (--image-size)"
        )
    if channels not in (1, 3):
        raise ValueError(f"the Burgess network needs 1 or 3 channels, got {channels}")
    if code_size < 1:
        raise ValueError(f"code_size needs at least 1 unit, got {code_size}")
