"""Networks of others that studies and benchmarks compare with ours: VGG16 of ImageNet, and a small ViT that learned
nothing. Their features become codes of D units by principal components of the frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchvision
from torch import nn

from sparse_repr import FrozenEncoder
from sparse_repr.data import FactorDataset
from sparse_repr.encoder import Preprocessing
from sparse_repr.encoder.backbones import backbone
from sparse_repr.perceptual.vgg_weights import load_vgg16
from sparse_repr.registry import lookup

_MOST_FRAMES = 4_000
_HALF = 0.5


def foreign_encoder(
    name: str, data: FactorDataset, *, code_size: int, seed: int, side: int | None = None
) -> FrozenEncoder:
    """An encoder of `FOREIGN` for frames of a task.

    Args:
        name: key of `FOREIGN`.
        data: frames; the components are those of at most 4,000 random ones.
        code_size: D.
        seed: of the weights, where they are random, and of which frames are taken.
        side: height and width at which the network sees the frames; by default their own.

    Raises:
        ValueError: an unknown name, with its close matches.
        FileNotFoundError: the weights of VGG16 are not there.
    """
    make = lookup(FOREIGN, name, "network of others")
    items = np.sort(np.random.default_rng(seed).permutation(len(data))[:_MOST_FRAMES])
    return make(data.images(items), code_size, seed, side)


def vgg16_features(images: Any, code_size: int | None, side: int | None = None) -> FrozenEncoder:
    """Features of VGG16's last convolution with the weights of ImageNet, averaged over the map."""
    channels, height, _ = images.shape[1:]
    found = backbone("torchvision:vgg16", source_size=(height, height), channels=channels, network_size=side or height)
    weights = {name: values for name, values in load_vgg16().items() if name.startswith("features")}
    # a grey image becomes three equal channels before the network
    network: Any = found.module if channels == 3 else found.module[1]  # type: ignore[index]
    network[0].load_state_dict(weights)
    return found.freeze(images, code_size=code_size)


def random_vit(images: Any, code_size: int | None, seed: int = 0, side: int | None = None) -> FrozenEncoder:
    """The class token of a ViT of 4 layers with random weights, on patches of an eighth of the image."""
    channels, height, _ = images.shape[1:]
    size = side or height
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torchvision.models.VisionTransformer(
            image_size=size, patch_size=size // 8, num_layers=4, num_heads=3, hidden_dim=192, mlp_dim=384
        )
        network.heads = nn.Identity()
        if channels != 3:
            network.conv_proj = nn.Conv2d(channels, 192, size // 8, stride=size // 8)
    return FrozenEncoder.from_module(
        network,
        preprocessing=Preprocessing(
            channels, (height, height), (size, size), mean=(_HALF,) * channels, std=(_HALF,) * channels
        ),
        example_images=images,
        name="ViT of 4 layers, width 192, 64 patches, random weights",
        code_size=code_size,
        about={"seed": seed},
    )


FOREIGN: dict[str, Callable[[Any, int | None, int, int | None], FrozenEncoder]] = {
    "vgg16_features": lambda images, code_size, _, side: vgg16_features(images, code_size, side),
    "random_vit": random_vit,
}
"""Name -> what makes it of uint8 images (N, C, S, S), D, a seed and the side at which they are seen."""
