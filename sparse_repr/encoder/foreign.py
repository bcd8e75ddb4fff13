"""Networks of others as frozen encoders: any torch module that maps images to vectors."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sparse_repr.encoder.frozen import FrozenEncoder
from sparse_repr.encoder.preprocessing import Preprocessing
from sparse_repr.encoder.spec import EncoderSpec, UnitStatistics, package_version
from sparse_repr.encoder.tracing import trace
from sparse_repr.models import EXPORTED, posterior_of

_MOST_EXAMPLES = 10_000
_PROBED = 4
_SLAB = 64
# what codes of one image may differ by, as a share of the largest
_ROUNDING = 1e-5


def freeze_module(
    module: nn.Module,
    *,
    preprocessing: Preprocessing,
    example_images: npt.NDArray[np.uint8] | Tensor,
    name: str,
    code_size: int | None = None,
    about: Mapping[str, Any] | None = None,
) -> FrozenEncoder:
    """What `FrozenEncoder.from_module` does; arguments and errors stand there."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"from_module needs a torch module, got {type(module).__name__}")
    if not isinstance(name, str) or not name:
        raise ValueError(f"from_module: name needs a text that says what the network is, got {name!r}")
    height, width = preprocessing.network_size
    if height != width:
        raise ValueError(f"from_module needs a preprocessing with a square network_size, got {height}x{width}")
    examples = _examples(example_images, preprocessing)
    network = _in_eval_mode(module)
    size = _probe(network, preprocessing(examples[:_PROBED]), type(module).__name__)
    learned: dict[str, Any] = {}
    if code_size is not None:
        if not 1 <= code_size <= min(size, len(examples) - 1):
            raise ValueError(
                f"from_module: code_size needs 1 to {min(size, len(examples) - 1)} units, for {size} features and "
                f"{len(examples)} example images, got {code_size!r}"
            )
        projection, kept = _principal_components(_features(network, preprocessing, examples), code_size)
        network = nn.Sequential(network, projection).eval().requires_grad_(False)
        learned = {"features": size, "principal_components": code_size, "variance_kept": kept}
        size = code_size
    graph, weights = trace(network, preprocessing.channels, height)
    nothing = (0.0,) * size
    spec = EncoderSpec(
        architecture=EXPORTED,
        arguments={"channels": preprocessing.channels, "size": height, "code_size": size, "graph": graph},
        preprocessing=preprocessing,
        objective={
            "name": name,
            "steps": 0,
            "decodes": False,
            "module": _full_name(module),
            **learned,
            **(about or {}),
        },
        dataset={"name": "example images", "factor_names": []},
        units=UnitStatistics(nothing, nothing, nothing, (True,) * size),
        posterior=posterior_of(EXPORTED),
        package_version=package_version(),
    )
    encoder = FrozenEncoder(spec, weights, origin=name)
    _require_same(encoder, network, examples[:_PROBED])
    return FrozenEncoder(dataclasses.replace(spec, units=_statistics(encoder, examples)), weights, origin=name)


def _examples(images: Any, preprocessing: Preprocessing) -> Tensor:
    """At most 10,000 of them, at random (seed 0): uint8 (N, C, H, W)."""
    if isinstance(images, np.ndarray):
        found = images
    elif isinstance(images, Tensor):
        found = images.detach().cpu().numpy()
    else:
        raise TypeError(f"from_module: example_images needs an array of images, got {type(images).__name__}")
    if found.dtype != np.uint8 or found.ndim != 4 or len(found) < 2:
        raise ValueError(
            "from_module: example_images needs two or more uint8 images (N, C, H, W) or (N, H, W, C) in 0..255, got "
            f"{found.dtype} {found.shape}"
        )
    layout = preprocessing.layout_of(found.shape[1:])
    if len(found) > _MOST_EXAMPLES:
        found = found[np.sort(np.random.default_rng(0).permutation(len(found))[:_MOST_EXAMPLES])]
    taken = torch.from_numpy(np.array(found))  # a copy: of read-only arrays torch makes no tensor
    return taken.permute(0, 3, 1, 2) if layout == "HWC" else taken


def _in_eval_mode(module: nn.Module) -> nn.Module:
    """A copy on the CPU, float32, that does not learn; batch norm and dropout in it are off."""
    try:
        network = copy.deepcopy(module).cpu().float().eval().requires_grad_(False)
    except Exception as error:  # what cannot be copied says so in many ways
        raise ValueError(f"from_module cannot copy {type(module).__name__}: {error}") from error
    training = [name or "itself" for name, part in network.named_modules() if part.training]
    if training:
        raise ValueError(
            f"from_module: {type(module).__name__} stays in train mode after eval() ({', '.join(training)}): its codes "
            "would change while it is used"
        )
    return network


def _probe(network: nn.Module, images: Tensor, kind: str) -> int:
    """The number of features; refuses a network that gives no vectors, or not the same ones each time."""
    features = _computed(network, images, kind)
    again = _computed(network, images, kind)
    alone = torch.cat([_computed(network, image[None], kind) for image in images])
    if not torch.equal(features, again):
        raise ValueError(f"from_module: {kind} returns other numbers for the same images each time, also in eval mode")
    if not _close(alone, features):
        raise ValueError(
            f"from_module: what {kind} returns for an image depends on the other images of the batch, also in eval "
            "mode (batch norm without running statistics does that): an agent would see other codes than its training"
        )
    return features.shape[1]


def _computed(network: nn.Module, images: Tensor, kind: str) -> Tensor:
    """Features (B, F) of images; refuses anything else."""
    try:
        with torch.no_grad():
            features: Any = network(images)
    except Exception as error:  # whatever the module raises, it is about these images
        raise ValueError(
            f"from_module: {kind} cannot compute images {tuple(images.shape)} as the preprocessing makes them: {error}"
        ) from error
    if not isinstance(features, Tensor):
        held = f" of {len(features)}" if isinstance(features, tuple | list | Mapping) else ""
        raise TypeError(
            f"from_module needs a module that returns one tensor (B, D), but {kind} returns a "
            f"{type(features).__name__}{held}: wrap it in a module that returns the part you want"
        )
    shape = tuple(features.shape)
    if len(shape) > 2 and shape[0] == len(images):
        raise ValueError(
            f"from_module needs a module that returns vectors (B, D), but {kind} returns maps {shape}: pool them, "
            "for example nn.Sequential(module, nn.AdaptiveAvgPool2d(1), nn.Flatten())"
        )
    if len(shape) != 2 or shape[0] != len(images) or not shape[1]:
        raise ValueError(
            f"from_module needs a module that returns a vector for each image, but {kind} returns {shape} for "
            f"{len(images)} image{'s' if len(images) > 1 else ''}"
        )
    if not features.is_floating_point() or not torch.isfinite(features).all():
        raise ValueError(f"from_module: {kind} returns NaN, infinity or no floating-point numbers on example images")
    return features


def _close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=1e-4, atol=_ROUNDING * max(1.0, float(expected.abs().max())))


def _features(network: nn.Module, preprocessing: Preprocessing, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([network(preprocessing(slab)) for slab in images.split(_SLAB)])


def _principal_components(features: Tensor, count: int) -> tuple[nn.Linear, float]:
    """The projection on the `count` directions of largest variance, and the share of the variance that they keep."""
    values = features.double()
    mean = values.mean(0)
    variances, directions = torch.linalg.eigh(torch.cov(values.T).reshape(len(mean), len(mean)))
    largest = directions.flip(1)[:, :count].T  # (count, F)
    # of a direction and its opposite, the one whose largest entry is positive
    signs = largest.gather(1, largest.abs().argmax(1, keepdim=True)).sign()
    # a layer that draws weights which nobody sees would move the caller's random numbers
    projection = nn.utils.skip_init(nn.Linear, len(mean), count)
    projection.weight.data = (largest * signs).float()
    projection.bias.data = -(largest * signs @ mean).float()
    total = float(variances.clamp_min(0).sum())
    return projection, float(variances.flip(0)[:count].clamp_min(0).sum()) / total if total else 0.0


def _require_same(encoder: FrozenEncoder, network: nn.Module, images: Tensor) -> None:
    """Check that what was stored computes what the module does, also for a single image."""
    expected = _features(network, encoder.preprocessing, images)
    for found in (encoder.encode(images), torch.cat([encoder.encode(image[None]) for image in images])):
        if not _close(found, expected):
            raise ValueError(
                "from_module: the exported network gives other codes than the module, by up to "
                f"{float((found - expected).abs().max()):.2g}: it is not exported faithfully and is refused"
            )


def _statistics(encoder: FrozenEncoder, examples: Tensor) -> UnitStatistics:
    """Mean and deviation over the example images. There was no prior: a unit is active that varies by more than
    rounding, as principal components beyond the rank of the examples do not."""
    codes = encoder.encode(examples).double()
    deviations = codes.std(0, correction=0).tolist()
    least = _ROUNDING * float(codes.abs().max())
    return UnitStatistics(
        kl_nats=(0.0,) * encoder.code_size,
        mean=tuple(codes.mean(0).tolist()),
        std=tuple(deviations),
        active=tuple(deviation > least for deviation in deviations),
    )


def _full_name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
