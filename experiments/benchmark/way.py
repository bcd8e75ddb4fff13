"""How much must be learned to find the way? From codes of SpriteReach, and from what their recodings make of them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.reach import CORNERS
from experiments.benchmark.recorded import codes_of, pretrained, recordings
from experiments.measure.place_probe import NETWORK, axis_r2, fit, standardised
from rl.code_recoding import CodeRecoding
from rl.recodings import RECODINGS
from sparse_repr.data import FactorDataset
from sparse_repr.devices import cpu_threads

CODE = "code"
SHOWN = (CODE, *RECODINGS)
"""What is read from: the code itself, standardised, and each recoding of it with its defaults."""
SEEDS = (1, 2, 3)
"""Of the encoders, on which nothing was chosen."""
HEADS: dict[str, Any] = {
    "hidden_layer_sizes": (64, 64),
    "activation": "tanh",
    "learning_rate_init": 3e-4,
    "batch_size": 64,
}
"""PPO's own small network, rate and batches, as scikit-learn's MLPRegressor takes them."""
PASSES = (1, 10)
"""Over the training frames, after which those are asked."""
VAE: dict[str, Any] = {
    "objective": "vae",
    "learning_rate": 1e-3,
    "initialisation": "he",
    "batch_size": 64,
    "code_size": 10,
}
"""Settings of `PretrainConfig`."""
_STEPS = 3_000
FRAMES = {"train": (10_000, 0), "test": (4_000, 1_000_000)}
"""Part of the recording -> how many frames, and its seed."""
_EVERY = 11


def measure_way(seeds: Sequence[int] = SEEDS, *, steps: int = _STEPS, scale: float = 1.0) -> dict[str, Any]:
    """Record SpriteReach under random actions, pretrain a VAE with each seed on one thread, and probe what it shows.

    Args:
        seeds: of the encoders.
        steps: of pretraining.
        scale: share of the frames that is recorded.
    """
    results: dict[str, Any] = {"steps": steps, "shown": {name: {} for name in SHOWN}}
    with tempfile.TemporaryDirectory() as folder, cpu_threads(1):
        data = recordings("envs:SparseRepr/SpriteReach-v0", Path(folder), FRAMES, every=_EVERY, scale=scale)
        results["frames"] = {part: len(frames) for part, frames in data.items()}
        for seed in seeds:
            encoder, _ = pretrained(Path(folder), "vae", seed, {**VAE, "steps": steps})
            codes = codes_of(encoder, data)
            for name in SHOWN:
                recoding = None if name == CODE else CodeRecoding(encoder.spec.units, name)
                shown = codes if recoding is None else {part: recoding.numpy(codes[part]) for part in codes}
                found = {"width": shown["test"].shape[1], **way_scores(shown, data)}
                results["shown"][name][str(seed)] = found
    return results


def way_scores(
    shown: Mapping[str, npt.NDArray[np.float32]], data: Mapping[str, FactorDataset], *, seed: int = 0
) -> dict[str, dict[str, float]]:
    """What probes that learned from the training frames tell of the test frames.

    Place, and the way: the direction from there to the corner that belongs to the shape, of length 1. R², below 0 as 0,
    by a line, by a network of two layers of 128, and by PPO's heads after one and ten passes. Shape: the share that is
    told, by a line and by that network.
    """
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    inputs = dict(zip(("train", "test"), standardised(shown["train"], shown["test"]), strict=True))
    wanted = {part: _wanted(frames) for part, frames in data.items()}
    scores: dict[str, dict[str, float]] = {}
    for name in ("place", "way"):
        learned, truth = wanted["train"][name], wanted["test"][name]
        centre, size = learned.mean(0), learned.std(0)
        probes = {
            "line": LinearRegression(),
            "network": MLPRegressor(**NETWORK, random_state=seed),
            **{
                f"heads, passes {passes}": MLPRegressor(**HEADS, max_iter=passes, random_state=seed)
                for passes in PASSES
            },
        }
        scores[name] = {}
        for probe, regressor in probes.items():
            told = fit(regressor, inputs["train"], (learned - centre) / size).predict(inputs["test"]) * size + centre
            scores[name][probe] = float(max(0.0, axis_r2(told, truth).mean()))
    classifiers = {"line": LogisticRegression(max_iter=200), "network": MLPClassifier(**NETWORK, random_state=seed)}
    learned, truth = wanted["train"]["shape"], wanted["test"]["shape"]
    scores["shape"] = {
        probe: float((fit(classifier, inputs["train"], learned).predict(inputs["test"]) == truth).mean())
        for probe, classifier in classifiers.items()
    }
    return scores


def _wanted(data: FactorDataset) -> dict[str, npt.NDArray[Any]]:
    """Thing -> what is to be read of it: (N, 2), of the shape (N,)."""
    assert data.factor_values is not None
    column = {name: data.factor_values[:, k].astype(np.float64) for k, name in enumerate(data.factor_names)}
    place = np.stack([column["position_x"], column["position_y"]], axis=1)
    shape = column["shape"].astype(int)
    way = np.array(CORNERS)[shape] - place
    return {"place": place, "way": way / np.linalg.norm(way, axis=1, keepdims=True), "shape": shape}
