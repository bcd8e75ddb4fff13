"""SpriteReach: take a sprite to the corner that belongs to its shape, seeing only a 64x64 picture of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from envs.sprite_env import SpriteEnv, require_within
from sparse_repr.data.base import ImageArray
from sparse_repr.data.drawing.sprite_geometry import render_sprites

MAX_STEPS = 50
"""Steps after which an episode is truncated; the way from corner to corner takes about 24."""

CORNERS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0))
"""Corners (x, y) of the picture: the first three belong to square, ellipse and heart, the last to none."""
_SPEED = 0.06
_REACH = 0.12
_ARRIVAL_BONUS = 1.0
# The turn after which a shape looks the same again.
_PERIODS = (math.pi / 2, math.pi, 2 * math.pi)
# What reset may be told: the bounds, and whether it is a whole number.
_OPTIONS = {"shape": ((0, 2), True), "scale": ((0.5, 1), False), "orientation": ((-math.inf, math.inf), False)}
# Brightness of background and sprite.
_WHITE, _GREY = 255, 128


def is_held_out(shape: int, orientation: float) -> bool:
    """Whether the source never shows this shape at this orientation (radians).

    The turn after which a shape looks the same (90° for the square, 180° for the ellipse, 360° for the heart) has four
    quarters. The square's first, the ellipse's second and the heart's third quarter are held out.
    """
    period = _PERIODS[shape]
    return int(orientation % period / period * 4) % 4 == shape


class SpriteReach(SpriteEnv):
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

    **Domains**: the default is `all`, which holds nothing out; `source` leaves out the shapes at the orientations of
    `is_held_out`. In `new_colors` the sprite is grey (128) instead of white.
    """

    factor_names = ("shape", "scale", "orientation", "position_x", "position_y")
    nominal_factors = ("shape",)
    # 3 shapes, 6 scales, 8 orientations, 8 x 8 positions
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
        domain: str = "all",
    ) -> None:
        """Set the spaces up.

        Args:
            render_mode: None or ``"rgb_array"``.
            discrete: five discrete actions instead of a continuous velocity.
            scales: sizes that an episode may draw, each in 0.5..1.
            domain: a name of `envs.domains.DOMAINS`.

        Raises:
            ValueError: unknown render mode or domain, or a scale outside its range.
        """
        super().__init__(render_mode, discrete=discrete, domain=domain, channels=1)
        if not scales or not all(0.5 <= scale <= 1 for scale in scales):
            raise ValueError(f"SpriteReach needs scales in 0.5..1, got {scales}")
        self._scales = tuple(scales)
        self._palette = np.array([[0], [_GREY if self.domain.new_colors else _WHITE]], np.uint8)
        self._shape, self._scale, self._orientation = 0, 1.0, 0.0
        self._x, self._y = 0.5, 0.5

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ImageArray, dict[str, Any]]:
        """Draw a new sprite.

        `options` may fix "shape" (0..2), "scale" (0.5..1) and "orientation" (radians); an orientation that is given may
        be a held-out one.

        Raises:
            ValueError: another option, or a value outside its range.
        """
        super().reset(seed=seed)
        fixed = options or {}
        unknown = fixed.keys() - _OPTIONS.keys()
        if unknown:
            raise ValueError(f"SpriteReach.reset takes the options shape, scale and orientation, got {sorted(unknown)}")
        for name, (bounds, whole) in _OPTIONS.items():
            if name in fixed:
                require_within("SpriteReach", name, fixed[name], bounds, whole=whole)
        self._shape = int(fixed.get("shape", self.np_random.integers(3)))
        self._scale = self._scales[int(self.np_random.integers(len(self._scales)))]
        self._scale = float(fixed.get("scale", self._scale))
        self._orientation = float(self.np_random.uniform(0, 2 * np.pi))
        while not self.domain.allows(is_held_out(self._shape, self._orientation)):
            self._orientation = float(self.np_random.uniform(0, 2 * np.pi))
        self._orientation = float(fixed.get("orientation", self._orientation))
        self._x, self._y = self.np_random.uniform(0.3, 0.7, 2).tolist()
        self._appearance.begin(self.np_random)
        return self._observe(), self._info(success=False)

    def step(self, action: Any) -> tuple[ImageArray, float, bool, bool, dict[str, Any]]:
        """Move the sprite by one step."""
        right, down = self._decode(action)
        before = self._distances()
        self._x = min(max(self._x + _SPEED * right, 0.0), 1.0)
        self._y = min(max(self._y + _SPEED * down, 0.0), 1.0)
        after = self._distances()
        success = after[self._shape] <= _REACH
        reward = before[self._shape] - after[self._shape] + _ARRIVAL_BONUS * success
        return self._observe(), reward, min(after) <= _REACH, False, self._info(success)

    def _distances(self) -> list[float]:
        return [math.hypot(self._x - x, self._y - y) for x, y in CORNERS]

    def _observe(self) -> ImageArray:
        image = render_sprites(self._shape, self._scale, self._orientation, self._x, self._y)[0]
        # white on black is what the renderer gives
        self._image = image[..., None] if self.domain.plain else self._appearance.image(image & 1, self._palette)
        return self._image.copy()

    def _info(self, success: bool) -> dict[str, Any]:
        factors = np.array([self._shape, self._scale, self._orientation, self._x, self._y], np.float32)
        return {"factors": factors, "is_success": success}
