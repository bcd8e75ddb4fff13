"""What the sprite environments share: spaces, the domain, two-dimensional actions and the picture."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from envs.appearance import Appearance
from envs.domains import find_domain
from sparse_repr.data.base import ImageArray
from sparse_repr.data.drawing.sprite_geometry import FIELD_PIXELS, IMAGE_SIZE

_DIRECTIONS = ((0.0, 0.0), (-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0))


class SpriteEnv(gym.Env[ImageArray, Any]):
    """A 64x64 picture, two numbers as action (or five discrete ones), ground-truth factors in the infos."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 (an instance variable in gym.Env)
    factor_names: tuple[str, ...]
    """What the columns of `info["factors"]` are."""
    nominal_factors: tuple[str, ...] = ()
    """Those whose values are in no order."""
    factor_bins: tuple[tuple[float, ...], ...]
    """Per factor the edges between the bins into which recordings sort its values."""
    discrete_meanings: tuple[str, ...] = ("stay", "left", "right", "up", "down")
    """Names of the discrete actions: none, and each of the two numbers at -1 and at 1."""
    continuous_meanings: tuple[str, ...] = ("right", "down")
    """Names of the two numbers: what each does at 1."""
    field_pixels: tuple[float, float] = FIELD_PIXELS
    """A position v in 0..1 lies at the first number + the second * v pixels from the picture's edge; a domain's camera
    moves it from there."""

    def __init__(self, render_mode: str | None, *, discrete: bool, domain: str, channels: int) -> None:
        """Set the spaces up.

        Args:
            render_mode: None or ``"rgb_array"``.
            discrete: five discrete actions instead of two continuous numbers.
            domain: a name of `envs.domains.DOMAINS`.
            channels: of the picture, 1 or 3.

        Raises:
            ValueError: unknown render mode or domain.
        """
        name = type(self).__name__
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"{name} needs render_mode None or 'rgb_array', got {render_mode!r}")
        self.domain = find_domain(domain, name)
        self.render_mode = render_mode
        self.observation_space = gym.spaces.Box(0, 255, (IMAGE_SIZE, IMAGE_SIZE, channels), np.uint8)
        self.action_space: gym.spaces.Space[Any] = (
            gym.spaces.Discrete(len(_DIRECTIONS)) if discrete else gym.spaces.Box(-1, 1, (2,), np.float32)
        )
        self._discrete = discrete
        self._appearance = Appearance(self.domain, channels)
        self._image = np.zeros(self.observation_space.shape or (), np.uint8)

    def get_action_meanings(self) -> list[str]:
        """Names of the discrete actions, or of the two numbers, for films."""
        return list(self.discrete_meanings if self._discrete else self.continuous_meanings)

    def render(self) -> npt.NDArray[np.uint8] | None:
        """The present picture as RGB, uint8 (64, 64, 3); None without a render mode."""
        if self.render_mode is None:
            return None
        return np.repeat(self._image, 3, axis=2) if self._image.shape[2] == 1 else self._image.copy()

    def _decode(self, action: Any) -> tuple[float, float]:
        """Both numbers of an action, in -1..1."""
        # plain floats: numpy's overhead on two numbers would cost as much as drawing the picture
        first, second = _DIRECTIONS[int(action)] if self._discrete else (float(action[0]), float(action[1]))
        return min(max(first, -1.0), 1.0), min(max(second, -1.0), 1.0)


def given_factors(
    options: dict[str, Any] | None, names: tuple[str, ...], ranges: tuple[tuple[float, float], ...], environment: str
) -> list[float] | None:
    """The state that `reset(options={"factors": ...})` asks for, None where it asks for none.

    Args:
        options: of `reset`.
        names: the K factors.
        ranges: least and greatest value of each.
        environment: its name, for errors.

    Raises:
        ValueError: other options, another number of factors, or one outside its range.
    """
    unknown = (options or {}).keys() - {"factors"}
    if unknown:
        raise ValueError(f"{environment}.reset takes the option factors, got {sorted(unknown)}")
    if not options:
        return None
    values = np.asarray(options["factors"], dtype=np.float64)
    if values.shape != (len(names),):
        raise ValueError(f"{environment}.reset needs factors ({len(names)},): {', '.join(names)}; got {values.shape}")
    for name, value, (low, high) in zip(names, values, ranges, strict=True):
        # float32 factors may round a hair beyond the bounds; written so that NaN fails too
        if not low - 1e-5 <= value <= high + 1e-5:
            raise ValueError(f"{environment}.reset needs {name} in {low:g}..{high:g}, got {value:g}")
    return [float(value) for value in values]
