"""Fine-tuning a pretrained encoder inside a policy: traps 1, 5 and 23 from their other side."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC
from torch import Tensor
from torch.nn.utils import parametrize

from rl import LatentExtractor, load_agent, save_agent
from rl.trainable_encoder import TrainableEncoder
from sparse_repr import FrozenEncoder, load_encoder

CONTINUOUS, DISCRETE = "envs:SparseRepr/SpriteReach-v0", "envs:SparseRepr/SpriteReach-Discrete-v0"


def _ppo(encoder: FrozenEncoder, learning_rate: Any = 1e-3, **extractor: Any) -> PPO:
    return PPO(
        "CnnPolicy",
        gym.make(CONTINUOUS),
        learning_rate=learning_rate,
        n_steps=16,
        batch_size=16,
        n_epochs=1,
        device="cpu",
        seed=0,
        policy_kwargs={
            "features_extractor_class": LatentExtractor,
            "features_extractor_kwargs": {"encoder": encoder, "trainable": True, **extractor},
        },
    )


def _weights(encoder: TrainableEncoder) -> dict[str, Tensor]:
    """The effective weights, by the names of the frozen network."""
    return {
        f"{prefix}.{name}".lstrip("."): getattr(module, name).detach().clone()
        for prefix, module in encoder.network.named_modules()
        if parametrize.is_parametrized(module)
        for name in module.parametrizations
    }


def _last(weights: dict[str, Tensor], name: str) -> Tensor:
    """Of the last layer: ``weight`` or ``bias``."""
    return [values for key, values in weights.items() if key.endswith(name)][-1]


@pytest.mark.parametrize("multiplier", [1.0, 0.1])
def test_trap_01_pretrained_weights_survive_orthogonal_initialisation(
    multiplier: float, tiny_encoder: FrozenEncoder
) -> None:
    model = _ppo(tiny_encoder, encoder_lr_multiplier=multiplier, trunk=[16])
    extractor = model.policy.features_extractor
    frozen = dict(tiny_encoder.network().named_parameters())
    weights = _weights(extractor.trainable_encoder)
    assert weights.keys() == frozen.keys()
    assert all(torch.equal(weights[name], frozen[name]) for name in frozen)
    # while the trunk on top got SB3's: orthogonal with gain sqrt(2), bias 0
    layer = extractor.trunk[0]
    torch.testing.assert_close(layer.weight.T @ layer.weight, 2 * torch.eye(10), atol=1e-4, rtol=0)
    assert not layer.bias.any()


def test_trap_02_a_trainable_encoder_starts_with_the_same_codes(tiny_encoder: FrozenEncoder) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 64, 64), dtype=np.uint8)
    extractor = LatentExtractor(gym.spaces.Box(0, 255, (1, 64, 64), np.uint8), tiny_encoder, trainable=True)
    codes = extractor(torch.from_numpy(images).float() / 255)
    assert codes.requires_grad
    np.testing.assert_allclose(codes.detach().numpy(), tiny_encoder.encode(images), atol=1e-6)


def test_trap_05_fine_tuning_trains_saves_loads_and_goes_on(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    model = _ppo(load_encoder(run))
    in_optimiser = {id(weight) for group in model.policy.optimizer.param_groups for weight in group["params"]}
    encoder = model.policy.features_extractor.trainable_encoder
    assert {id(weight) for weight in encoder.parameters()} <= in_optimiser
    before = _weights(encoder)
    model.learn(32)
    after = _weights(encoder)
    assert all(not torch.equal(before[name], after[name]) for name in before if "posterior" in name or "last" in name)
    model.save(tmp_path / "agent.zip")
    shutil.rmtree(run)
    loaded = PPO.load(tmp_path / "agent.zip", env=gym.make(CONTINUOUS), device="cpu")
    again = _weights(loaded.policy.features_extractor.trainable_encoder)
    assert all(torch.equal(after[name], again[name]) for name in after)
    observation, _ = gym.make(CONTINUOUS).reset(seed=0)
    expected, _ = model.predict(observation, deterministic=True)
    assert np.array_equal(loaded.predict(observation, deterministic=True)[0], expected)
    loaded.learn(32)
    moved = _weights(loaded.policy.features_extractor.trainable_encoder)
    assert not torch.equal(_last(again, "weight"), _last(moved, "weight"))


@pytest.mark.parametrize(("algorithm", "env"), [(DQN, DISCRETE), (SAC, CONTINUOUS)])
def test_trap_03_target_networks_have_weights_of_their_own(
    algorithm: Any, env: str, tiny_encoder: FrozenEncoder
) -> None:
    model = algorithm(
        "CnnPolicy",
        gym.make(env),
        learning_starts=8,
        batch_size=16,
        buffer_size=100,
        device="cpu",
        seed=0,
        policy_kwargs={
            "features_extractor_class": LatentExtractor,
            "features_extractor_kwargs": {"encoder": tiny_encoder, "trainable": True},
        },
    )
    content = tiny_encoder.to_bytes()
    extractors = [module for module in model.policy.modules() if isinstance(module, LatentExtractor)]
    assert len(extractors) > 1
    weights = [next(extractor.parameters()) for extractor in extractors]
    assert len({weight.data_ptr() for weight in weights}) == len(extractors)
    model.learn(16)
    assert tiny_encoder.to_bytes() == content
    assert all(torch.isfinite(value).all() for value in _weights(extractors[0].trainable_encoder).values())


@pytest.mark.parametrize("multiplier", [1.0, 0.1, 3.0])
def test_trap_23_the_multiplier_holds_under_adam_after_a_schedule_update(
    multiplier: float, tiny_encoder: FrozenEncoder
) -> None:
    model = _ppo(tiny_encoder, learning_rate=lambda left: 0.01 * left, encoder_lr_multiplier=multiplier)
    model.set_logger(_no_logger())
    model._current_progress_remaining = 0.5
    model._update_learning_rate(model.policy.optimizer)
    extractor, head = model.policy.features_extractor, model.policy.action_net
    before, head_before = _weights(extractor.trainable_encoder), head.weight.detach().clone()
    codes = extractor(torch.rand(8, 1, 64, 64))
    model.policy.optimizer.zero_grad()
    # gradients far above Adam's epsilon: its first step is then the rate times their sign
    (1e4 * (codes.square().sum() + head.weight.sum())).backward()
    model.policy.optimizer.step()
    after = _weights(extractor.trainable_encoder)
    torch.testing.assert_close((head.weight - head_before).abs(), torch.full_like(head_before, 0.005))
    moved = (_last(after, "bias") - _last(before, "bias"))[:10].abs()
    torch.testing.assert_close(moved, torch.full_like(moved, multiplier * 0.005), rtol=1e-3, atol=0)


def _no_logger() -> Any:
    from stable_baselines3.common.logger import Logger

    return Logger(folder=None, output_formats=[])


def test_trap_23_the_gradient_is_that_of_the_plain_weight(tiny_encoder: FrozenEncoder) -> None:
    images = torch.randint(0, 256, (4, 1, 64, 64), dtype=torch.uint8)
    gradients = []
    for multiplier in (1.0, 0.01):
        encoder = TrainableEncoder(tiny_encoder, multiplier)
        encoder(images).mean.square().sum().backward()
        gradients.append([weight.grad for weight in encoder.parameters()])
    for plain, multiplied in zip(*gradients, strict=True):
        assert plain is not None
        assert torch.equal(plain, multiplied)


def test_the_weights_type_follows_the_policy(tiny_encoder: FrozenEncoder) -> None:
    model = _ppo(tiny_encoder)
    model.policy.to(torch.float64)
    codes = model.policy.features_extractor(torch.rand(2, 1, 64, 64, dtype=torch.float64))
    assert codes.dtype == torch.float64


@pytest.mark.parametrize("multiplier", [0.0, -1.0, float("inf")])
def test_a_multiplier_that_does_not_train_is_refused(multiplier: float, tiny_encoder: FrozenEncoder) -> None:
    with pytest.raises(ValueError, match="encoder_lr_multiplier needs a positive number"):
        TrainableEncoder(tiny_encoder, multiplier)


def test_trap_01_apply_visits_the_trunk_but_no_pretrained_layer(tiny_encoder: FrozenEncoder) -> None:
    space = gym.spaces.Box(0, 255, (1, 64, 64), np.uint8)
    extractor = LatentExtractor(space, tiny_encoder, trainable=True, trunk=[16])
    visited: list[torch.nn.Module] = []
    assert extractor.apply(visited.append) is extractor
    assert set(visited) == {extractor, *extractor.trunk.modules()}


def test_another_multiplier_keeps_the_weights_that_were_learned(tiny_encoder: FrozenEncoder, tmp_path: Path) -> None:
    model = _ppo(tiny_encoder, learning_rate=3e-3, encoder_lr_multiplier=0.5)
    model.learn(32)
    extractor = model.policy.features_extractor
    learned = _weights(extractor.trainable_encoder)
    given = {"encoder": tiny_encoder, "trainable": True, "encoder_lr_multiplier": 0.05}
    slower = {"features_extractor_class": LatentExtractor, "features_extractor_kwargs": given}
    save_agent(tmp_path / "whole.zip", model)
    model.save(tmp_path / "plain.zip")
    whole, _ = load_agent(tmp_path / "whole.zip", CONTINUOUS, custom_objects={"policy_kwargs": slower})
    plain = PPO.load(tmp_path / "plain.zip", custom_objects={"policy_kwargs": slower})
    other = _ppo(tiny_encoder, encoder_lr_multiplier=4.0)
    other.set_parameters(model.get_parameters())
    for loaded, multiplier in ((whole, 0.05), (plain, 0.05), (other, 4.0)):
        copy = loaded.policy.features_extractor.trainable_encoder
        assert copy.learning_rate_multiplier == multiplier
        for name, weight in _weights(copy).items():
            torch.testing.assert_close(weight, learned[name], rtol=1e-5, atol=1e-6, msg=name)
    # files of before say nothing of a multiplier
    state = model.policy.state_dict()
    old = {name: value[:32] if name.endswith("_extra_state") else value for name, value in state.items()}
    again = _ppo(tiny_encoder, encoder_lr_multiplier=0.5)
    again.policy.load_state_dict(old)
    found = _weights(again.policy.features_extractor.trainable_encoder)
    assert all(torch.equal(weight, learned[name]) for name, weight in found.items())
