"""What recoded codes and keypoints cost an agent: a step of training on each view of a code, and one image encoded."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO

import envs  # noqa: F401 (registers the environments)
from experiments.measure.side_by_side import steady_clock, summary
from rl import make_latent_vec_env
from sparse_repr import FrozenEncoder, untrained_encoder
from sparse_repr.devices import cpu_threads
from sparse_repr.encoder.preprocessing import Preprocessing
from sparse_repr.encoder.spec import EncoderSpec, UnitStatistics
from sparse_repr.models import build_vae

VIEWS: dict[str, dict[str, Any]] = {
    "plain": {"code_scaling": "standardize"},
    "expand": {"recode": "expand"},
    "cosine": {"recode": "cosine"},
}
"""Name -> how the codes are shown."""
_SETTINGS: dict[str, Any] = {"n_steps": 128, "batch_size": 256, "n_epochs": 4}
_ENVIRONMENTS = 16
_KEYPOINTS = 32


def keypoint_encoder(*, keypoints: int = _KEYPOINTS, channels: int = 3, size: int = 64) -> FrozenEncoder:
    """Of 64x64 images, every unit active: what it costs does not depend on what it has learned."""
    count = 3 * keypoints
    arguments = {"channels": channels, "size": size, "code_size": count}
    units = UnitStatistics(kl_nats=(0.0,) * count, mean=(0.0,) * count, std=(1.0,) * count, active=(True,) * count)
    preprocessing = Preprocessing(channels, (size, size), (size, size))
    spec = EncoderSpec("keypoints", arguments, preprocessing, {"name": "untrained"}, {"name": "none"}, units, "point")
    return FrozenEncoder(spec, build_vae("keypoints", arguments, seed=0).encoder.state_dict())


def _learning(environment: str, encoder: FrozenEncoder, view: dict[str, Any]) -> Callable[[], int]:
    """One rollout of PPO, and what is learned from it; returns its steps."""
    venv = make_latent_vec_env(environment, encoder, n_envs=_ENVIRONMENTS, seed=0, **view)
    model = PPO("MlpPolicy", venv, seed=0, device="cpu", policy_kwargs={"net_arch": [64, 64]}, **_SETTINGS)
    steps = _ENVIRONMENTS * _SETTINGS["n_steps"]

    def learn() -> int:
        model.learn(steps, reset_num_timesteps=False)
        return steps

    return learn


def _encoding(encoder: FrozenEncoder, calls: int) -> int:
    image = np.random.default_rng(0).integers(0, 256, (1, *encoder.image_shape), dtype=np.uint8)
    for _ in range(calls):
        encoder.encode(image)
    return calls


def _seconds_per_item(works: dict[str, Callable[[], int]], rounds: int) -> dict[str, dict[str, float]]:
    """Processor time of one item of each work, in turns, so that a busy moment of the machine hits all."""
    clock, found = steady_clock(torch.device("cpu"), 1), {name: list[float]() for name in works}
    for work in works.values():
        work()
    for _ in range(rounds):
        for name, work in works.items():
            started = clock()
            items = work()
            found[name].append((clock() - started) / items)
    return {name: summary(values) for name, values in found.items()}


def measure_recoding(*, rounds: int = 5, calls: int = 300) -> dict[str, Any]:
    """Seconds of an agent's step by how its codes are shown, and of one image by architecture, on one thread.

    Args:
        rounds: rollouts of every agent, and rounds of encoding.
        calls: images encoded a round.
    """
    dense, keypoints = untrained_encoder(3, code_size=32), keypoint_encoder()
    codes = {
        "SpriteReach, 10 units": ("SpriteReach", untrained_encoder(1, code_size=10)),
        "SpriteChase, 32 units": ("SpriteChase", dense),
        "SpriteChase, 32 keypoints": ("SpriteChase", keypoints),
    }
    with cpu_threads(1):
        agents = {}
        for title, (task, encoder) in codes.items():
            works = {name: _learning(f"SparseRepr/{task}-v0", encoder, view) for name, view in VIEWS.items()}
            seconds = _seconds_per_item(works, rounds)
            plain = seconds["plain"]["median"]
            agents[title] = {name: {**one, "over_plain": one["median"] / plain} for name, one in seconds.items()}
        encoders = {"burgess, 32 units": dense, "32 keypoints": keypoints}
        images = _seconds_per_item(
            {name: functools.partial(_encoding, encoder, calls) for name, encoder in encoders.items()}, rounds
        )
    return {
        "settings": {"environments": _ENVIRONMENTS, "heads": [64, 64], "rounds": rounds, **_SETTINGS},
        "agent_step_s": agents,
        "one_image_s": images,
    }
