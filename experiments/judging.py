"""Judging an agent: the same number of episodes from every environment."""

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
    """Return, length and success of the first `episodes` episodes, the same number from every environment.

    Args:
        venv: environments with a Monitor each, or a VecMonitor around them, and "is_success" in their infos.
        episodes: how many.
        act: observations of all environments -> actions.
        seed: of the first environment's first episode; the others count on from it.
        more: infos of an episode's last step -> what else to tell of it.

    Returns:
        Per episode "return", "steps" and "success", and what `more` tells.
    """
    venv.seed(seed)
    observations = venv.reset()
    per_env = -(-episodes // venv.num_envs)
    counts = [0] * venv.num_envs
    finished: list[dict[str, float]] = []
    while min(counts) < per_env:
        observations, _, dones, infos = venv.step(act(observations))
        for i in np.flatnonzero(dones):
            # quick failures must not crowd slow successes out: each environment contributes equally
            if counts[i] < per_env:
                counts[i] += 1
                episode = infos[i]["episode"]
                told = {"return": episode["r"], "steps": episode["l"], "success": infos[i]["is_success"]}
                finished.append(told if more is None else {**told, **more(infos[i])})
    return finished[:episodes]
