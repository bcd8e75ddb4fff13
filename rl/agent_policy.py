"""The agent in a file of `save_agent` as a policy that a recording can be made with."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from rl.agent_graph import require_memoryless
from rl.agents import load_to_act


class AgentPolicy:
    """Acts as the agent in a file did while it learned: by its stochastic policy, on what it was shown in training.

    Encoder, options of the wrapper, stacked codes and the statistics of `VecNormalize`, which stay as they are, are
    those of the file. All is computed on the CPU. PPO, A2C and SAC draw actions from their distributions, DQN takes a
    random one as often as it did in the end; TD3 and DDPG, whose policies are deterministic, act so.

    Args:
        path: what `save_agent` wrote. The Stable-Baselines3 model inside holds pickles, which can run code: give only
            agents you trust.
        observation_space: of one environment, which shows images as in training.
        action_space: of one environment.
        environments: how many act together.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: an agent that needs more than observations, such as recurrent state.
        ValueError: no agent's file, a damaged one, or an agent of other observations or actions.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        environments: int,
    ) -> None:
        self._shown = _ShownObservations(environments, observation_space, action_space)
        try:
            with _generators_kept():  # the agent's own seed is set as it is loaded
                self._agent, self._venv = load_to_act(path, self._shown)
        except (TypeError, ValueError) as error:
            start = "" if str(error).startswith(f"{os.fspath(path)}") else f"{os.fspath(path)}: "
            raise ValueError(
                f"policy needs an agent that observes and acts as this environment, with {observation_space} and "
                f"{action_space}; {start}{error}"
            ) from error
        require_memoryless(self._agent.policy, "policy")

    def act(self, observations: Any, *, started: npt.NDArray[np.bool_], seed: int) -> Any:
        """Actions of all environments.

        Args:
            observations: batched, of all environments; those before them went through here too.
            started: (n,), where the observation is the first of an episode.
            seed: what is drawn depends on it and the observations alone.
        """
        self._shown.observations, self._shown.started = observations, started
        seen: Any = self._venv.reset() if started.all() else self._venv.step(np.zeros(len(started)))[0]
        with _generators_kept():
            # Stable-Baselines3 draws from these, which all share
            np.random.seed(seed)  # noqa: NPY002
            torch.default_generator.manual_seed(seed)
            self._agent.action_space.seed(seed)
            policy: Any = self._agent.policy
            if getattr(self._agent, "use_sde", False):
                policy.reset_noise(len(started))
            return self._agent.predict(seen, deterministic=False)[0]


@contextlib.contextmanager
def _generators_kept() -> Iterator[None]:
    """Leave the generators that all share as they were."""
    numbers, tensors = random.getstate(), torch.get_rng_state()
    arrays = np.random.get_state()  # noqa: NPY002 (the generator that Stable-Baselines3 draws from)
    try:
        yield
    finally:
        random.setstate(numbers)
        np.random.set_state(arrays)  # noqa: NPY002
        torch.set_rng_state(tensors)


class _ShownObservations(VecEnv):
    """Environments that others step: shows what it was given, to the wrappers around it."""

    observations: Any = None
    started: npt.NDArray[np.bool_]

    def reset(self) -> VecEnvObs:
        observations: VecEnvObs = self.observations
        return observations

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        pass

    def step_wait(self) -> VecEnvStepReturn:
        rewards = np.zeros(self.num_envs, np.float32)
        return self.observations, rewards, self.started, [{} for _ in range(self.num_envs)]

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, *_: Any, **__: Any) -> list[Any]:
        if attr_name != "render_mode":
            raise AttributeError(attr_name)
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, *_: Any, **__: Any) -> None:
        raise AttributeError(attr_name)

    def env_method(self, method_name: str, *_: Any, **__: Any) -> list[Any]:
        raise AttributeError(method_name)

    def env_is_wrapped(self, *_: Any, **__: Any) -> list[bool]:
        return [False] * self.num_envs
