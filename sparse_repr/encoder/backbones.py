"""Networks of torchvision, timm and Hugging Face without their last layer, with their own preprocessing."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import Tensor, nn

from sparse_repr.artefact import load_into
from sparse_repr.encoder.frozen import FrozenEncoder
from sparse_repr.encoder.preprocessing import Preprocessing
from sparse_repr.registry import lookup

PRETRAINED = "pretrained"
_HEADS = ("fc", "heads", "head", "classifier")
# PIL's numbers, which Hugging Face configurations give
_RESAMPLING = {2: "bilinear", 3: "bicubic"}


class Backbone(NamedTuple):
    """A network that gives pooled features, and how its images are prepared."""

    module: nn.Module
    """Images (B, C, S, S) as the preprocessing makes them -> features (B, F)."""
    preprocessing: Preprocessing
    """Size, interpolation, mean and deviation of its own configuration."""
    name: str
    """LIBRARY:NAME."""

    def freeze(
        self,
        example_images: npt.NDArray[np.uint8] | Tensor,
        *,
        code_size: int | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> FrozenEncoder:
        """`FrozenEncoder.from_module` of it; arguments and errors stand there."""
        return FrozenEncoder.from_module(
            self.module,
            preprocessing=self.preprocessing,
            example_images=example_images,
            name=self.name,
            code_size=code_size,
            about=about,
        )


def backbone(
    name: str,
    *,
    source_size: tuple[int, int],
    weights: str | os.PathLike[str] | None = None,
    channels: int = 3,
    network_size: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Backbone:
    """A network by its name, such as ``"torchvision:resnet18"``, ``"timm:vit_small_patch14_dinov2"`` or
    ``"transformers:facebook/dinov2-small"``.

    The whole picture is resized to the network's size: the crop that classifiers are tested with would hide the border
    of a game. (`Preprocessing` has `crop_size` for those who want it.)

    Args:
        name: LIBRARY:NAME, one of `BACKBONES` and the name that the library has for it; for transformers also a folder.
        source_size: (H, W) of the images that it will be given.
        weights: None for random ones; ``"pretrained"`` for those that the library downloads; or a ``.safetensors`` file
            of the library's own names.
        channels: 3; or 1 for grey images, which are given to the network as three equal channels.
        network_size: height and width of the network's input; None takes that of its configuration. Convolutional
            networks take smaller ones too, at a lower cost.
        seed: of random weights; the global random state is left as it was.
        **options: for the library's constructor; `pooling` (``"cls"`` or ``"mean"``, transformers only): what stands
            for all tokens.

    Raises:
        ImportError: timm or transformers is not installed.
        ValueError: an unknown library or name, weights of another network, or a preprocessing that is not known here.
    """
    library, colon, own_name = name.partition(":")
    if not colon or not own_name:
        raise ValueError(f"backbone needs LIBRARY:NAME with a library of {', '.join(BACKBONES)}, got {name!r}")
    build = lookup(BACKBONES, library, "library of networks")
    if channels not in (1, 3):
        raise ValueError(f"backbone needs 1 or 3 channels, got {channels}")
    file = None if weights in (None, PRETRAINED) else Path(weights or "")
    if file is not None and file.suffix != ".safetensors":
        raise ValueError(
            f'backbone: weights needs "pretrained" or a .safetensors file, got {file}: other formats can run code when '
            "they are read"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found = build(own_name, weights == PRETRAINED, options)
    if file is not None:
        load_into(found.network, safetensors.torch.load_file(file), str(file))
    module = nn.Sequential(found.network, found.pooling)
    mean, std = tuple(map(float, found.mean)), tuple(map(float, found.std))
    if channels == 1:
        module = nn.Sequential(_GreyAsColour(mean, std), module)
    side = network_size or found.size
    preprocessing = Preprocessing(
        channels,
        source_size,
        (side, side),
        resize=f"{found.interpolation}-antialias",
        mean=mean if channels == 3 else None,
        std=std if channels == 3 else None,
    )
    return Backbone(module, preprocessing, name)


class _Found(NamedTuple):
    """What a library says of a network."""

    network: nn.Module
    pooling: nn.Module
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str


class _GreyAsColour(nn.Module):
    """Grey images (B, 1, S, S) in 0..1 -> the same as three normalised channels."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std  # (B, 1, S, S) -> (B, 3, S, S)


class _Pooled(nn.Module):
    """Features as a library gives them -> (B, F): maps are averaged, of tokens one is taken, or their mean."""

    def __init__(self, pooling: str = "cls") -> None:
        super().__init__()
        self._pooling = pooling

    def forward(self, features: Any) -> Tensor:
        found: Tensor = features if isinstance(features, Tensor) else features.last_hidden_state
        if found.ndim == 4:
            return found.mean((2, 3))
        if found.ndim == 3:
            return found[:, 0] if self._pooling == "cls" else found.mean(1)
        return found


def _torchvision(name: str, pretrained: bool, options: Mapping[str, Any]) -> _Found:
    import torchvision  # takes a second

    lookup(dict.fromkeys(torchvision.models.list_models(torchvision.models)), name, "network of torchvision")
    weights = torchvision.models.get_model_weights(name).DEFAULT
    network = torchvision.models.get_model(name, weights=weights if pretrained else None, **options)
    prepared = weights.transforms()
    classifier = getattr(network, "classifier", None)
    layers = classifier if isinstance(classifier, nn.Sequential) else nn.Sequential()
    pooled = hasattr(network, "avgpool") or any(isinstance(layer, nn.Conv2d) for layer in layers)
    if any(isinstance(layer, nn.LayerNorm) for layer in layers):
        layers[-1] = nn.Identity()  # of ConvNeXt the norm before the last layer belongs to the features
    elif hasattr(network, "features") and pooled and not hasattr(network, "head"):
        network = nn.Sequential(
            OrderedDict(features=network.features)
        )  # of VGG and mobile networks the dense layers belong to the classes
    else:
        for head in _HEADS:
            if hasattr(network, head):
                setattr(network, head, nn.Identity())
                break
        else:
            raise ValueError(
                f"backbone does not know the last layer of torchvision:{name}: use FrozenEncoder.from_module"
            )
    size = options.get("image_size", prepared.crop_size[0])
    return _Found(network, _Pooled(), size, prepared.mean, prepared.std, _known(prepared.interpolation.value, name))


def _timm(name: str, pretrained: bool, options: Mapping[str, Any]) -> _Found:
    try:
        import timm
    except ImportError as error:
        raise ImportError("backbone needs timm for this network: install sparse-repr[timm]") from error

    try:
        network = timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    except RuntimeError as error:
        raise ValueError(f"timm has no network {name!r}: {error}") from error
    own = timm.data.resolve_model_data_config(network)
    size = options.get("img_size", own["input_size"][1])
    return _Found(network, _Pooled(), size, own["mean"], own["std"], _known(own["interpolation"], name))


def _transformers(name: str, pretrained: bool, options: Mapping[str, Any]) -> _Found:
    try:
        import transformers
    except ImportError as error:
        raise ImportError("backbone needs transformers for this network: install sparse-repr[transformers]") from error

    others = dict(options)
    pooling = others.pop("pooling", "cls")
    lookup({"cls": None, "mean": None}, pooling, "pooling")
    if pretrained:  # a repository that offers a pickle alone is refused
        network = transformers.AutoModel.from_pretrained(name, use_safetensors=True, trust_remote_code=False, **others)
    else:
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False, **others)
        network = transformers.AutoModel.from_config(config, trust_remote_code=False)
    prepared = transformers.AutoImageProcessor.from_pretrained(name, trust_remote_code=False).to_dict()
    size = _side_of(prepared.get("crop_size") if prepared.get("do_center_crop") else prepared.get("size"), name)
    scale = 255 * prepared.get("rescale_factor", 1 / 255) if prepared.get("do_rescale", True) else 255.0
    normalised = prepared.get("do_normalize", True)
    # (scale * x - mean) / std, as (x - mean / scale) / (std / scale)
    mean = tuple(value / scale for value in (prepared["image_mean"] if normalised else (0.0,) * 3))
    std = tuple(value / scale for value in (prepared["image_std"] if normalised else (1.0,) * 3))
    return _Found(network, _Pooled(pooling), size, mean, std, _known(prepared.get("resample", 2), name))


def _side_of(size: Any, name: str) -> int:
    found = dict(size) if isinstance(size, Mapping) else {"height": size, "width": size}
    height, width = (found.get(key, found.get("shortest_edge")) for key in ("height", "width"))
    if not isinstance(height, int) or height != width:
        raise ValueError(
            f"backbone: {name} wants images of {size}, which are not square: use FrozenEncoder.from_module"
        )
    return height


def _known(interpolation: Any, name: str) -> str:
    found = _RESAMPLING.get(int(interpolation), "") if isinstance(interpolation, int) else str(interpolation)
    if found not in _RESAMPLING.values():
        raise ValueError(f"backbone: {name} resizes by {interpolation!r}; known are {', '.join(_RESAMPLING.values())}")
    return found


BACKBONES: dict[str, Callable[[str, bool, Mapping[str, Any]], _Found]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "transformers": _transformers,
}
"""Library -> how one of its networks is built."""
