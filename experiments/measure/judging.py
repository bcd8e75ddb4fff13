"""Judging an agent: from every environment a number of episodes that its speed does not change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv


def judge(
    venv: VecEnv,
    episodes: int,
    act: Callable[[Any], Any],
    *,
    seed: int,
    more: Callable[[Mapping[str, Any]], dict[str, float]] | None = None,
) -> list[dict[str, float]]:
    """Return, length and success of `episodes` episodes, of which every environment plays a share fixed beforehand.

    The first ones to end, whoever plays them, would be the short ones: quick failures would crowd slow successes out.

    Args:
        venv: environments with a Monitor each, or a VecMonitor around them, and "is_success" in their infos.
        episodes: how many; where the environments do not divide them, the first ones play one more.
        act: observations of all environments -> actions.
        seed: of the first environment's first episode; the others count on from it.
        more: infos of an episode's last step -> what else to tell of it.

    Returns:
        Per episode, in the order in which they end, "return", "steps" and "success", and what `more` tells.
    """
    venv.seed(seed)
    observations = venv.reset()
    each, rest = divmod(episodes, venv.num_envs)
    left = [each + (i < rest) for i in range(venv.num_envs)]
    finished: list[dict[str, float]] = []
    while any(left):
        observations, _, dones, infos = venv.step(act(observations))
        for i in np.flatnonzero(dones):
            if left[i]:
                left[i] -= 1
                episode = infos[i]["episode"]
                told = {"return": episode["r"], "steps": episode["l"], "success": infos[i]["is_success"]}
                finished.append(told if more is None else {**told, **more(infos[i])})
    return finished
