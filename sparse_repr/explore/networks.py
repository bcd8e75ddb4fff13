"""Networks as lists of layers that `page/kernel.js` computes: what the explorer can run in a browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparse_repr.models import BurgessDecoder, BurgessEncoder, KeypointEncoder
from sparse_repr.models.burgess_resize import ResizeConvolution
from sparse_repr.models.heads import EASED_OPEN, THRESHOLD_SPEED
from sparse_repr.models.keypoints import ABSENT, KeypointDecoder
from sparse_repr.models.transposed_convolution import window_kernel

Layer: TypeAlias = dict[str, Any]
"""`op`, a name of the kernel, and what it needs: tensors and plain numbers."""


class UnknownNetworkError(ValueError):
    """A network that the kernel has no layers for."""


def encoder_layers(encoder: nn.Module) -> list[Layer]:
    """Layers from an image, as its preprocessing makes it, to the code.

    Raises:
        UnknownNetworkError: a network or a layer that is not known here; it is named.
    """
    return _layers_of(encoder, "encoder")


def decoder_layers(decoder: nn.Module) -> list[Layer]:
    """Layers from a code to the means of the pixels, in 0..1; errors as `encoder_layers`."""
    return [*_layers_of(decoder, "decoder"), {"op": "sigmoid"}]


def _layers_of(network: nn.Module, half: str) -> list[Layer]:
    find = NETWORKS.get(type(network))
    if find is None:
        known = ", ".join(sorted(kind.__name__ for kind in NETWORKS))
        raise UnknownNetworkError(
            f"the explorer cannot run the {half} {type(network).__name__} in a browser: it knows {known}; a network of "
            "your own needs an entry in sparse_repr.explore.networks.NETWORKS"
        )
    return find(network)


def layers_of_modules(modules: nn.Module) -> list[Layer]:
    """Layers of a module, or of those of an `nn.Sequential`, one by one.

    Raises:
        UnknownNetworkError: one of them is not known here; it is named.
    """
    if isinstance(modules, nn.Sequential):
        return [layer for module in modules for layer in layers_of_modules(module)]
    find = MODULES.get(type(modules))
    if find is None:
        known = ", ".join(sorted(kind.__name__ for kind in MODULES))
        raise UnknownNetworkError(
            f"the explorer cannot run a layer {type(modules).__name__} in a browser: it knows {known}"
        )
    return find(modules)


def _convolution(layer: nn.Conv2d) -> list[Layer]:
    plain = (layer.dilation, layer.groups, layer.padding_mode) == ((1, 1), 1, "zeros")
    if not plain or layer.stride[0] != layer.stride[1] or len(set(layer.padding)) > 1 or layer.bias is None:
        raise UnknownNetworkError(
            f"the explorer cannot run {layer} in a browser: it knows convolutions with one stride, one padding and a "
            "bias, without groups and dilation"
        )
    return [
        {
            "op": "conv",
            "weight": layer.weight,
            "bias": layer.bias,
            "stride": layer.stride[0],
            "padding": int(layer.padding[0]),
        }
    ]


def _doubling(weight: Tensor, bias: Tensor) -> list[Layer]:
    """A transposed convolution of 4 x 4, stride 2 and padding 1, as windows of 2 x 2 pixels."""
    windows = window_kernel(weight)
    bias = bias.repeat_interleave(4)
    return [
        {"op": "conv", "weight": windows, "bias": bias, "stride": 1, "padding": 1},
        {"op": "pixel_shuffle", "factor": 2, "crop": 1},
    ]


def _transposed(layer: nn.ConvTranspose2d) -> list[Layer]:
    usual = (layer.dilation, layer.output_padding, layer.groups) == ((1, 1), (0, 0), 1)
    if (layer.kernel_size, layer.stride, layer.padding) != ((4, 4), (2, 2), (1, 1)) or not usual or layer.bias is None:
        raise UnknownNetworkError(
            f"the explorer cannot run {layer} in a browser: of transposed convolutions it knows those of kernel 4, "
            "stride 2 and padding 1 with a bias, one group, no dilation and no output padding"
        )
    return _doubling(layer.weight, layer.bias)


def _linear(layer: nn.Linear) -> list[Layer]:
    bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias
    return [{"op": "linear", "weight": layer.weight, "bias": bias}]


MODULES: dict[type[nn.Module], Callable[[Any], list[Layer]]] = {
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _transposed,
    ResizeConvolution: lambda layer: _doubling(layer.doubling_kernel(), layer.bias),
    nn.Linear: _linear,
    nn.PixelShuffle: lambda layer: [{"op": "pixel_shuffle", "factor": layer.upscale_factor, "crop": 0}],
    nn.Flatten: lambda _: [],  # the kernel's dense layers take any shape
    nn.Identity: lambda _: [],
    nn.Unflatten: lambda layer: [{"op": "reshape", "shape": list(layer.unflattened_size)}],
    nn.ReLU: lambda _: [{"op": "relu"}],
    nn.LeakyReLU: lambda layer: [{"op": "leaky_relu", "slope": layer.negative_slope}],
    nn.ELU: lambda layer: [{"op": "elu", "alpha": layer.alpha}],
    nn.SiLU: lambda _: [{"op": "silu"}],
    nn.Tanh: lambda _: [{"op": "tanh"}],
    nn.Sigmoid: lambda _: [{"op": "sigmoid"}],
}
"""Module of torch -> its layers."""

HEADS: dict[str, Callable[[Any], list[Layer]]] = {
    "gaussian": lambda encoder: [{"op": "first", "count": encoder.code_size}],
    "shrinkage": lambda encoder: [
        {"op": "first", "count": encoder.code_size},
        {"op": "soft_threshold", "threshold": F.softplus(encoder.raw_threshold)},
    ],
    "spike_and_slab": lambda _: [{"op": "spike_and_slab"}],
    "top_k": lambda encoder: [{"op": "relu"}, {"op": "largest", "count": int(encoder.units), "binary": False}],
    "thresholded": lambda encoder: [
        {"op": "relu"},
        {"op": "threshold", "threshold": (THRESHOLD_SPEED * encoder.log_threshold).exp()},
    ],
    "rectified": lambda _: [{"op": "relu"}],
    "vaease": lambda _: [{"op": "ease", "open": EASED_OPEN}],
    "quantised": lambda encoder: [{"op": "quantise", "codebook": encoder.codebook}],
}
"""What an encoder ends in (`models.HEADS`) -> the layers that make the code of it."""


def _burgess(encoder: BurgessEncoder) -> list[Layer]:
    return [*layers_of_modules(encoder.features), *_linear(encoder.posterior), *HEADS[encoder.head](encoder)]


def _keypoint_encoder(encoder: KeypointEncoder) -> list[Layer]:
    return [
        {"op": "standardise", "mean": encoder.background, "scale": float(encoder.scale)},
        *layers_of_modules(encoder.features),
        {"op": "keypoints", "bias": encoder.presence_bias, "centres": encoder.centres},
    ]


def _keypoint_decoder(decoder: KeypointDecoder) -> list[Layer]:
    return [
        {"op": "blobs", "centres": decoder.centres, "absent": ABSENT, "looks": decoder.looks},
        *layers_of_modules(decoder.layers),
        {"op": "add", "values": decoder.background_logit},
    ]


NETWORKS: dict[type[nn.Module], Callable[[Any], list[Layer]]] = {
    BurgessEncoder: _burgess,
    BurgessDecoder: lambda decoder: layers_of_modules(decoder.layers),
    KeypointEncoder: _keypoint_encoder,
    KeypointDecoder: _keypoint_decoder,
}
"""Class of an encoder or a decoder -> its layers; every entry of `models.ARCHITECTURES` is made of these."""
