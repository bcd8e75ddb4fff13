"""Gymnasium's LunarLander seen as pixels: land between two flags, softly and upright."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.public import PublicTask, import_game, within

MAX_STEPS = 1_000
"""Steps after which an episode is truncated, as in `LunarLander-v3`."""
SOLVED_RETURN = 200.0
"""Return from which on Gymnasium takes the task for solved."""
_HEIGHT, _WIDTH = 400, 600
# Greatest velocities, angle in radians and angular velocity, either way, that factors tell; in units of the state.
_SPEED, _TILT, _SPIN = 2.0, math.pi / 2, 1.0
# The pad lies at a quarter of the height, and the state's y is 0 where the legs, 18 pixels long, stand on it.
_STANDING = 1 - 1 / 4 - 18 / _HEIGHT


class LunarLander(PublicTask):
    """`LunarLander-v3` with discrete actions, its rendering in place of its state, and its state as factors.

    **Observation**: `Box(0, 255, (64, 64, 3), uint8)`: the rendering of 600 x 400 pixels, averaged down, in colour.

    **Action, reward, termination**: `LunarLander-v3`'s; one frame per step. Truncation after 1,000 steps.

    **info**: `factors`, float32 (8,): `lander_x` and `lander_y`, the place in the picture, from the left and from
    above; `velocity_x` (to the right) and `velocity_y` (downwards), -2..2 of the state's units as 0..1; `angle`, from a
    quarter turn clockwise to one anticlockwise; `angular_velocity`, the same way, -1..1 of the state's units;
    `right_leg` and `left_leg`, 1 while it touches the ground. What is beyond these ranges is told as their borders. One
    picture does not show velocities. `is_success`: the return so far is at least 200.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012 (an instance variable in gym.Env)

    def __init__(self, render_mode: str | None = None, *, image_size: int = 64) -> None:
        """Set up the game; it opens no window and needs no screen.

        Args:
            render_mode: None or ``"rgb_array"``, which shows the whole rendering.
            image_size: height and width of the observation.

        Raises:
            ValueError: an unknown size or render mode.
            ModuleNotFoundError: Box2D or pygame is not installed.
        """
        super().__init__(
            render_mode,
            name="LunarLander",
            image_size=image_size,
            field=(0, 0, _HEIGHT, _WIDTH),
            actions=("stay", "left engine", "main engine", "right engine"),
            factors={
                **dict.fromkeys(("lander_x", "lander_y", "velocity_x", "velocity_y", "angle", "angular_velocity")),
                **dict.fromkeys(("right_leg", "left_leg"), 2),
            },
        )
        with warnings.catch_warnings():
            # it warns of how it was built; where warnings are errors, Python would crash
            warnings.filterwarnings("ignore", "builtin type .* has no __module__ attribute", DeprecationWarning)
            import_game("Box2D", task="LunarLander", package="gymnasium[box2d]")
        import_game("pygame", task="LunarLander", package="gymnasium[box2d]")
        game = import_game("gymnasium.envs.box2d.lunar_lander", task="LunarLander", package="gymnasium[box2d]")
        self._game: Any = game.LunarLander(render_mode="rgb_array")
        self._last = np.zeros((_HEIGHT, _WIDTH, 3), np.uint8)
        self._state: list[float] = [0.0] * 8
        self._return = 0.0

    def close(self) -> None:
        """Close the game."""
        self._game.close()

    def _begin(self) -> None:
        state, _ = self._game.reset(seed=int(self.np_random.integers(2**31)))
        self._return = 0.0
        self._look(state)

    def _advance(self, action: int) -> tuple[float, bool, bool]:
        state, reward, terminated, truncated, _ = self._game.step(action)
        self._return += float(reward)
        self._look(state)
        return float(reward), bool(terminated), bool(truncated)

    def _look(self, state: npt.NDArray[np.float32]) -> None:
        """Keep the state and its picture: the engines' fire burns down whenever it is drawn."""
        self._state, self._last = state.tolist(), self._game.render()

    def _screen(self) -> npt.NDArray[np.uint8]:
        return self._last

    def _factors(self) -> list[float]:
        x, y, to_the_right, upwards, angle, spin, right_leg, left_leg = self._state
        return [
            within((1 + x) / 2),
            within(_STANDING - y / 2),
            _share(to_the_right, _SPEED),
            _share(-upwards, _SPEED),
            _share(angle, _TILT),
            _share(spin, _SPIN),
            right_leg,
            left_leg,
        ]

    def _succeeded(self) -> bool:
        return self._return >= SOLVED_RETURN


def state_of(factors: npt.NDArray[np.float32]) -> list[float]:
    """The state of `LunarLander-v3` that factors tell, as far as they tell it.

    Args:
        factors: float32 (8,), those of `LunarLander`.
    """
    x, y, to_the_right, downwards, angle, spin, right_leg, left_leg = factors.tolist()
    return [
        2 * x - 1,
        2 * (_STANDING - y),
        (2 * to_the_right - 1) * _SPEED,
        (1 - 2 * downwards) * _SPEED,
        (2 * angle - 1) * _TILT,
        (2 * spin - 1) * _SPIN,
        right_leg,
        left_leg,
    ]


def _share(value: float, most: float) -> float:
    """-most..most as 0..1."""
    return within((1 + value / most) / 2)
