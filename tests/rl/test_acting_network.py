"""What decides an agent's action, as layers: what they make of codes is what the agent does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import MultiDiscrete
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from rl import LatentExtractor, make_latent_vec_env
from rl.acting_network import NotCarriedError, acting_network, encoder_of
from rl.dictionary import DictionarySettings, fit_dictionary
from rl.policies import LatentActorCriticPolicy
from sparse_repr import FrozenEncoder
from sparse_repr.explore.networks import Layer
from tests.conftest import make_encoder
from tests.frame_envs import Frames

REACH, DISCRETE = "SparseRepr/SpriteReach-v0", "SparseRepr/SpriteReach-Discrete-v0"


def _apply(layers: list[Layer], values: Tensor) -> Tensor:
    """What the kernel makes of rows (n, F), in torch; tests/sparse_repr/explore/test_kernel.py compares the two."""
    for layer in layers:
        operation = layer["op"]
        if operation == "linear":
            values = values @ layer["weight"].T + layer["bias"]
        elif operation == "affine":
            values = values * layer["factor"] + layer["shift"]
        elif operation == "clamp":
            values = values.clamp(layer["low"], layer["high"])
        elif operation == "largest":
            kept = torch.zeros_like(values).scatter(1, values.topk(layer["count"]).indices, 1.0)
            values = kept if layer["binary"] else values * kept
        else:
            values = getattr(torch, operation)(values)
    return values


def _decided(model: BaseAlgorithm, codes: Tensor) -> Any:
    """Actions of stacks of codes (n, n_stack, D)."""
    network = acting_network(model)
    assert codes.shape[1] == network.n_stack
    shown = torch.cat([_apply(network.features, codes[:, place]) for place in range(network.n_stack)], dim=1)
    out = _apply(network.layers, shown)
    assert out.shape[1] == network.outputs
    return out.argmax(1).numpy() if network.scores != "numbers" else out.detach().numpy()


def _walk(model: BaseAlgorithm, steps: int = 12) -> tuple[Tensor, list[Any], Any]:
    """Observations of a walk, and what the agent would do on each."""
    venv = model.get_env()
    assert venv is not None
    venv.seed(3)
    observations: Any = venv.reset()
    seen = []
    for _ in range(steps):
        seen.append(observations)
        observations = venv.step([venv.action_space.sample() for _ in range(venv.num_envs)])[0]
    rows = np.concatenate(seen)
    return rows, model.predict(rows, deterministic=True)[0], venv


@pytest.fixture(scope="module")
def encoder() -> FrozenEncoder:
    return make_encoder(1, code_size=4)


@pytest.mark.parametrize(
    ("algorithm", "env", "options"),
    [
        (PPO, DISCRETE, {}),
        (PPO, REACH, {}),
        (A2C, REACH, {"n_stack": 2}),
        (DQN, DISCRETE, {}),
        (SAC, REACH, {}),
        (TD3, REACH, {"n_stack": 3}),
    ],
)
def test_it_decides_as_the_agent(algorithm: Any, env: str, options: dict[str, Any], encoder: FrozenEncoder) -> None:
    venv = make_latent_vec_env(env, encoder, n_envs=1, seed=0, **options)
    model = algorithm("MlpPolicy", venv, seed=0, device="cpu")
    observations, expected, _ = _walk(model)
    n_stack = options.get("n_stack", 1)
    codes = torch.as_tensor(np.asarray(observations)).reshape(len(expected), n_stack, encoder.code_size)
    found = _decided(model, codes)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert encoder_of(model) == encoder


def _learned(encoder: FrozenEncoder, images: Any) -> FrozenEncoder:
    """The same with statistics of units that are all active."""
    import dataclasses

    from sparse_repr.encoder import UnitStatistics

    codes = encoder.encode(images)
    units = UnitStatistics((1.0,) * 4, tuple(codes.mean(0).tolist()), tuple(codes.std(0).tolist()), (True,) * 4)
    return FrozenEncoder(dataclasses.replace(encoder.spec, units=units), encoder.network().state_dict())


@pytest.fixture(scope="module")
def images() -> Any:
    venv = make_vec_env(REACH, n_envs=8, seed=5)
    return np.concatenate([venv.reset() for _ in range(6)])


@pytest.mark.parametrize("recode", ["expand", "project", "dictionary"])
def test_recoded_codes_are_recoded(recode: str, encoder: FrozenEncoder, images: Any) -> None:
    learned = _learned(encoder, images)
    chosen: Any = recode
    if recode == "dictionary":
        codes = learned.encode(images)
        chosen = fit_dictionary(learned, codes, DictionarySettings(width=12, k=3, steps=5)).settings()
    venv = make_latent_vec_env(REACH, learned, n_envs=1, seed=0, recode=chosen)
    model = PPO("MlpPolicy", venv, seed=0, device="cpu")
    codes = torch.from_numpy(learned.encode(images))
    features = acting_network(model).features
    from rl.code_features import CodeFeatures

    shown = CodeFeatures(learned, recode=chosen).torch(codes, codes)
    assert torch.allclose(_apply(features, codes), shown, atol=1e-5)


@pytest.mark.parametrize("scaling", ["scale", "standardize"])
def test_scaling_and_vecnormalize_are_in_the_layers(scaling: Any, encoder: FrozenEncoder, images: Any) -> None:
    learned = _learned(encoder, images)
    venv = make_latent_vec_env(REACH, learned, n_envs=4, seed=0, code_scaling=scaling, normalize=True)
    model = PPO("MlpPolicy", venv, n_steps=8, batch_size=32, seed=0, device="cpu")
    model.learn(32)
    codes = learned.encode(images)
    from rl.code_scaling import CodeScaling

    normalize = model.get_vec_normalize_env()
    assert normalize is not None
    expected, _ = model.predict(normalize.normalize_obs(CodeScaling(learned, scaling).numpy(codes)), deterministic=True)
    np.testing.assert_allclose(_decided(model, torch.from_numpy(codes)[:, None]), expected, atol=1e-5)


def test_an_extractor_in_the_policy_is_carried_with_its_trunk(encoder: FrozenEncoder, images: Any) -> None:
    kwargs = {"encoder": encoder, "trunk": (8,)}
    venv = make_vec_env(REACH, n_envs=1)
    policy = {"features_extractor_class": LatentExtractor, "features_extractor_kwargs": kwargs}
    model = PPO("CnnPolicy", venv, policy_kwargs=policy, device="cpu", seed=0)
    expected, _ = model.predict(images.transpose(0, 3, 1, 2), deterministic=True)
    codes = torch.from_numpy(encoder.encode(images))
    np.testing.assert_allclose(_decided(model, codes[:, None]), expected, atol=1e-5)
    assert encoder_of(model) == encoder


def test_what_cannot_be_carried_says_why(encoder: FrozenEncoder, images: Any) -> None:
    venv = make_latent_vec_env(REACH, encoder, n_envs=1, seed=0)
    model = PPO("MlpPolicy", venv, device="cpu", use_sde=True)
    with pytest.raises(NotCarriedError, match="its actions follow a StateDependentNoiseDistribution"):
        acting_network(model)
    learned = _learned(encoder, images)
    model = PPO("MlpPolicy", make_latent_vec_env(REACH, learned, recode="cosine"), device="cpu")
    with pytest.raises(NotCarriedError, match="recode='cosine', which the explorer does not compute"):
        acting_network(model)
    model = PPO("MlpPolicy", make_latent_vec_env(REACH, encoder, include_log_variance=True), device="cpu")
    with pytest.raises(NotCarriedError, match="it is shown log-variances"):
        acting_network(model)
    model.action_space = MultiDiscrete([2, 2])
    model.policy.features_extractor.__class__ = type("Odd", (type(model.policy.features_extractor),), {})
    with pytest.raises(NotCarriedError):
        acting_network(model)


def test_policies_that_act_on_more_than_the_features_are_not_carried(encoder: FrozenEncoder) -> None:
    venv = make_latent_vec_env(REACH, encoder, seed=0)
    recurrent = RecurrentPPO(
        "MlpLstmPolicy", venv, device="cpu", policy_kwargs={"net_arch": [8], "lstm_hidden_size": 10}
    )
    with pytest.raises(NotCarriedError, match="RecurrentActorCriticPolicy also takes episode_starts, lstm_states"):
        acting_network(recurrent)
    venv = DummyVecEnv([lambda: Frames(named=True)])
    kwargs = {"encoder": make_encoder(3), "image_keys": ["front"], "raw_keys": ["back"]}
    policy = {"features_extractor_class": LatentExtractor, "features_extractor_kwargs": kwargs}
    with pytest.raises(NotCarriedError, match="it observes more than pictures"):
        acting_network(PPO("MultiInputPolicy", venv, device="cpu", policy_kwargs=policy))


def test_the_policies_of_rl_zoo3_are_carried(encoder: FrozenEncoder) -> None:
    kwargs = {"features_extractor_kwargs": {"encoder": encoder}}
    model = PPO(LatentActorCriticPolicy, make_vec_env(REACH), device="cpu", policy_kwargs=kwargs)
    rows, expected, _ = _walk(model)
    codes = torch.from_numpy(encoder.encode(rows))
    np.testing.assert_allclose(_decided(model, codes[:, None]), expected, atol=1e-5)


def test_an_agent_without_a_frozen_encoder_is_refused(encoder: FrozenEncoder) -> None:
    with pytest.raises(ValueError, match="needs an agent on codes"):
        encoder_of(PPO("CnnPolicy", make_vec_env(REACH), device="cpu"))
    policy = {
        "features_extractor_class": LatentExtractor,
        "features_extractor_kwargs": {"encoder": encoder, "trainable": True},
    }
    with pytest.raises(ValueError, match="needs a frozen encoder: this agent has trained its own"):
        encoder_of(PPO("CnnPolicy", make_vec_env(REACH), policy_kwargs=policy, device="cpu"))
