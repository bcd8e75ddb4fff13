"""SameCodes: a callback that compares the codes of an evaluation environment with those of the agent."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import unwrap_wrapper
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from rl.observation import LatentObservation, VecLatentObservation


class SameCodes(BaseCallback):
    """Refuse to train where an evaluation environment shows other codes than the agent observes.

    `EvalCallback` looks at shapes alone: it would judge the agent on the codes of another encoder. Give this one beside
    it, `callback=[SameCodes(check), EvalCallback(check)]`, where `make_latent_vec_env` did not make both environments.
    """

    def __init__(self, eval_env: gym.Env[Any, Any] | VecEnv) -> None:
        """Take the environment that `EvalCallback`, or one like it, gets."""
        super().__init__()
        self._eval_env = eval_env

    def _init_callback(self) -> None:
        """Compare.

        Raises:
            ValueError: encoder or options differ; both are named.
        """
        observed, shown = code_space(self.training_env), code_space(self._eval_env)
        if observed != shown:
            raise ValueError(
                f"SameCodes: the agent is trained on {observed}, the evaluation environment shows {shown}: make both "
                "by make_latent_vec_env with the same encoder and options"
            )

    def _on_step(self) -> bool:
        return True


def code_space(env: gym.Env[Any, Any] | VecEnv) -> gym.Space[Any]:
    """The space of the codes in `env` as their wrapper made them, whatever is around it; else what `env` shows."""
    if isinstance(env, gym.Env):
        single = unwrap_wrapper(env, LatentObservation)
        return single.code_space if isinstance(single, LatentObservation) else env.observation_space
    shown = env.observation_space
    while isinstance(env, VecEnvWrapper):
        if isinstance(env, VecLatentObservation):
            return env.observation_space
        env = env.venv
    if all(env.env_is_wrapped(LatentObservation)):
        inside: gym.Space[Any] = env.get_attr("code_space")[0]
        return inside
    return shown
