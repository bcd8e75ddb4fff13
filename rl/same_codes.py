"""Whether an environment shows the codes that an agent was trained on, for where Stable-Baselines3 compares shapes."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import unwrap_wrapper
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from rl.code_space import same_codes
from rl.observation import LatentObservation, VecLatentObservation
from rl.recoded_codes import require_raw_codes


def require_same_codes(model: BaseAlgorithm, env: gym.Env[Any, Any] | VecEnv) -> None:
    """Check that `env` shows the codes that `model` was trained on: of the same encoder, made with the same options.

    `set_env` and `load(env=...)` check this by themselves, except around `VecNormalize.load`, which shows the space
    that it was saved with, and around wrappers that make a space of their own, such as `VecFrameStack`. `predict` and
    `evaluate_policy` never do.

    Args:
        model: of an agent that was saved before spaces knew their encoder nothing is known, and nothing is checked.
        env: wrapped as for the agent.

    Raises:
        ValueError: encoder or options differ; both are named. Or `VecNormalize` changes codes before a `RecodedCodes`.
    """
    require_raw_codes(model)
    venv, observed, shown = model.get_env(), model.observation_space, _code_space(env)
    if not _tells(observed) and venv is not None:
        observed = _code_space(venv)
    if _tells(observed) and not same_codes(observed, shown):
        raise ValueError(
            f"the agent was trained on {observed}, the environment shows {shown}: wrap it in the same encoder with the "
            "same options, or make both environments by make_latent_vec_env"
        )


class SameCodes(BaseCallback):
    """Refuse to train where the environment that an agent is evaluated in shows it other codes.

    Give it beside `EvalCallback`, which does not ask: `callback=[SameCodes(check), EvalCallback(check)]`.
    """

    def __init__(self, eval_env: gym.Env[Any, Any] | VecEnv) -> None:
        """Take the environment that `EvalCallback`, or one like it, gets."""
        super().__init__()
        self._eval_env = eval_env

    def _init_callback(self) -> None:
        """Compare the codes of both environments with those of the agent.

        Raises:
            ValueError: as `require_same_codes`.
        """
        require_same_codes(self.model, self.training_env)
        require_same_codes(self.model, self._eval_env)

    def _on_step(self) -> bool:
        return True


def _tells(space: gym.Space[Any]) -> bool:
    parts = space.values() if isinstance(space, gym.spaces.Dict) else (space,)
    return any(hasattr(part, "made_by") for part in parts)


def _code_space(env: gym.Env[Any, Any] | VecEnv) -> gym.Space[Any]:
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
