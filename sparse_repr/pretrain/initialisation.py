"""Initial weights that suit the data: pictures neither fade on their way through the layers nor start at grey."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparse_repr.data import FactorDataset
from sparse_repr.encoder.code_use import some_training_images
from sparse_repr.encoder.preprocessing import Preprocessing
from sparse_repr.models import VAE, Architecture
from sparse_repr.registry import lookup

INITIALISATIONS = ("default", "output_bias", "he")
_ITEMS = 1_000
_DARKEST = 1e-3


def require_initialisation(name: str, *, decodes: bool = True) -> None:
    """Check a name of `INITIALISATIONS`, for networks with a decoder or without.

    Raises:
        ValueError: an unknown name, with its close matches, or one that is about a decoder where there is none.
    """
    lookup(dict.fromkeys(INITIALISATIONS), name, "initialisation")
    if name == "output_bias" and not decodes:
        raise ValueError(
            "initialisation 'output_bias' needs an objective that decodes pictures: take 'default' or 'he'"
        )


def start(
    vae: VAE, architecture: Architecture, data: FactorDataset, preprocessing: Preprocessing, *, seed: int
) -> None:
    """Let an architecture that has its own way set the initial weights of a network, in place; others stay.

    Args:
        vae: the network, on the CPU.
        architecture: what it was built by.
        data: the training images, of which it sees 1,000 random ones (seed 0).
        preprocessing: images as the network takes them.
        seed: of the weights that are drawn.
    """
    if architecture.start is not None:
        images = some_training_images(data, preprocessing, "cpu", count=_ITEMS)
        architecture.start(vae, images, torch.Generator().manual_seed(seed))


def initialise(vae: VAE, name: str, data: FactorDataset, preprocessing: Preprocessing, *, seed: int) -> None:
    """Change the initial weights of a network in place.

    The mean and the mean square of the pixels are those of 1,000 random training images (seed 0).

    Args:
        vae: the network as torch initialised it, on the CPU.
        name: ``"default"`` leaves it; ``"output_bias"`` sets the bias of the last layer to the logit of the mean pixel
            of each channel, so that the first reconstruction is as bright as the data; ``"he"`` does so too and draws
            the weights before every ReLU with variance 2 / inputs (He et al. 2015, Eq. 10), the first layer's divided
            by the mean square of the pixels, their biases being 0.
        data: the training images.
        preprocessing: images as the network takes them.
        seed: of the weights that are drawn.

    Raises:
        ValueError: unknown name, or a network that is not made of layers as those of this package are.
    """
    require_initialisation(name)
    if name == "default":
        return
    last = list(getattr(vae.decoder, "layers", ()))[-1:]
    if not last or getattr(last[0], "bias", None) is None or (name == "he" and not hasattr(vae.encoder, "features")):
        raise ValueError(
            f"initialisation {name!r} needs a decoder whose `layers` end in one with a bias, and 'he' an encoder with "
            f"`features`; {type(vae.encoder).__name__} and {type(vae.decoder).__name__} are made otherwise: take "
            "'default' (--initialisation default), or let the architecture set its own start"
        )
    images = some_training_images(data, preprocessing, "cpu", count=_ITEMS)
    with torch.no_grad():
        if name == "he":
            _draw_layers(vae, images.square().mean().clamp(min=_DARKEST), torch.Generator().manual_seed(seed))
        mean = images.mean((0, 2, 3)).clamp(_DARKEST, 1 - _DARKEST)  # (C,)
        vae.decoder.layers[-1].bias.copy_(torch.logit(mean))


def _draw_layers(vae: VAE, mean_square: Tensor, generator: torch.Generator) -> None:
    layers = [
        *(layer for layer in vae.encoder.features if _inputs(layer)),
        *(layer for layer in vae.decoder.layers[:-1] if _inputs(layer)),
    ]
    for place, layer in enumerate(layers):
        square = mean_square if place == 0 else 1.0
        weights = torch.randn(layer.weight.shape, generator=generator)
        layer.weight.copy_(weights * (2 / (_inputs(layer) * square)) ** 0.5)
        layer.bias.zero_()


def _inputs(layer: nn.Module) -> int:
    """How many numbers are added up in each output of a layer; 0 where it has no weights."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
    if isinstance(layer, nn.ConvTranspose2d):
        # a stride of 2 leaves every output with a quarter of the kernel's taps
        taps = layer.kernel_size[0] * layer.kernel_size[1] // (layer.stride[0] * layer.stride[1])
        return layer.in_channels * taps
    return 0
