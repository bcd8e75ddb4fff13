"""LPIPS: how alike two images look to a classification network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparse_repr.files import cache_folder
from sparse_repr.files.kinds import refuse_foreign
from sparse_repr.metrics.image_quality import image_pair

# Convolutions of VGG16 in each of its five stages; the features after each stage are compared.
_STAGES = (2, 2, 3, 3, 3)
# Their places among torchvision's layers.
_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
# The published per-channel standardisation of images in -1..1.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_SMALLEST = 16
_CHUNK = 32


def default_weights_path() -> Path:
    """Where `python -m sparse_repr.perceptual fetch` puts the weights."""
    return cache_folder() / "vgg16-v1.safetensors"


def lpips(images: Any, reconstructed: Any, weights_path: str | Path | None = None) -> float:
    """Learned perceptual image patch similarity, version 0.1 with VGG16, averaged over images.

    Zhang et al. 2018: sum over five stages of the mean over positions of sum_c w_c (y_c - y'_c)^2, with y the
    features normalised to length 1 over the channels.

    Args:
        images: (N, C, H, W), uint8 or floating-point numbers in 0..1, C = 1 or 3 (grey is repeated), H and W at
            least 16.
        reconstructed: (N, C, H, W), of the same kind.
        weights_path: safetensors with torchvision's names `features.{0, 2, 5 …}.weight` (O, I, 3, 3) and `.bias` (O,),
            and `lpips.{0..4}.weight` (1, C, 1, 1); None means `default_weights_path()`.

    Returns:
        At least 0; lower means more alike, 0 where nothing differs.

    Raises:
        FileNotFoundError: no weights; fetch them with `python -m sparse_repr.perceptual fetch`.
        TypeError: numbers of another kind, or one of uint8 and one not.
        ValueError: shapes differ or do not fit, NaN or values outside the range, or the file is not of this network.
    """
    tensor = torch.as_tensor(images)
    first, second, full = image_pair(tensor, reconstructed, None if tensor.dtype == torch.uint8 else 1.0)
    if first.shape[1] not in (1, 3) or min(first.shape[-2:]) < _SMALLEST:
        raise ValueError(
            f"lpips needs 1 or 3 channels and at least {_SMALLEST}x{_SMALLEST} pixels, got {tuple(first.shape[1:])}"
        )
    weights = _load_weights(Path(weights_path) if weights_path is not None else default_weights_path())
    weights = {name: tensor.to(first.device) for name, tensor in weights.items()}
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(first), _CHUNK):
            pair = [_features(tensor[start : start + _CHUNK] / full, weights) for tensor in (first, second)]
            for stage, (x, y) in enumerate(zip(*pair, strict=True)):
                weighted = (x - y).square() * weights[f"lpips.{stage}.weight"].view(1, -1, 1, 1)
                total += float(weighted.sum(1).mean((1, 2)).double().sum())
    return total / len(first)


def _load_weights(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise FileNotFoundError(f"no LPIPS weights at {path}: fetch them with python -m sparse_repr.perceptual fetch")
    refuse_foreign(path, "a safetensors file of VGG16 and the LPIPS heads")
    try:
        weights = {name: tensor.float() for name, tensor in load_file(path).items()}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file ({error})") from error
    needed = {f"features.{place}.{part}" for place in _PLACES for part in ("weight", "bias")}
    needed |= {f"lpips.{stage}.weight" for stage in range(len(_STAGES))}
    missing = sorted(needed - weights.keys())
    if missing:
        raise ValueError(f"{path} needs the VGG16 and LPIPS tensors, but lacks {', '.join(missing[:5])}")
    return weights


def _features(images: Tensor, weights: dict[str, Tensor]) -> list[Tensor]:
    """Features after each stage, of length 1 over the channels: (n, C, H, W) in 0..1 -> five (n, c, h, w)."""
    shift, scale = (images.new_tensor(values, dtype=torch.float32).view(1, 3, 1, 1) for values in (_SHIFT, _SCALE))
    activation = (2 * images.float() - 1 - shift) / scale  # grey is repeated by broadcasting
    features = []
    places = iter(_PLACES)
    for stage, convolutions in enumerate(_STAGES):
        if stage:
            activation = torch.nn.functional.max_pool2d(activation, 2)
        for _ in range(convolutions):
            place = next(places)
            weight, bias = weights[f"features.{place}.weight"], weights[f"features.{place}.bias"]
            activation = torch.relu(torch.nn.functional.conv2d(activation, weight, bias, padding=1))
        features.append(activation / (activation.square().sum(1, keepdim=True).sqrt() + 1e-10))
    return features
