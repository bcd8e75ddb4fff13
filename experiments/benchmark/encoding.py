"""How fast a frozen encoder encodes: the full dSprites grid against eager chunking, and one observation of an agent."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from experiments.measure.side_by_side import seconds_of
from sparse_repr import FrozenEncoder
from sparse_repr.data import FactorDataset
from sparse_repr.devices import cpu_threads, resolve_precision
from sparse_repr.encoder.statistics import encode_dataset
from sparse_repr.models import build_encoder

CHUNKS = (16, 64, 256, 1024, 2048)
"""Images per forward pass of the eager loops that `encode` is compared with."""
_PICTURES = 16_384
_BATCHES = (1, 8, 64)


def eager_network(encoder: FrozenEncoder) -> torch.nn.Module:
    """The encoder's network as torch builds it: what anyone would call in a loop."""
    network = build_encoder(encoder.spec.architecture, dict(encoder.spec.arguments))
    network.load_state_dict(encoder.network().state_dict())
    return network.eval().requires_grad_(False)


@torch.no_grad()
def encode_eagerly(network: Callable[[Tensor], Any], images: Tensor, chunk: int) -> Tensor:
    """Posterior means of uint8 (N, C, H, W) images, `chunk` of them per float32 forward pass."""
    parts = [network(images[start : start + chunk].float() / 255).mean for start in range(0, len(images), chunk)]
    return torch.cat(parts)


def measure_encoding(
    encoder: FrozenEncoder,
    data: FactorDataset,
    *,
    pictures: int = _PICTURES,
    chunks: Sequence[int] = CHUNKS,
    batches: Sequence[int] = _BATCHES,
) -> dict[str, Any]:
    """Images/s in large batches, seconds of the whole data set, and latency of an agent's batches.

    Args:
        encoder: trained on pictures of the shape that `data` has.
        data: the data set that is encoded.
        pictures: images per large batch.
        chunks: images per forward pass of the eager loops.
        batches: numbers of images that an agent encodes at once.
    """
    cores = os.cpu_count() or 1
    indices = np.sort(np.random.default_rng(0).permutation(len(data))[:pictures]).astype(np.int64)
    images = torch.from_numpy(data.images(indices))
    results: dict[str, Any] = {
        "pictures": len(images),
        "bf16_native": resolve_precision("auto", images.device) == "bf16",
    }
    for threads in sorted({1, cores}):
        with cpu_threads(threads):
            results[f"large_batch_{threads}_threads"] = _measure_large_batch(encoder, images, chunks)
    with cpu_threads(cores):
        best = results[f"large_batch_{cores}_threads"]["best_eager_chunk"]
        results["whole_data_set"] = _measure_data_set(encoder, data, best)
    with cpu_threads(1):
        results["latency"] = {str(batch): _measure_latency(encoder, images[:batch]) for batch in batches}
    results["bf16_deviation"] = bf16_deviation(encoder, images)
    return results


def _measure_large_batch(encoder: FrozenEncoder, images: Tensor, chunks: Sequence[int]) -> dict[str, Any]:
    network = eager_network(encoder)
    works: dict[str, Callable[[], Any]] = {
        f"eager_{chunk}": functools.partial(encode_eagerly, network, images, chunk) for chunk in chunks
    }
    works["float32"] = functools.partial(encoder.encode, images)
    works["bf16"] = functools.partial(encoder.encode, images, precision="bf16")
    seconds = seconds_of(works, repeats=5)
    best = min(chunks, key=lambda chunk: seconds[f"eager_{chunk}"]["median"])
    eager = seconds[f"eager_{best}"]["median"]
    return {
        "images_per_s": {name: len(images) / value["median"] for name, value in seconds.items()},
        "seconds": seconds,
        "best_eager_chunk": best,
        "times_best_eager": {name: eager / seconds[name]["median"] for name in ("float32", "bf16")},
    }


def _measure_data_set(encoder: FrozenEncoder, data: FactorDataset, chunk: int) -> dict[str, Any]:
    """Every item once, drawing included: the best eager loop, `encode` in float32 and in bf16, one after another."""
    network, items = eager_network(encoder), np.arange(len(data), dtype=np.int64)

    def eagerly() -> None:
        for start in range(0, len(items), 8192):
            encode_eagerly(network, torch.from_numpy(data.images(items[start : start + 8192])), chunk)

    works: dict[str, Callable[[], Any]] = {
        f"eager_{chunk}": eagerly,
        "float32": functools.partial(encode_dataset, encoder, data, items),
        "bf16": functools.partial(encode_dataset, encoder, data, items, precision="bf16"),
    }
    seconds = {}
    for name, work in works.items():
        started = time.perf_counter()
        work()
        seconds[name] = time.perf_counter() - started
    eager = seconds[f"eager_{chunk}"]
    return {
        "items": len(items),
        "seconds": seconds,
        "times_best_eager": {name: eager / seconds[name] for name in ("float32", "bf16")},
    }


def _measure_latency(encoder: FrozenEncoder, images: Tensor) -> dict[str, Any]:
    """Seconds of one call with an agent's batch: the bare forward pass, `encode`, and `encode` compiled."""
    network = eager_network(encoder)
    pictures = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())  # (N, H, W, C), as environments give them
    scaled = images.float() / 255
    compiled = FrozenEncoder(encoder.spec, encoder.network().state_dict())
    compiled.compile(options={"freezing": True})

    @torch.no_grad()
    def bare() -> Any:
        return network(scaled)

    works: dict[str, Callable[[], Any]] = {
        "bare_forward": bare,
        "encode": functools.partial(encoder.encode, pictures),
        "encode_compiled": functools.partial(compiled.encode, pictures),
        "encode_bf16": functools.partial(encoder.encode, pictures, precision="bf16"),
    }
    return seconds_of(works, inner=200 if len(images) == 1 else 30)


def bf16_deviation(encoder: FrozenEncoder, images: Tensor) -> dict[str, float]:
    """How far bf16 moves the codes of active units, in standard deviations of each unit's code over `images`."""
    exact: npt.NDArray[np.float32] = encoder.encode(images).numpy()
    moved = np.abs(encoder.encode(images, precision="bf16").numpy() - exact)
    active = np.array(encoder.spec.units.active)
    if not active.any():
        return {"largest": 0.0, "root_mean_square": 0.0}
    share = moved[:, active] / exact[:, active].std(0)
    return {"largest": float(share.max()), "root_mean_square": float(np.sqrt(np.square(share).mean(0)).max())}
