"""Is the ball of Pong in the code? Its place read from codes of another recording, by a line and a small network."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.benchmark.recorded import codes_of, every_arm, recordings
from experiments.measure.foreign_networks import FOREIGN, foreign_encoder
from experiments.measure.place_probe import NETWORK, axis_r2, fit, standardised
from sparse_repr.data import FactorDataset
from sparse_repr.devices import cpu_threads
from sparse_repr.pretrain.presets import KEYPOINT_RECIPES

_STEPS = 1_000
_KEYPOINTS: dict[str, Any] = {
    **KEYPOINT_RECIPES["sparse_keypoints"],
    "keypoints": 16,
    "image_size": 84,
    "presence_warmup": _STEPS // 3,
}
_UNITS, _SIDE = 48, 64
_VAE: dict[str, Any] = {"objective": "vae", "code_size": _UNITS, "learning_rate": 1e-3, "initialisation": "he"}
ARMS: dict[str, dict[str, Any]] = {
    "sparse keypoints, saliency 50": {**_KEYPOINTS, "saliency_weight": 50.0},
    "sparse keypoints": _KEYPOINTS,
    "VAE, saliency 50": {**_VAE, "saliency_weight": 50.0},
    "VAE": _VAE,
}
"""Name -> settings of `PretrainConfig`; all codes have 48 units."""
SEEDS = (1, 2, 3)
"""Of the encoders; the weight 50 and the number of keypoints were set while looking at seed 0 of another recording."""
PLACES = {"ball": ("ball_x", "ball_y"), "player": ("player_y",), "opponent": ("opponent_y",)}
"""Thing -> its factors."""
_FRAMES = {"train": (12_000, 0), "test": (3_000, 1_000_000)}
_EVERY = 3


def measure_pong(seeds: Sequence[int] = SEEDS, *, steps: int = _STEPS, scale: float = 1.0) -> dict[str, Any]:
    """Record Pong under random actions, pretrain each arm with each seed on one thread, and probe its codes.

    Args:
        seeds: of the encoders.
        steps: of pretraining.
        scale: share of the frames that is recorded.
    """
    results: dict[str, Any] = {"steps": steps}
    arms = {name: {**settings, "steps": steps, "learning_rate_warmup": steps // 10} for name, settings in ARMS.items()}
    with tempfile.TemporaryDirectory() as folder, cpu_threads(1):
        data = _recorded(Path(folder), scale)
        results["frames"] = {part: len(frames) for part, frames in data.items()}
        results["arms"] = every_arm(
            Path(folder), arms, seeds, lambda encoder: place_scores(codes_of(encoder, data), data)
        )
    return results


def measure_pong_of_others(*, scale: float = 1.0) -> dict[str, Any]:
    """The same frames and probes for networks of others, as many components as the other codes have units.

    Args:
        scale: share of the frames that is recorded.
    """
    results: dict[str, Any] = {"code_size": _UNITS, "side": _SIDE, "arms": {}}
    with tempfile.TemporaryDirectory() as folder, cpu_threads(1):
        data = _recorded(Path(folder), scale)
        results["frames"] = {part: len(frames) for part, frames in data.items()}
        for name in FOREIGN:
            started = time.process_time()
            encoder = foreign_encoder(name, data["train"], code_size=_UNITS, seed=0, side=_SIDE)
            codes = codes_of(encoder, data)
            seconds = time.process_time() - started
            results["arms"][name] = {"seconds": seconds, **place_scores(codes, data)}
    return results


def _recorded(folder: Path, scale: float) -> dict[str, FactorDataset]:
    """Pong under random actions: ``train`` and ``test``."""
    return recordings("envs:SparseRepr/Pong-v0", folder, _FRAMES, every=_EVERY, scale=scale)


def place_scores(
    codes: dict[str, npt.NDArray[np.float32]], data: dict[str, FactorDataset], *, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Thing -> R² on the test frames of its places, mean over its axes, below 0 as 0: ``line`` and ``network``.

    Frames without a ball are left out of its score.
    """
    from sklearn.linear_model import LinearRegression
    from sklearn.neural_network import MLPRegressor

    inputs = dict(zip(("train", "test"), standardised(codes["train"], codes["test"]), strict=True))
    names = data["train"].factor_names
    scores: dict[str, dict[str, float]] = {}
    for thing, factors in PLACES.items():
        parts = {}
        for part, frames in data.items():
            assert frames.factor_values is not None
            values = frames.factor_values[:, [names.index(factor) for factor in factors]]
            there = frames.factor_values[:, names.index("ball_visible")] > 0 if thing == "ball" else slice(None)
            parts[part] = inputs[part][there], values[there]
        (train, wanted), (test, truth) = parts["train"], parts["test"]
        centre, size = wanted.mean(0), wanted.std(0)
        scores[thing] = {}
        network = MLPRegressor(**NETWORK, random_state=seed)
        for probe, regressor in (("line", LinearRegression()), ("network", network)):
            fit(regressor, train, ((wanted - centre) / size).squeeze())
            told = regressor.predict(test).reshape(-1, len(factors)) * size + centre
            scores[thing][probe] = float(max(0.0, axis_r2(told, truth).mean()))
    return scores
