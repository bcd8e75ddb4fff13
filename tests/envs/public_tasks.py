"""What the tests of the tasks that no one here wrote share: episodes, and what all of them promise."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest

from envs.public import PublicTask

PACKAGES = {
    "VizDoomBasic": "vizdoom",
    "LunarLander": "Box2D",
    "DoorKey": "minigrid",
    "Pong": "ale_py",
    "Breakout": "ale_py",
}


def needs(task: str) -> None:
    """Skip a test where a task's package is not installed; not imported here, since Box2D warns as it is."""
    package = PACKAGES[task.partition("-")[0]]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{task} needs {package}")


def episode(
    env: gym.Env[Any, Any], policy: Callable[[npt.NDArray[np.float32]], Any], seed: int
) -> tuple[list[float], bool, bool, dict[str, Any]]:
    """Rewards, and how the last step ended, of an episode of a policy that sees the factors."""
    _, info = env.reset(seed=seed)
    rewards, terminated, truncated = [], False, False
    while not (terminated or truncated):
        _, reward, terminated, truncated, info = env.step(policy(info["factors"]))
        rewards.append(float(reward))
    return rewards, terminated, truncated, info


def played(env: PublicTask, seed: int, steps: int = 30) -> npt.NDArray[np.uint8]:
    """Pictures of an episode in which every action has its turn."""
    pictures = [env.reset(seed=seed)[0]]
    pictures += [env.step(step % int(env.action_space.n))[0] for step in range(steps)]  # type: ignore[attr-defined]
    return np.stack(pictures)


def check_conventions(env: PublicTask, name: str, actions: tuple[str, ...]) -> None:
    """What `envs.public` promises of every task."""
    picture, info = env.reset(seed=0)
    size = env.observation_space.shape[0]  # type: ignore[index]
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    assert info["factors"].dtype == np.float32
    assert info["factors"].shape == (len(env.factor_names),) == (len(env.factor_bins),)
    assert set(env.nominal_factors) < set(env.factor_names)
    assert env.field_pixels == (0, size)
    assert env.get_action_meanings() == list(actions)
    assert info["is_success"] is False
    for step in range(30):
        _, _, terminated, truncated, info = env.step(step % len(actions))
        assert type(info["is_success"]) is bool
        for factor, value, edges in zip(env.factor_names, info["factors"], env.factor_bins, strict=True):
            if factor in env.nominal_factors:
                assert value in range(len(edges) + 1), factor
            else:
                assert 0 <= value <= 1, factor
        if terminated or truncated:
            env.reset()
    with pytest.raises(ValueError, match=rf"{name} needs an action in 0\.\.{len(actions) - 1}, got {len(actions)}"):
        env.step(len(actions))
    with pytest.raises(ValueError, match=rf"{name}\.reset takes no options, got \['factors'\]"):
        env.reset(options={"factors": ()})
    with pytest.raises(ValueError, match=f"{name} needs render_mode None or 'rgb_array', got 'human'"):
        type(env)("human")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=rf"{name} needs image_size in 1\.\.\d+, got 0"):
        type(env)(image_size=0)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="colour"):
        type(env)(colour="red")  # type: ignore[call-arg]
