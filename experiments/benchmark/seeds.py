"""What several models cost: one after another, in processes and in one vectorised loop, against one model alone."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import torch

from experiments.measure.side_by_side import summary
from sparse_repr import PretrainConfig
from sparse_repr.devices import resolve_device, resolve_precision
from sparse_repr.pretrain.together.ensemble import TOGETHER, choose_together, pretrain_encoders
from sparse_repr.pretrain.variations import vary

_SETTINGS = PretrainConfig(dataset="dsprites", objective="sparse", progress=False)
_MODELS = (1, 4)
_MODELS_GPU = (1, 4, 16)
_STEPS = (30, 130)
_ROUNDS = 3


def timed_training(seeds: int, steps: int, way: str) -> float:
    """Seconds of `pretrain_encoders` for `seeds` sparse VAEs on dSprites, files and processes included."""
    with tempfile.TemporaryDirectory() as folder:
        settings = dataclasses.replace(_SETTINGS, steps=steps, run_dir=folder)
        configs = vary(settings, seeds=range(seeds))
        started = time.perf_counter()
        pretrain_encoders(configs, together=way)
        return time.perf_counter() - started


def measure_seeds(
    *, models: Sequence[int] = (), steps: tuple[int, int] = _STEPS, rounds: int = _ROUNDS
) -> dict[str, Any]:
    """Train every number of models in every way, taking turns, for two lengths.

    The difference of the two lengths is the steps alone; what remains is starting: processes, data, files.

    Args:
        models: numbers of models; by default 1 and 4, on a GPU 16 too.
        steps: the shorter and the longer training.
        rounds: turns of all.

    Returns:
        By number of models and way: seconds to start, seconds per step of all models (median over the rounds), images
        per second, and how many times one model's step that is; the way that is taken without asking.

    Raises:
        ValueError: the second length is not above the first.
    """
    short, long = steps
    if long <= short:
        raise ValueError(f"steps needs a shorter and a longer training, got {steps}")
    device = resolve_device("auto")
    counts = tuple(models) or (_MODELS_GPU if device.type == "cuda" else _MODELS)
    ways = [way for way in TOGETHER if way != "auto"]
    arms = [(count, way) for count in counts for way in (ways if count > 1 else ["sequential"])]
    times: dict[tuple[int, str], list[tuple[float, float]]] = {arm: [] for arm in arms}
    timed_training(1, short, "sequential")  # data drawn, kernels chosen
    for _ in range(rounds):
        for count, way in arms:
            times[count, way].append((timed_training(count, short, way), timed_training(count, long, way)))
    results: dict[str, Any] = {}
    for (count, way), pairs in times.items():
        step_s = summary([(longer - shorter) / (long - short) for shorter, longer in pairs])
        results.setdefault(str(count), {})[way] = {
            "step_s": step_s,
            "start_s": min(shorter for shorter, _ in pairs) - short * step_s["median"],
            "images_per_s": count * _SETTINGS.batch_size / step_s["median"],
        }
    one = results[str(counts[0])]["sequential"]["step_s"]["median"] / counts[0]
    for by_way in results.values():
        for entry in by_way.values():
            entry["times_one"] = entry["step_s"]["median"] / one
    chosen, reason = choose_together(vary(_SETTINGS, seeds=range(max(counts))))
    return {
        "settings": {
            "objective": _SETTINGS.objective,
            "batch": _SETTINGS.batch_size,
            "steps": list(steps),
            "rounds": rounds,
            "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
            "precision": resolve_precision("auto", device),
        },
        "models": results,
        "automatic": {"way": chosen, "reason": reason},
    }
