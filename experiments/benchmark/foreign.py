"""Networks of others beside one of ours: what a code costs, how large the file is, and what a linear probe reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.measure.foreign_networks import random_vit, vgg16_features
from sparse_repr import FrozenEncoder, load_encoder, untrained_encoder
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.devices import cpu_threads
from sparse_repr.metrics.probes import probe_scores

CODE_SIZE = 32
"""Principal components that the features of others are projected on."""
_TRAIN, _TEST = 800, 400
_BATCH, _REPEATS = 64, 3


def measure_foreign(frames: str | None, run: str | None) -> dict[str, Any]:
    """Codes per second of processor time on one thread, size, and R² of a linear probe for each position.

    Args:
        frames: recording of SpriteChase (rl.record) whose images are encoded.
        run: folder of a run of ours, one more row.

    Raises:
        ValueError: no frames are given.
    """
    if frames is None:
        raise ValueError("foreign needs frames (--frames): a recording of SpriteChase, made by python -m rl.record")
    data = load_dataset("h5", frames)
    items = np.sort(np.random.default_rng(0).permutation(len(data))[: _TRAIN + _TEST])
    images = data.images(items)
    targets, names = _positions(data, items)
    arms: dict[str, Callable[[], FrozenEncoder]] = {
        "VGG16, ImageNet weights, pooled conv5_3": lambda: vgg16_features(images, None),
        f"VGG16, ImageNet weights, {CODE_SIZE} components": lambda: vgg16_features(images, CODE_SIZE),
        f"small ViT, random weights, {CODE_SIZE} components": lambda: random_vit(images, CODE_SIZE),
        "Burgess network, random weights": lambda: untrained_encoder(3, code_size=CODE_SIZE),
    }
    if run is not None:
        arms[f"ours: {Path(run).name}"] = lambda: load_encoder(run)
    rows = {}
    with cpu_threads(1):
        for name, make in arms.items():
            encoder = make()
            row: dict[str, Any] = {"code_size": encoder.code_size, "artefact_mb": len(encoder.to_bytes()) / 1e6}
            row["codes_per_cpu_s"] = _rate(encoder, images[:_BATCH])
            row["one_image_cpu_ms"] = 1000 / _rate(encoder, images[:1])
            if encoder.code_size <= _TRAIN // 8:  # with more, the probe would fit the training frames alone
                scores = probe_scores(encoder.encode(images), targets, train=_TRAIN, test=_TEST)
                row["probe_r2"] = dict(zip(names, scores.tolist(), strict=True))
                row["mean_probe_r2"] = float(scores.mean())
            rows[name] = row
            print(name, row)
    return {"frames": len(images), "probe_train": _TRAIN, "probe_test": _TEST, "encoders": rows}


def _positions(data: FactorDataset, items: Any) -> tuple[Any, list[str]]:
    if data.factor_values is None:
        raise ValueError(f"foreign needs frames with factors, found none in {data.source}")
    chosen = [k for k, name in enumerate(data.factor_names) if name.endswith(("_x", "_y"))]
    return data.factor_values[items][:, chosen].astype(np.float64), [data.factor_names[k] for k in chosen]


def _rate(encoder: FrozenEncoder, images: Any) -> float:
    """Images per second of processor time: what else runs on the machine counts little."""
    encoder.encode(images)
    seconds = []
    for _ in range(_REPEATS):
        started, calls = time.process_time(), 0
        while time.process_time() - started < 0.3:
            encoder.encode(images)
            calls += 1
        seconds.append((time.process_time() - started) / (calls * len(images)))
    return 1 / float(np.median(seconds))
