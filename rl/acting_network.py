"""What decides an agent's action, as layers that the explorer computes in a browser."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import CategoricalDistribution, DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

from rl.agent_graph import require_memoryless
from rl.agents import codes_wrapping
from rl.features_extractor import LatentExtractor
from sparse_repr import FrozenEncoder
from sparse_repr.explore import ActingNetwork
from sparse_repr.explore.networks import Layer, UnknownNetworkError, layers_of_modules


class NotCarriedError(ValueError):
    """An agent whose decisions cannot be computed in a browser."""


def encoder_of(model: BaseAlgorithm) -> FrozenEncoder:
    """The frozen encoder whose codes an agent goes by.

    Raises:
        ValueError: it has none, or it has trained one of its own.
    """
    venv = model.get_env()
    found = None if venv is None else codes_wrapping(venv)
    if found is not None:
        return found[0]
    extractor = next((part for part in model.policy.modules() if isinstance(part, LatentExtractor)), None)
    if extractor is None:
        raise ValueError(
            "a film for the explorer needs an agent on codes: neither is its environment wrapped in "
            "VecLatentObservation, nor has its policy a LatentExtractor"
        )
    if extractor.trainable_encoder is not None:
        raise ValueError(
            "a film for the explorer needs a frozen encoder: this agent has trained its own, whose codes are not those "
            "of a run; film_agent films it as a GIF"
        )
    return extractor.encoder


def acting_network(model: BaseAlgorithm) -> ActingNetwork:
    """From the codes of the last images to what decides the action of `predict(deterministic=True)`.

    PPO, A2C, DQN, SAC and TD3 and what is derived from them, with the policies of Stable-Baselines3.

    Raises:
        NotCarriedError: anything else; it is named.
    """
    try:
        require_memoryless(model.policy, "the explorer")
    except TypeError as error:
        raise NotCarriedError(str(error)) from error
    acting, layers, scores = _acting(model.policy)
    extractor = acting.features_extractor if scores != "logits" else _extractor(model.policy)
    features, n_stack = _features(model, extractor)
    if isinstance(extractor, LatentExtractor):
        layers = [*_plain(extractor.trunk), *layers]
    space = model.action_space
    if isinstance(space, gym.spaces.Box):
        layers = [*layers, *_to_bounds(space, squashed=bool(model.policy.squash_output))]
    elif not isinstance(space, gym.spaces.Discrete):
        raise NotCarriedError(f"its actions are {type(space).__name__}, which the explorer does not know")
    outputs = int(space.n) if isinstance(space, gym.spaces.Discrete) else int(np.prod(space.shape))
    scores = "numbers" if isinstance(space, gym.spaces.Box) else scores
    return ActingNetwork(features, [*_normalised(model), *layers], n_stack, scores, outputs)


def _acting(policy: Any) -> tuple[Any, list[Layer], str]:
    """The part of a policy that acts, its layers behind the features, and what these give."""
    if isinstance(policy, ActorCriticPolicy) and isinstance(policy.mlp_extractor, MlpExtractor):
        if not isinstance(policy.action_dist, (CategoricalDistribution, DiagGaussianDistribution)):
            raise NotCarriedError(f"its actions follow a {type(policy.action_dist).__name__}")
        return policy, _plain(policy.mlp_extractor.policy_net, policy.action_net), "logits"
    if isinstance(policy, DQNPolicy):
        return policy.q_net, _plain(policy.q_net.q_net), "values"
    if isinstance(policy, SACPolicy):
        return policy.actor, [*_plain(policy.actor.latent_pi, policy.actor.mu), {"op": "tanh"}], "numbers"
    if isinstance(policy, TD3Policy):
        return policy.actor, _plain(policy.actor.mu), "numbers"
    raise NotCarriedError(f"its policy is a {type(policy).__name__}, which the explorer does not know")


def _extractor(policy: Any) -> Any:
    return policy.features_extractor if policy.share_features_extractor else policy.pi_features_extractor


def _plain(*modules: nn.Module) -> list[Layer]:
    try:
        return [layer for module in modules for layer in layers_of_modules(module)]
    except UnknownNetworkError as error:
        raise NotCarriedError(str(error)) from error


def _features(model: BaseAlgorithm, extractor: Any) -> tuple[list[Layer], int]:
    """What the agent is shown of a code, and how many codes it is shown."""
    if isinstance(extractor, LatentExtractor):
        if isinstance(model.observation_space, gym.spaces.Dict):
            raise NotCarriedError("it observes more than pictures")
        shown, n_stack = extractor.code_features, extractor.n_stack
        if n_stack > 1:
            raise NotCarriedError("its policy stacks pictures, some of which are black at the start of an episode")
    elif isinstance(extractor, FlattenExtractor):
        venv = model.get_env()
        found = None if venv is None else codes_wrapping(venv)
        assert found is not None  # encoder_of has refused everything else
        encoder, options = found
        if options.image_keys is not None:
            raise NotCarriedError("it observes more than codes")
        shown, n_stack = options.features(encoder), options.n_stack
    else:
        raise NotCarriedError(f"its features come from a {type(extractor).__name__}")
    layers = shown.layers()
    if layers is None:
        what = "log-variances" if shown.recoding is None else f"recode={shown.recoding.settings['name']!r}"
        raise NotCarriedError(f"it is shown {what}, which the explorer does not compute")
    return layers, n_stack


def _normalised(model: BaseAlgorithm) -> list[Layer]:
    """The observation statistics of a `VecNormalize`."""
    normalize = model.get_vec_normalize_env()
    if normalize is None or not normalize.norm_obs:
        return []
    statistics = normalize.obs_rms
    assert isinstance(statistics, RunningMeanStd)  # a dict belongs to Dict observations
    factor = 1 / np.sqrt(statistics.var + normalize.epsilon)
    limit = float(normalize.clip_obs)
    return [
        {"op": "affine", "factor": _float(factor), "shift": _float(-statistics.mean * factor)},
        {"op": "clamp", "low": -limit, "high": limit},
    ]


def _to_bounds(space: gym.spaces.Box, *, squashed: bool) -> list[Layer]:
    """Numbers of a policy -> actions within the bounds, as `predict` gives them."""
    if len(set(space.low.tolist())) > 1 or len(set(space.high.tolist())) > 1 or not space.is_bounded():
        raise NotCarriedError(f"its actions have bounds of their own, {space}")
    low, high = float(space.low.flat[0]), float(space.high.flat[0])
    if not squashed:
        return [{"op": "clamp", "low": low, "high": high}]
    size = int(np.prod(space.shape))
    half = (high - low) / 2
    return [{"op": "affine", "factor": torch.full((size,), half), "shift": torch.full((size,), low + half)}]


def _float(values: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
