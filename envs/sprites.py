"""SpriteReach: take a sprite to the corner that belongs to its shape, seeing only a 64x64 picture of it."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from sparse_repr.data.sprite_geometry import IMAGE_SIZE, render_sprites

Observation = npt.NDArray[np.uint8]

# Corners (x, y) of the picture: the first three belong to square, ellipse and heart, the last to none.
_CORNERS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0))
_SPEED = 0.06
_REACH = 0.12
_ARRIVAL_BONUS = 1.0
_DIRECTIONS = ((0.0, 0.0), (-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0))


class SpriteReach(gym.Env[Observation, Any]):
    """Move one sprite to the corner that its shape asks for.

    **Observation**: `Box(0, 255, (64, 64, 1), uint8)`, a dSprites image, so an encoder trained on dSprites applies.

    **Action**: `Box(-1, 1, (2,), float32)`, the velocity to the right and downwards, 0.06 of the field per step at 1;
    in the discrete twin `Discrete(5)`: stay, left, right, up, down at full speed.

    **Goal**: square top left, ellipse top right, heart bottom left; no shape belongs bottom right. The first corner
    reached (within 0.12 of it) ends the episode and only the right one is a success, so a policy that cannot tell
    shapes succeeds in a third of the episodes at best.

    **Reward**: decrease of the distance to the right corner, plus 1 on arriving there.

    **Start**: shape, orientation and a position in the middle (0.3..0.7 in x and y) are drawn at random; the scale is
    1, or drawn from `scales`. At one scale the shapes also differ in area (400, 288 and 222 pixels), which
    short-trained encoders pick up first; several scales take that clue away. Only the position changes during an
    episode.

    **info**: `factors`, float32 (5,) in the units of `render_sprites` and the order of `factor_names`; `is_success`.
    `factor_bins` states how recordings bin them.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 (an instance variable in gym.Env)
    factor_names = ("shape", "scale", "orientation", "position_x", "position_y")
    # Edges between the bins into which recordings sort the values: 3 shapes, 6 scales, 8 orientations, 8 x 8 positions.
    factor_bins = (
        (0.5, 1.5),
        (0.55, 0.65, 0.75, 0.85, 0.95),
        tuple(2 * math.pi * i / 8 for i in range(1, 8)),
        tuple(i / 8 for i in range(1, 8)),
        tuple(i / 8 for i in range(1, 8)),
    )

    def __init__(
        self,
        render_mode: str | None = None,
        *,
        discrete: bool = False,
        scales: tuple[float, ...] = (1.0,),
    ) -> None:
        """Set the spaces up.

        Args:
            render_mode: None or ``"rgb_array"``.
            discrete: five discrete actions instead of a continuous velocity.
            scales: sizes that an episode may draw, each in 0.5..1.

        Raises:
            ValueError: unknown render mode, or a scale outside its range.
        """
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"SpriteReach needs render_mode None or 'rgb_array', got {render_mode!r}")
        if not scales or not all(0.5 <= scale <= 1 for scale in scales):
            raise ValueError(f"SpriteReach needs scales in 0.5..1, got {scales}")
        self.render_mode = render_mode
        self.observation_space = gym.spaces.Box(0, 255, (IMAGE_SIZE, IMAGE_SIZE, 1), np.uint8)
        self.action_space: gym.spaces.Space[Any] = (
            gym.spaces.Discrete(len(_DIRECTIONS)) if discrete else gym.spaces.Box(-1, 1, (2,), np.float32)
        )
        self._discrete = discrete
        self._scales = tuple(scales)
        self._shape, self._scale, self._orientation = 0, 1.0, 0.0
        self._x, self._y = 0.5, 0.5
        self._picture = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 1), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw a new sprite. `options` may fix "shape" (0..2), "scale" (0.5..1), "orientation" (radians)."""
        super().reset(seed=seed)
        fixed = options or {}
        unknown = fixed.keys() - {"shape", "scale", "orientation"}
        if unknown:
            raise ValueError(f"SpriteReach.reset takes the options shape, scale and orientation, got {sorted(unknown)}")
        self._shape = int(self.np_random.integers(3))
        self._scale = self._scales[int(self.np_random.integers(len(self._scales)))]
        self._orientation = float(self.np_random.uniform(0, 2 * np.pi))
        self._x, self._y = self.np_random.uniform(0.3, 0.7, 2).tolist()
        self._shape = int(fixed.get("shape", self._shape))
        self._scale = float(fixed.get("scale", self._scale))
        self._orientation = float(fixed.get("orientation", self._orientation))
        return self._observe(), self._info(success=False)

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move the sprite by one step."""
        # plain floats: numpy's overhead on two numbers would cost as much as drawing the picture
        right, down = _DIRECTIONS[int(action)] if self._discrete else (float(action[0]), float(action[1]))
        before = self._distances()
        self._x = min(max(self._x + _SPEED * min(max(right, -1.0), 1.0), 0.0), 1.0)
        self._y = min(max(self._y + _SPEED * min(max(down, -1.0), 1.0), 0.0), 1.0)
        after = self._distances()
        success = after[self._shape] <= _REACH
        reward = before[self._shape] - after[self._shape] + _ARRIVAL_BONUS * success
        return self._observe(), reward, min(after) <= _REACH, False, self._info(success)

    def _distances(self) -> list[float]:
        return [math.hypot(self._x - x, self._y - y) for x, y in _CORNERS]

    def render(self) -> npt.NDArray[np.uint8] | None:
        """The present picture as RGB, uint8 (64, 64, 3); None without a render mode."""
        return None if self.render_mode is None else np.repeat(self._picture, 3, axis=2)

    def _observe(self) -> Observation:
        self._picture = render_sprites(self._shape, self._scale, self._orientation, self._x, self._y)[0, :, :, None]
        return self._picture

    def _info(self, success: bool) -> dict[str, Any]:
        factors = np.array([self._shape, self._scale, self._orientation, self._x, self._y], np.float32)
        return {"factors": factors, "is_success": success}
