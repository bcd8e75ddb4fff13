"""What a frozen encoder costs an agent, in the policy and outside it, against a NatureCNN trained end to end."""

from __future__ import annotations

import functools
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

import envs  # noqa: F401 (registers the environments)
from experiments.measure.machine import peak_memory_mb
from experiments.measure.side_by_side import seconds_of, summary
from rl import LatentExtractor, LatentObservation, VecLatentObservation
from sparse_repr import FrozenEncoder, untrained_encoder
from sparse_repr.command_line.running import run_command

_CODE_SIZE = 10
_ENVS = 8
_ROLLOUT = 128
_ROLLOUTS = 3
_ROUNDS = 3
_REPLAY = 100_000
_POOL = 32

ARMS = ("latent_wrapper", "frozen_extractor", "frozen_extractor_cached", "nature_cnn")
"""Ways to give an agent pictures: codes from `VecLatentObservation`, `LatentExtractor` without and with its cache, and
SB3's own convolutional network trained with the policy."""


class _Coloured(gym.ObservationWrapper[npt.NDArray[np.uint8], Any, npt.NDArray[np.uint8]]):
    """Grey pictures (H, W, 1) as RGB (H, W, 3): the usual input of an agent, from an environment that costs little."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        assert env.observation_space.shape is not None
        self.observation_space = gym.spaces.Box(0, 255, (*env.observation_space.shape[:2], 3), np.uint8)

    def observation(self, observation: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return np.repeat(observation, 3, axis=2)


def _environment() -> gym.Env[Any, Any]:
    return _Coloured(gym.make("SparseRepr/SpriteReach-v0"))


def _encoder() -> FrozenEncoder:
    """Of 3x64x64 pictures: what it costs does not depend on what it learned."""
    return untrained_encoder(3, code_size=_CODE_SIZE)


def _agent(algorithm: Callable[..., Any], arm: str, venv: VecEnv, encoder: FrozenEncoder, **settings: Any) -> Any:
    """The same heads on every arm."""
    kwargs: dict[str, Any] = {"net_arch": [64, 64]}
    if arm == "latent_wrapper":
        return algorithm(
            "MlpPolicy", VecLatentObservation(venv, encoder), device="cpu", seed=0, policy_kwargs=kwargs, **settings
        )
    if arm != "nature_cnn":
        cached = {"cache_frames": _ENVS * (_ROLLOUT + 1)} if arm == "frozen_extractor_cached" else {}
        kwargs["features_extractor_class"] = LatentExtractor
        kwargs["features_extractor_kwargs"] = {"encoder": encoder, **cached}
    return algorithm("CnnPolicy", venv, device="cpu", seed=0, policy_kwargs=kwargs, **settings)


def _peak_memory_gb() -> float:
    return peak_memory_mb() / 1e3


def train_ppo(arm: str) -> dict[str, float]:
    """PPO at SB3's 10 epochs on 8 environments: steps per second of `learn`, and the process's peak memory."""
    venv = DummyVecEnv([_environment] * _ENVS)
    before = _peak_memory_gb()
    model = _agent(PPO, arm, venv, _encoder(), n_steps=_ROLLOUT, batch_size=256)
    steps = _ROLLOUTS * _ENVS * _ROLLOUT
    started = time.perf_counter()
    model.learn(steps)
    return {
        "steps_per_s": steps / (time.perf_counter() - started),
        "peak_memory_gb": _peak_memory_gb(),
        "of_which_before_the_agent_gb": before,
    }


def fill_replay(arm: str) -> dict[str, float]:
    """SAC with a replay buffer of 100,000 steps, written to the last entry: bytes of the observations, peak memory."""
    model = _agent(SAC, arm, DummyVecEnv([_environment]), _encoder(), buffer_size=_REPLAY)
    before = _peak_memory_gb()
    buffer = model.replay_buffer
    # memory is only taken when it is written to
    buffer.observations.fill(1)
    buffer.next_observations.fill(1)
    return {
        "observations_gb": (buffer.observations.nbytes + buffer.next_observations.nbytes) / 1e9,
        "peak_memory_gb": _peak_memory_gb(),
        "of_which_before_filling_gb": before,
    }


_MEASUREMENTS: dict[str, Callable[[str], dict[str, float]]] = {"ppo": train_ppo, "sac": fill_replay}


def _in_own_process(measurement: str, arm: str) -> dict[str, float]:
    """In a process of its own, so that its peak memory is that of this arm."""
    command = [sys.executable, "-m", "experiments.benchmark.agents", measurement, arm]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise OSError(f"{' '.join(command)} failed:\n{run.stderr}")
    measured: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return measured


def _measure_ppo() -> dict[str, Any]:
    rounds: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for _ in range(_ROUNDS):
        for arm in ARMS:
            rounds[arm].append(_in_own_process("ppo", arm))
    results: dict[str, Any] = {
        arm: {name: summary([one[name] for one in measured]) for name in measured[0]}
        for arm, measured in rounds.items()
    }
    wrapper = results["latent_wrapper"]["steps_per_s"]["median"]
    for arm in ARMS:
        results[arm]["wrapper_is_times_faster"] = wrapper / results[arm]["steps_per_s"]["median"]
    return results


class _Still(gym.Env[npt.NDArray[np.uint8], Any]):
    """Always the same picture: what a step costs is the wrapper."""

    observation_space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = gym.spaces.Discrete(1)

    def __init__(self) -> None:
        self._picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        return self._picture, {}

    def step(self, _: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self._picture, 0.0, False, False, {}


def _measure_vectorised(count: int = 16) -> dict[str, Any]:
    """A step of 16 environments that cost nothing: encoded in one batch, and by one wrapper per environment."""
    encoder = _encoder()
    together = VecLatentObservation(DummyVecEnv([_Still] * count), encoder)
    apart = DummyVecEnv([lambda: LatentObservation(_Still(), encoder)] * count)
    actions = np.zeros(count, dtype=np.int64)
    works: dict[str, Callable[[], Any]] = {}
    for name, venv in (("VecLatentObservation", together), ("LatentObservation_each", apart)):
        venv.reset()
        works[name] = functools.partial(venv.step, actions)
    seconds = seconds_of(works, repeats=15, inner=10)
    return {
        **seconds,
        "times_faster": seconds["LatentObservation_each"]["median"] / seconds["VecLatentObservation"]["median"],
    }


def _in_turn(work: Callable[[Any], Any], inputs: list[Any]) -> Callable[[], Any]:
    """Calls `work` on the next of `inputs` each time."""
    endless = itertools.cycle(inputs)
    return lambda: work(next(endless))


def _measure_overhead() -> dict[str, Any]:
    """`encode` on uint8 (H, W, C) pictures and the extractor on SB3's floats, over the bare forward pass on floats."""
    encoder = _encoder()
    network = encoder.network("cpu")
    extractor = LatentExtractor(gym.spaces.Box(0, 255, (3, 64, 64), np.uint8), encoder)
    results = {}
    for batch in (1, 8, 64):
        # every call gets other pictures, as an agent does: the same ones again would still be in the cache
        pictures = np.random.default_rng(0).integers(0, 256, (_POOL, batch, 64, 64, 3), dtype=np.uint8)
        scaled = torch.from_numpy(pictures).permute(0, 1, 4, 2, 3).contiguous().float() / 255
        works: dict[str, Callable[[], Any]] = {
            "bare_forward": _in_turn(network, list(scaled)),
            "encode": _in_turn(encoder.encode, list(pictures)),
            "extractor": _in_turn(extractor, list(scaled)),
        }
        with torch.no_grad():
            seconds = seconds_of(works, repeats=31, inner=max(1, 64 // batch))
        bare = seconds["bare_forward"]["median"]
        for name in works:
            results[f"{name}_of_{batch}"] = {**seconds[name], "over_bare": seconds[name]["median"] / bare - 1}
    return results


def measure_agents() -> dict[str, Any]:
    """Every figure on agents: PPO, SAC's replay buffer, vectorised encoding and the overhead over the bare network."""
    replay = {arm: _in_own_process("sac", arm) for arm in ("latent_wrapper", "frozen_extractor")}
    pixels, codes = (replay[arm]["observations_gb"] for arm in ("frozen_extractor", "latent_wrapper"))
    return {
        "settings": {
            "image": "64x64x3",
            "code_size": _CODE_SIZE,
            "envs": _ENVS,
            "n_steps": _ROLLOUT,
            "epochs": 10,
            "steps": _ROLLOUTS * _ENVS * _ROLLOUT,
            "replay": _REPLAY,
        },
        "ppo": _measure_ppo(),
        "sac_replay": {**replay, "pixels_over_codes": pixels / codes},
        "encoding_for_16_envs": _measure_vectorised(),
        "overhead": _measure_overhead(),
    }


if __name__ == "__main__":
    sys.exit(run_command(lambda: print(json.dumps(_MEASUREMENTS[sys.argv[1]](sys.argv[2])))))
