"""Environments of random pictures with a known order, for wrappers: episode e, step t shows `picture(e, t)`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt


def picture(episode: int, step: int, shape: tuple[int, ...] = (64, 64, 3)) -> npt.NDArray[np.uint8]:
    """The same for the same arguments, and different otherwise."""
    return np.random.default_rng([episode, step]).integers(0, 256, shape).astype(np.uint8)


class Frames(gym.Env[Any, Any]):
    """Episodes of `length` steps; with `named`, Dict observations of two cameras and a position."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (as Gymnasium declares it)

    def __init__(
        self, length: int = 3, shape: tuple[int, ...] = (64, 64, 3), *, named: bool = False, first_episode: int = 0
    ) -> None:
        self.length, self.shape, self.named = length, shape, named
        image = gym.spaces.Box(0, 255, shape, np.uint8)
        position = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space: gym.Space[Any] = image
        if named:
            self.observation_space = gym.spaces.Dict({"front": image, "position": position, "back": image})
        self.action_space = gym.spaces.Discrete(2)
        self.first_episode = first_episode
        self.episode, self.clock = first_episode - 1, 0

    def look(self) -> Any:
        """The observation now."""
        now = picture(self.episode, self.clock, self.shape)
        if not self.named:
            return now
        position = np.array([self.clock / 100, -self.clock / 100], np.float32)
        return {"front": now, "position": position, "back": 255 - now}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start the next episode; with a seed, the first one again."""
        super().reset(seed=seed)
        self.episode = self.first_episode if seed is not None else self.episode + 1
        self.clock = 0
        return self.look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The next picture."""
        self.clock += 1
        return self.look(), 1.0, self.clock == self.length, False, {}


class OneBuffer(Frames):
    """The same pictures, all drawn into one array (with `named`, into three): what `reset` draws, it draws over."""

    def __init__(self, length: int = 3, **options: Any) -> None:
        super().__init__(length, **options)
        self._drawn: Any = None

    def look(self) -> Any:
        """The observation now, in the arrays of the first one."""
        now = super().look()
        if self._drawn is None:
            self._drawn = now
        elif self.named:
            for key, part in now.items():
                self._drawn[key][...] = part
        else:
            self._drawn[...] = now
        return self._drawn
