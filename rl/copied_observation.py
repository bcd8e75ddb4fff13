"""CopiedObservation: for environments that draw every observation into the same array."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs


class CopiedObservation(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """Hand out copies of observations, which the environment cannot overwrite.

    Vectorised environments reset an environment at once when its episode ends and keep its last observation for the
    value that PPO and A2C bootstrap on. Where the environment draws into one array, that is the first picture of the
    next episode. Put this around each environment, inside of the vectorised one; `make_latent_vec_env` does.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap any environment; spaces stay as they are."""
        RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)

    def observation(self, observation: Any) -> Any:
        """The same values in arrays of their own."""
        return copy.deepcopy(observation)
