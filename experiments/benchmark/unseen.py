"""What do sparse keypoints say where neither encoder nor agent has been? Presences, and the places that are read."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

from envs.domains import DOMAINS, TARGETS
from experiments.benchmark.recorded import every_arm, recordings
from experiments.measure.place_probe import NETWORK, axis_r2, fit, standardised
from sparse_repr import FrozenEncoder
from sparse_repr.data import FactorDataset
from sparse_repr.devices import cpu_threads
from sparse_repr.encoder.statistics import encode_dataset
from sparse_repr.models.keypoints import split_code
from sparse_repr.pretrain.presets import KEYPOINT_RECIPES

ARMS: dict[str, dict[str, Any]] = {
    "12 sparse keypoints": {**KEYPOINT_RECIPES["sparse_keypoints"], "keypoints": 12},
    "32 sparse keypoints": KEYPOINT_RECIPES["sparse_keypoints"],
    "32 sparse keypoints, robust": KEYPOINT_RECIPES["sparse_keypoints_robust"],
}
"""Name -> settings of `PretrainConfig`."""
SEEDS = (1, 2, 3)
"""Of the encoders; no setting was chosen by what is measured."""
SPRITES = ("player", "heart", "square")
"""Those whose places decide SpriteChase."""
_ENVIRONMENT = "SparseRepr/SpriteChase-v0"
_PLACES = [f"{sprite}_{axis}" for sprite in SPRITES for axis in "xy"]
_STEPS = 3_000
_FRAMES = {"train": (20_000, 0)}
_SEEN = 2_000
_EVERY = 11
_BATCH = 500


def measure_unseen(seeds: Sequence[int] = SEEDS, *, steps: int = _STEPS, scale: float = 1.0) -> dict[str, Any]:
    """Pretrain each arm with each seed on one thread in SpriteChase's source, and look at its codes in every domain.

    Args:
        seeds: of the encoders.
        steps: of pretraining.
        scale: share of the frames that is recorded.
    """
    results: dict[str, Any] = {"steps": steps}
    arms = {name: {**settings, "steps": steps} for name, settings in ARMS.items()}
    with tempfile.TemporaryDirectory() as folder, cpu_threads(1):
        train = recordings(f"envs:{_ENVIRONMENT}", Path(folder), _FRAMES, every=_EVERY, scale=scale)["train"]
        seen = {domain: frames_of(domain, round(scale * _SEEN), seed=1_000_000) for domain in ("source", *TARGETS)}
        results["frames"] = {"train": len(train), **{domain: len(images) for domain, (images, _) in seen.items()}}
        results["arms"] = every_arm(
            Path(folder), arms, seeds, lambda encoder: {"domains": unseen_scores(encoder, train, seen)}
        )
    return results


def frames_of(domain: str, count: int, *, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Frames of SpriteChase in a domain under random actions, one of eleven.

    Args:
        domain: of `envs.domains.DOMAINS`.
        count: how many.
        seed: of environment and actions.

    Returns:
        Images (N, 64, 64, 3), and where `SPRITES` are in them, (N, 6): across and down, one after the other, in 0..1 of
        the source's pictures, so that a camera that has moved moves them.
    """
    env = gym.make(_ENVIRONMENT, domain=domain)
    names = env.get_wrapper_attr("factor_names")
    columns = [names.index(name) for name in _PLACES]
    _, pixels = env.get_wrapper_attr("field_pixels")
    moved = np.tile(DOMAINS[domain].camera, len(SPRITES)) / pixels
    env.action_space.seed(seed)
    images: list[npt.NDArray[np.uint8]] = []
    places: list[npt.NDArray[np.float64]] = []
    image, info = env.reset(seed=seed)
    step = 0
    while len(images) < count:
        if step % _EVERY == 0:
            images.append(image)
            places.append(info["factors"][columns] + moved)
        image, _, terminated, truncated, info = env.step(env.action_space.sample())
        if terminated or truncated:
            image, info = env.reset()
        step += 1
    env.close()
    return np.stack(images), np.stack(places).astype(np.float32)


def unseen_scores(
    encoder: FrozenEncoder,
    train: FactorDataset,
    seen: Mapping[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]],
    *,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """What an encoder of keypoints says in each domain.

    Args:
        encoder: of an architecture of keypoints without looks.
        train: frames of the source, from whose codes a small network learns where sprites are.
        seen: domain -> as `frames_of` returns them.
        seed: of that network.

    Returns:
        Domain -> ``present``, how many keypoints an image has whose presence is above 1/2; and for each sprite the R²
        of its place, below 0 as 0, the mean over across and down.
    """
    from sklearn.neural_network import MLPRegressor

    assert train.factor_values is not None
    columns = [train.factor_names.index(name) for name in _PLACES]
    codes = encode_dataset(encoder, train, np.arange(len(train))).mean
    network = MLPRegressor(**NETWORK, random_state=seed)
    fit(network, standardised(codes, codes)[0], train.factor_values[:, columns])
    found = {}
    for domain, (images, places) in seen.items():
        there = np.concatenate([encoder.encode(images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)])
        told = network.predict(standardised(codes, there)[1])
        r2 = np.maximum(axis_r2(told, places), 0).reshape(len(SPRITES), 2).mean(1)
        presence = split_code(torch.from_numpy(there))[2]
        found[domain] = {
            "present": float((presence > 0.5).sum(1).float().mean()),
            **dict(zip(SPRITES, r2.tolist(), strict=True)),
        }
    return found
