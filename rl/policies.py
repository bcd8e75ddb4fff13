"""Policy classes with a `LatentExtractor` in them, importable by name from hyper-parameter files.

rl_zoo3 evaluates a `policy_kwargs` string in its own namespace, where no class of ours exists, but imports `policy` and
the wrappers by dotted name and passes a `policy_kwargs` mapping on as it is:

    policy: rl.policies.LatentActorCriticPolicy
    policy_kwargs: {net_arch: [64, 64], features_extractor_kwargs: {encoder: runs/sparse}}

The classes take all arguments of their base and serve Box and Dict observations alike (with `image_keys`). The agent's
zip holds the encoder's path, and needs it, where the path is all that was given. Those of sb3-contrib are in
`rl.contrib_policies`.
"""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy

from rl.features_extractor import LatentExtractor


class LatentPolicy(BasePolicy):
    """What all of them share: the features extractor is a `LatentExtractor`. Not a policy by itself."""

    def __init__(
        self,
        *arguments: Any,
        features_extractor_class: type[BaseFeaturesExtractor] = LatentExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """Arguments of the base policy; `features_extractor_kwargs` are those of `LatentExtractor`.

        Raises:
            TypeError: no encoder was given.
        """
        extractor_kwargs = features_extractor_kwargs or {}
        if "encoder" not in extractor_kwargs:
            raise TypeError(
                f"{type(self).__name__} needs policy_kwargs={{'features_extractor_kwargs': {{'encoder': ...}}}}, a run "
                f"folder, an artefact file or a FrozenEncoder; got {sorted(extractor_kwargs)}"
            )
        super().__init__(
            *arguments,
            features_extractor_class=features_extractor_class,
            features_extractor_kwargs=extractor_kwargs,
            **settings,
        )


class LatentActorCriticPolicy(LatentPolicy, ActorCriticPolicy):
    """For PPO and A2C, and sb3-contrib's TRPO."""


class LatentDQNPolicy(LatentPolicy, DQNPolicy):
    """For DQN."""


class LatentSACPolicy(LatentPolicy, SACPolicy):
    """For SAC."""


class LatentTD3Policy(LatentPolicy, TD3Policy):
    """For TD3 and DDPG."""
