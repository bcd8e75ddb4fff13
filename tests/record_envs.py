"""Environments for the recorder: seeded noise in episodes of seeded lengths, with the habits of other people's."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt


class Drifting(gym.Env[Any, Any]):
    """A picture that depends on every action since the start of an episode, which ends at random."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012 (as Gymnasium declares it)
    observation_space = gym.spaces.Box(0, 255, (6, 5, 3), np.uint8)
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    factor_names = ("sum", "clock")
    factor_bins = ((0.0,), (2.0, 5.0))

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._sum, self._clock = 0.0, 0
        self._texture = np.zeros((6, 5, 3), np.uint8)

    def _look(self) -> tuple[Any, dict[str, Any]]:
        shift = np.uint8(int(self._sum * 1000) % 256)
        return self._texture + shift, {"factors": np.array([self._sum, self._clock], np.float32)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._sum, self._clock = 0.0, 0
        self._texture = self.np_random.integers(0, 256, (6, 5, 3)).astype(np.uint8)
        return self._look()

    def step(self, action: npt.NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._sum += float(action.sum())
        self._clock += 1
        observation, info = self._look()
        return observation, 0.0, bool(self.np_random.random() < 0.15), False, info

    def render(self) -> Any:
        return self._look()[0]


class OneBuffer(Drifting):
    """All environments of this kind draw into one and the same array, and report one array of factors."""

    _drawn = np.zeros((6, 5, 3), np.uint8)
    _told = np.zeros(2, np.float32)

    def _look(self) -> tuple[Any, dict[str, Any]]:
        observation, info = super()._look()
        self._drawn[...] = observation
        self._told[...] = info["factors"]
        return self._drawn, {"factors": self._told}


class OtherInfos(Drifting):
    """Infos whose entries change their types and shapes, and `factors` that are something else."""

    factor_names = None  # type: ignore[assignment]

    def _look(self) -> tuple[Any, dict[str, Any]]:
        observation, _ = super()._look()
        odd = [3, None, np.zeros(self._clock + 1), "text", {"a": 1}][(self._clock + int(self._texture[0, 0, 0])) % 5]
        return observation, {"odd": odd, "factors": {"weather": odd}, "final_obs": odd}


class Forgetful(Drifting):
    """Reports factors at the start alone."""

    def _look(self) -> tuple[Any, dict[str, Any]]:
        observation, info = super()._look()
        return observation, info if self._clock == 0 else {}


class Miscounted(Drifting):
    """Reports three factors and names two."""

    def _look(self) -> tuple[Any, dict[str, Any]]:
        return super()._look()[0], {"factors": np.zeros(3, np.float32)}


class Growing(Drifting):
    """Draws larger pictures at each step."""

    def render(self) -> Any:
        return np.zeros((6 + self._clock, 5, 3), np.uint8)


class Dark(Drifting):
    """0 and 1 in the type of 0 to 255, in a space that says so or not."""

    def __init__(self, render_mode: str | None = None, high: int = 255) -> None:
        super().__init__(render_mode)
        self.observation_space = gym.spaces.Box(0, high, (6, 5, 3), np.uint8)

    def _look(self) -> tuple[Any, dict[str, Any]]:
        observation, info = super()._look()
        return observation // 128, info


class Wandering(Drifting):
    """The same at 64x64, with five actions: for agents on codes."""

    observation_space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = gym.spaces.Discrete(5)  # type: ignore[assignment]

    def _look(self) -> tuple[Any, dict[str, Any]]:
        observation, info = super()._look()
        return np.resize(observation, (64, 64, 3)), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return super().step(np.array([action / 7], np.float32))


class Gliding(Wandering):
    """The same with two numbers as an action."""

    action_space = Drifting.action_space  # type: ignore[assignment]

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return super().step(7 * action.sum())


for _kind in (Drifting, OneBuffer, OtherInfos, Forgetful, Miscounted, Growing, Dark, Wandering, Gliding):
    gym.register(f"Recorded/{_kind.__name__}-v0", entry_point=_kind, disable_env_checker=True)
