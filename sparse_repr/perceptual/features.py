"""Frozen networks whose features are compared: the activations of VGG16 at chosen layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from sparse_repr.perceptual.vgg_weights import CONVOLUTIONS
from sparse_repr.registry import lookup

PERCEPTUAL_FEATURES = ("vgg16", "dae")
"""Networks whose features are compared or predicted."""
VGG_LAYERS = {"relu1_2": 3, "relu2_2": 8, "relu3_3": 15, "relu4_3": 22}
"""Layer -> its place in torchvision's `vgg16().features` (the layers of Johnson et al. 2016)."""
SHALLOW_LAYERS = "relu1_2,relu2_2"
"""What is compared from coarse to fine: deeper layers cost more, and say less of where things are."""
_POOLS = (4, 9, 16, 23)
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
# Activations of 16 pictures of 64x64 stay near a CPU's cache and within the blocks that malloc keeps: a whole batch at
# once took 1.6 times as long here, half of it in fetching fresh memory.
_PIXELS_AT_ONCE = 16 * 64 * 64


class Features(Protocol):
    """A frozen network that turns pictures into features, each picture by itself."""

    pixels_at_once: int | None
    """Pixels of a part of a batch (pictures x height x width) that is fastest; None for the whole batch."""

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Images (B, C, H, W) in 0..1 -> features (B, ...) of every chosen layer, with gradient to images."""


def parse_layers(names: str) -> tuple[str, ...]:
    """Comma-separated names of `VGG_LAYERS`, shallowest first.

    Raises:
        ValueError: an unknown name, or none.
    """
    layers = tuple(name.strip() for name in names.split(",") if name.strip())
    for name in layers:
        lookup(VGG_LAYERS, name, "perceptual layer")
    if not layers:
        raise ValueError(f"perceptual_layers needs at least one of {', '.join(VGG_LAYERS)}, got {names!r}")
    return tuple(sorted(set(layers), key=lambda name: VGG_LAYERS[name]))


class VGGFeatures:
    """Activations of VGG16 at chosen layers; the network ends at the deepest of them.

    Grey images are repeated to three channels; ImageNet's mean and standard deviation are taken off. The weights are
    frozen; in bf16 they, the activations and the features that come back are held in it.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        layers: Sequence[str],
        *,
        device: torch.device | str = "cpu",
        precision: str = "float32",
    ) -> None:
        """Build the network.

        Args:
            weights: by torchvision's names, see `vgg_weights.load_vgg16`.
            layers: names of `VGG_LAYERS`.
            device: where it computes.
            precision: ``"float32"`` or ``"bf16"``.
        """
        self.layers = tuple(layers)
        self._places = [lookup(VGG_LAYERS, name, "perceptual layer") for name in layers]
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.pixels_at_once = _PIXELS_AT_ONCE if torch.device(device).type == "cpu" else None
        modules: list[nn.Module] = []
        width = 3
        for place in range(max(self._places) + 1):
            if place in CONVOLUTIONS:
                modules.append(nn.utils.skip_init(nn.Conv2d, width, CONVOLUTIONS[place], 3, padding=1))
                width = CONVOLUTIONS[place]
            else:
                modules.append(nn.MaxPool2d(2) if place in _POOLS else nn.ReLU(inplace=True))
        network = nn.Sequential(*modules)
        wanted = network.state_dict()
        network.load_state_dict({name: weights[f"features.{name}"] for name in wanted})
        network = network.to(device, self._dtype).to(memory_format=torch.channels_last)
        self.network = network.eval().requires_grad_(False)
        self._mean = torch.tensor(_MEAN, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(_STD, device=device).view(1, 3, 1, 1)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Images (B, 1 or 3, H, W) in 0..1, H and W at least 8 -> one (B, C_j, H_j, W_j) per layer."""
        if images.shape[1] not in (1, 3):
            raise ValueError(f"VGG16 needs images of 1 or 3 channels, got {images.shape[1]}")
        hidden = (images.expand(-1, 3, -1, -1) - self._mean) / self._std
        hidden = hidden.to(self._dtype).contiguous(memory_format=torch.channels_last)
        found = []
        for place, module in enumerate(self.network):
            hidden = module(hidden)
            if place in self._places:
                found.append(hidden)
        return found
