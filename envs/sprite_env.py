"""What the sprite environments share: spaces, the domain, two-dimensional actions and the picture."""

from __future__ import annotations

import math
import numbers
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
        """Both numbers of an action, in -1..1; what lies beyond counts as the bound.

        Raises:
            ValueError: no action of this environment.
        """
        if self._discrete:
            if not self.action_space.contains(action):
                raise ValueError(
                    f"{type(self).__name__} needs an action in 0..{len(_DIRECTIONS) - 1}, "
                    f"{', '.join(self.discrete_meanings)}, got {action!r}"
                )
            return _DIRECTIONS[int(action)]
        try:
            # plain floats: numpy's overhead on two numbers would cost as much as drawing the picture
            first, second = map(float, action)
        except (TypeError, ValueError):
            first = second = math.nan
        if not (math.isfinite(first) and math.isfinite(second)):
            raise ValueError(
                f"{type(self).__name__} needs an action of two finite numbers, {', '.join(self.continuous_meanings)}, "
                f"got {action!r}"
            )
        return min(max(first, -1.0), 1.0), min(max(second, -1.0), 1.0)


def given_factors(
    options: dict[str, Any] | None,
    names: tuple[str, ...],
    ranges: tuple[tuple[float, float], ...],
    environment: str,
    *,
    whole: tuple[str, ...] = (),
) -> list[float] | None:
    """The state that `reset(options={"factors": ...})` asks for, None where it asks for none.

    Args:
        options: of `reset`.
        names: the K factors.
        ranges: least and greatest value of each.
        environment: its name, for errors.
        whole: those that are whole numbers.

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
    for name, value, bounds in zip(names, values, ranges, strict=True):
        require_within(environment, name, value, bounds, whole=name in whole)
    return [float(value) for value in values]


def require_within(
    environment: str, name: str, value: Any, bounds: tuple[float, float], *, whole: bool = False
) -> None:
    """Check a number that `reset` was given.

    Args:
        environment: its name, for errors.
        name: of the number, for errors.
        value: the number.
        bounds: the least and the greatest one.
        whole: it must be a whole number.

    Raises:
        ValueError: no number, or another one.
    """
    low, high = bounds
    # float32 factors may round a hair beyond the bounds; written so that NaN fails too
    fits = isinstance(value, numbers.Real) and math.isfinite(value) and low - 1e-5 <= float(value) <= high + 1e-5
    if not fits or (whole and value != round(value)):
        kind = ", a whole number," if whole else ""
        found = f"{value:g}" if isinstance(value, float) else repr(value)
        raise ValueError(f"{environment}.reset needs {name}{kind} in {low:g}..{high:g}, got {found}")
