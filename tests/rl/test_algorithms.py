"""`LatentExtractor` in every algorithm of Stable-Baselines3 and sb3-contrib, under their default policy arguments."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from sb3_contrib import QRDQN, TQC, TRPO, MaskablePPO, RecurrentPPO
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3

from rl import LatentExtractor
from sparse_repr import FrozenEncoder, load_encoder, save_encoder
from sparse_repr.encoder import FrozenEncoder as EncoderClass
from sparse_repr.models import BurgessEncoder, ExportedNetwork
from tests.conftest import make_encoder

CONTINUOUS, DISCRETE = "envs:SparseRepr/SpriteReach-v0", "envs:SparseRepr/SpriteReach-Discrete-v0"
REPLAY: dict[str, Any] = {"buffer_size": 50, "learning_starts": 4, "batch_size": 4}
TARGETS: dict[str, Any] = {**REPLAY, "target_update_interval": 4}
ROLLOUT: dict[str, Any] = {"n_steps": 6, "batch_size": 6}
# name -> algorithm, environment, settings that keep it short; policy arguments are left at their defaults
ALGORITHMS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "PPO": (PPO, CONTINUOUS, {**ROLLOUT, "n_epochs": 2}),
    "A2C": (A2C, CONTINUOUS, {}),
    "DQN": (DQN, DISCRETE, TARGETS),
    "SAC": (SAC, CONTINUOUS, REPLAY),
    "TD3": (TD3, CONTINUOUS, REPLAY),
    "DDPG": (DDPG, CONTINUOUS, REPLAY),
    "MaskablePPO": (MaskablePPO, DISCRETE, {**ROLLOUT, "n_epochs": 2}),
    "RecurrentPPO": (RecurrentPPO, CONTINUOUS, {**ROLLOUT, "n_epochs": 2}),
    "QRDQN": (QRDQN, DISCRETE, TARGETS),
    "TQC": (TQC, CONTINUOUS, REPLAY),
    "TRPO": (TRPO, CONTINUOUS, ROLLOUT),
}
# how many networks with a features extractor of their own a policy holds
EXTRACTORS = {"DQN": 2, "SAC": 3, "TD3": 4, "DDPG": 4, "QRDQN": 2, "TQC": 3}


def _env(name: str) -> gym.Env[Any, Any]:
    env = gym.make(ALGORITHMS[name][1])
    return ActionMasker(env, lambda _: np.array([1, 1, 1, 0, 1], bool)) if name == "MaskablePPO" else env


def _build(name: str, encoder: FrozenEncoder, **policy_kwargs: Any) -> Any:
    algorithm, _, settings = ALGORITHMS[name]
    kwargs = {
        "features_extractor_class": LatentExtractor,
        "features_extractor_kwargs": {"encoder": encoder},
        **policy_kwargs,
    }
    policy = "CnnLstmPolicy" if name == "RecurrentPPO" else "CnnPolicy"
    return algorithm(policy, _env(name), policy_kwargs=kwargs, device="cpu", seed=0, **settings)


def _extractors(model: Any) -> list[LatentExtractor]:
    return [module for module in model.policy.modules() if isinstance(module, LatentExtractor)]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_traps_01_03_14_the_encoder_survives_training_and_saving(name: str, tmp_path: Path) -> None:
    content = make_encoder().to_bytes()
    (tmp_path / "run").mkdir()
    save_encoder(make_encoder(), tmp_path / "run" / "encoder.safetensors")
    EncoderClass._known.clear()
    encoder = load_encoder(tmp_path / "run")
    fingerprint = encoder.fingerprint

    model = _build(name, encoder)
    assert (encoder.fingerprint, encoder.to_bytes()) == (fingerprint, content)
    before = _weights(model)
    model.learn(12)
    assert any(not torch.equal(old, new) for old, new in zip(before, _weights(model), strict=True))
    assert (encoder.fingerprint, encoder.to_bytes()) == (fingerprint, content)
    encoder.verify()

    image = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8)
    expected, _ = model.predict(image, deterministic=True)
    model.save(tmp_path / "agent.zip")
    shutil.rmtree(tmp_path / "run")
    EncoderClass._known.clear()
    loaded = ALGORITHMS[name][0].load(tmp_path / "agent.zip", env=_env(name), device="cpu")
    held = _extractors(loaded)[0].encoder
    assert held is not encoder
    assert (held.fingerprint, held.to_bytes()) == (fingerprint, content)
    assert np.array_equal(loaded.predict(image, deterministic=True)[0], expected)
    loaded.learn(12)
    assert (held.fingerprint, held.to_bytes()) == (fingerprint, content)
    held.verify()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_trap_04_there_is_nothing_to_average(name: str) -> None:
    extractors = _extractors(_build(name, make_encoder()))
    assert len(extractors) >= EXTRACTORS.get(name, 1)
    for extractor in extractors:
        assert list(extractor.parameters()) == []
        assert list(extractor.buffers()) == []
        assert list(extractor.state_dict()) == ["_extra_state"]


def _weights(model: Any) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.policy.parameters()]


def _optimizers(model: Any) -> list[torch.optim.Optimizer]:
    parts = [model.policy, *model.policy.children()]
    return [part.optimizer for part in parts if isinstance(getattr(part, "optimizer", None), torch.optim.Optimizer)]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_trap_05_frozen_weights_are_in_no_optimizer(name: str) -> None:
    encoder = make_encoder()
    model = _build(name, encoder)
    optimizers = _optimizers(model)
    assert optimizers
    frozen = {id(parameter) for parameter in encoder.network().parameters()}
    shapes = {tuple(parameter.shape) for parameter in encoder.network().parameters() if parameter.ndim == 4}
    for optimizer in optimizers:
        optimized = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        assert optimized
        assert not frozen & {id(parameter) for parameter in optimized}
        assert not shapes & {tuple(parameter.shape) for parameter in optimized}  # nor a copy of them
        assert all(parameter.requires_grad for parameter in optimized)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_trap_06_all_networks_share_one_encoder_in_memory(name: str) -> None:
    encoder = make_encoder()
    networks = _networks_in_memory()
    model = _build(name, encoder)
    assert len(_extractors(model)) == EXTRACTORS[name]
    assert {id(extractor.encoder) for extractor in _extractors(model)} == {id(encoder)}
    model.learn(8)
    assert _networks_in_memory() == networks


def _networks_in_memory() -> int:
    gc.collect()
    return sum(type(thing) in (BurgessEncoder, ExportedNetwork) for thing in gc.get_objects())


@pytest.mark.parametrize(
    ("name", "nature", "ours"),
    [("PPO", [], {"pi": [64, 64], "vf": [64, 64]}), ("DQN", [], [64, 64]), ("TD3", [256, 256], [400, 300])],
)
def test_trap_07_default_networks_differ_unless_net_arch_is_given(name: str, nature: Any, ours: Any) -> None:
    algorithm, env, settings = ALGORITHMS[name]
    baseline = algorithm("CnnPolicy", gym.make(env), device="cpu", **settings)
    assert baseline.policy.net_arch == nature
    assert _build(name, make_encoder()).policy.net_arch == ours
    # the remedy: the same argument in both arms
    explicit = algorithm("CnnPolicy", gym.make(env), policy_kwargs={"net_arch": [32]}, device="cpu", **settings)
    assert explicit.policy.net_arch == _build(name, make_encoder(), net_arch=[32]).policy.net_arch == [32]
