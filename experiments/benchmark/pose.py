"""Do codes hold size, angle and colour? Those of a sprite of SpritePose, read from codes of another recording."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.benchmark.recorded import codes_of, every_arm, recordings
from experiments.measure.place_probe import NETWORK, axis_r2, fit, standardised
from sparse_repr.data import FactorDataset
from sparse_repr.devices import cpu_threads
from sparse_repr.pretrain.presets import KEYPOINT_RECIPES

_KEYPOINTS = KEYPOINT_RECIPES["sparse_keypoints"]
_QUICK = {"learning_rate": 1e-3, "initialisation": "he", "batch_size": 64}
ARMS: dict[str, dict[str, Any]] = {
    "VAE": {"objective": "vae", **_QUICK, "code_size": 32},
    "sparse keypoints": _KEYPOINTS,
    "sparse keypoints with looks": {**_KEYPOINTS, "architecture": "keypoints_looks"},
    "8 sparse keypoints with looks": KEYPOINT_RECIPES["sparse_keypoints_looks"],
}
"""Name -> settings of `PretrainConfig`: codes of 32, 96, 224 and 56 numbers."""
SEEDS = (1, 2, 3)
"""Of the encoders; seed 100 was looked at before, on the same recording, and nothing was changed by it."""
_STEPS = 3_000
_FRAMES = {"train": (20_000, 0), "test": (4_000, 1_000_000)}
_EVERY = 11
# the turn after which a shape looks the same again: square, ellipse, heart
_PERIODS = np.array([math.pi / 2, math.pi, 2 * math.pi])
_CLASSES = ("shape", "color")


def measure_pose(seeds: Sequence[int] = SEEDS, *, steps: int = _STEPS, scale: float = 1.0) -> dict[str, Any]:
    """Record SpritePose under random actions, pretrain each arm with each seed on one thread, and probe its codes.

    Args:
        seeds: of the encoders.
        steps: of pretraining.
        scale: share of the frames that is recorded.
    """
    results: dict[str, Any] = {"steps": steps}
    arms = {name: {**settings, "steps": steps} for name, settings in ARMS.items()}
    with tempfile.TemporaryDirectory() as folder, cpu_threads(1):
        data = recordings("envs:SparseRepr/SpritePose-v0", Path(folder), _FRAMES, every=_EVERY, scale=scale)
        results["frames"] = {part: len(frames) for part, frames in data.items()}
        results["arms"] = every_arm(
            Path(folder),
            arms,
            seeds,
            lambda encoder: {"units": encoder.code_size, **pose_scores(codes_of(encoder, data), data)},
        )
    return results


def pose_scores(
    codes: Mapping[str, npt.NDArray[np.float32]], data: Mapping[str, FactorDataset], *, seed: int = 0
) -> dict[str, dict[str, float]]:
    """What is read of the test frames by a probe that learned from the others: ``line`` and ``network``.

    R², below 0 as 0, of place, size, angle, and what is left to grow and to turn; of the angles as sine and cosine of
    the share of the turn after which the shape looks the same. Shape and colour: the share that is told.
    """
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    inputs = dict(zip(("train", "test"), standardised(codes["train"], codes["test"]), strict=True))
    wanted = {part: _wanted(frames) for part, frames in data.items()}
    scores: dict[str, dict[str, float]] = {}
    for name in wanted["train"]:
        learned, truth = wanted["train"][name], wanted["test"][name]
        centre, size = learned.mean(0), learned.std(0)
        scores[name] = {}
        regressors = {"line": LinearRegression(), "network": MLPRegressor(**NETWORK, random_state=seed)}
        for probe, regressor in regressors.items():
            fit(regressor, inputs["train"], ((learned - centre) / size).squeeze())
            told = regressor.predict(inputs["test"]).reshape(truth.shape) * size + centre
            scores[name][probe] = float(max(0.0, axis_r2(told, truth).mean()))
    for name in _CLASSES:
        learned, truth = (_column(data[part], name).astype(int) for part in ("train", "test"))
        classifiers = {
            "line": LogisticRegression(max_iter=200),
            "network": MLPClassifier(**NETWORK, random_state=seed),
        }
        scores[name] = {
            probe: float((fit(classifier, inputs["train"], learned).predict(inputs["test"]) == truth).mean())
            for probe, classifier in classifiers.items()
        }
    return scores


def _column(data: FactorDataset, name: str) -> npt.NDArray[np.float32]:
    assert data.factor_values is not None
    return np.asarray(data.factor_values[:, data.factor_names.index(name)])


def _wanted(data: FactorDataset) -> dict[str, npt.NDArray[np.float64]]:
    """Thing -> what is to be read of it, (N, K)."""
    periods = _PERIODS[_column(data, "shape").astype(int)]

    def turned(name: str) -> npt.NDArray[np.float64]:
        share = 2 * np.pi * _column(data, name) / periods
        return np.stack([np.sin(share), np.cos(share)], axis=1)

    return {
        "place": np.stack([_column(data, f"position_{axis}") for axis in "xy"], axis=1).astype(np.float64),
        "size": _column(data, "scale")[:, None].astype(np.float64),
        "angle": turned("orientation"),
        "left to grow": _column(data, "scale_difference")[:, None].astype(np.float64),
        "left to turn": turned("orientation_difference"),
    }
