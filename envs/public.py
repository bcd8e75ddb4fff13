"""What the tasks that no one here wrote share: the wrapper stack, written once.

A task shows a field of the game's screen and says what is in it. From there all is done here, in this order: the game's
step or frames -> field of the screen -> averaged down (`BOX`) to `image_size` x `image_size`, in colour -> `info` with
`factors` and `is_success`. Nothing is stacked, made grey, clipped or normalised, and no reward is changed.
"""

from __future__ import annotations

import abc
import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from PIL import Image

from sparse_repr.data.base import ImageArray

_BINS = 10


class PublicTask(gym.Env[ImageArray, Any], abc.ABC):
    """A task of another package as a square picture in colour, with ground-truth factors in the infos.

    A task hands its game over in five methods: `_begin`, `_advance`, `_screen`, `_factors` and `_succeeded`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012 (an instance variable in gym.Env)
    factor_names: tuple[str, ...]
    """What the columns of `info["factors"]` are."""
    nominal_factors: tuple[str, ...]
    """Those whose values are in no order: 0, 1 …"""
    factor_bins: tuple[tuple[float, ...], ...]
    """Per factor the edges between the bins into which recordings sort its values."""
    field_pixels: tuple[float, float]
    """A place v in 0..1 lies at the first number + the second * v pixels from the picture's edge."""

    def __init__(
        self,
        render_mode: str | None,
        *,
        name: str,
        image_size: int,
        field: tuple[int, int, int, int],
        actions: Sequence[str],
        factors: Mapping[str, int | None],
    ) -> None:
        """Check the arguments and set the spaces up.

        Args:
            render_mode: None or ``"rgb_array"``.
            name: of the task, for errors.
            image_size: height and width of the observation.
            field: rows above, columns left of, height and width of what is shown of the screen.
            actions: what each of the discrete actions does.
            factors: name -> how many values a nominal factor has; None: a number in 0..1.

        Raises:
            ValueError: an unknown render mode, or a size beyond that of the field.
        """
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"{name} needs render_mode None or 'rgb_array', got {render_mode!r}")
        if not 1 <= image_size <= min(field[2:]):
            raise ValueError(f"{name} needs image_size in 1..{min(field[2:])}, got {image_size}")
        self.render_mode = render_mode
        self.factor_names = tuple(factors)
        self.nominal_factors = tuple(factor for factor, values in factors.items() if values is not None)
        self.factor_bins = tuple(
            tuple(i / _BINS for i in range(1, _BINS)) if values is None else tuple(i + 0.5 for i in range(values - 1))
            for values in factors.values()
        )
        self.field_pixels = (0.0, float(image_size))
        self.action_space = gym.spaces.Discrete(len(actions))
        self.observation_space = gym.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self._name, self._field, self._meanings = name, field, list(actions)

    def get_action_meanings(self) -> list[str]:
        """What each action does, for films."""
        return list(self._meanings)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ImageArray, dict[str, Any]]:
        """Begin an episode.

        Raises:
            ValueError: options; there are none.
        """
        super().reset(seed=seed)
        if options:
            raise ValueError(f"{self._name}.reset takes no options, got {sorted(options)}")
        self._begin()
        return self._observe(), self._info()

    def step(self, action: Any) -> tuple[ImageArray, float, bool, bool, dict[str, Any]]:
        """Do an action.

        Raises:
            ValueError: an action that there is not.
        """
        if not self.action_space.contains(action):
            raise ValueError(f"{self._name} needs an action in 0..{len(self._meanings) - 1}, got {action!r}")
        reward, terminated, truncated = self._advance(int(action))
        return self._observe(), reward, terminated, truncated, self._info()

    def render(self) -> npt.NDArray[np.uint8] | None:
        """The whole screen as RGB, uint8 (rows, columns, 3); None without a render mode."""
        return None if self.render_mode is None else self._screen().copy()

    @abc.abstractmethod
    def _begin(self) -> None:
        """Begin an episode, drawn by `np_random`."""

    @abc.abstractmethod
    def _advance(self, action: int) -> tuple[float, bool, bool]:
        """Do an action; returns reward, terminated, truncated."""

    @abc.abstractmethod
    def _screen(self) -> npt.NDArray[np.uint8]:
        """What the game shows now, uint8 (rows, columns, 3)."""

    @abc.abstractmethod
    def _factors(self) -> list[float]:
        """Their values now, in the order of `factor_names`."""

    @abc.abstractmethod
    def _succeeded(self) -> bool:
        """Whether the task is done, so far in this episode."""

    def _observe(self) -> ImageArray:
        top, left, height, width = self._field
        field = Image.fromarray(self._screen()[top : top + height, left : left + width])
        size = self.observation_space.shape[0]  # type: ignore[index]
        return np.array(field.resize((size, size), Image.Resampling.BOX))

    def _info(self) -> dict[str, Any]:
        return {"factors": np.array(self._factors(), np.float32), "is_success": self._succeeded()}


def import_game(module: str, *, task: str, package: str) -> ModuleType:
    """The module of a game.

    Args:
        module: dotted name.
        task: who needs it, for the error.
        package: what to install, as the package index calls it.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{task} needs {package}: pip install 'sparse-repr[envs]'") from error


def within(value: float) -> float:
    """A number as a place in 0..1, at the border where it is beyond."""
    return min(max(value, 0.0), 1.0)
