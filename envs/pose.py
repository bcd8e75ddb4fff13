"""SpritePose: turn and scale a sprite until it covers the ghost that shows the target pose."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from envs.appearance import sprite_palette
from envs.sprite_env import SpriteEnv, given_factors, require_within
from sparse_repr.data.base import ImageArray
from sparse_repr.data.drawing.sprite_geometry import render_sprites

MAX_STEPS = 50
"""Steps after which an episode is truncated; the furthest pose takes about 16."""

_SHAPES, _COLORS, _QUADRANTS = 3, 4, 4
# The turn after which a shape looks the same again.
_PERIODS = (math.pi / 2, math.pi, 2 * math.pi)
_TURN_SPEED, _GROWTH_SPEED = 0.2, 0.04
_ORIENTATION_TOLERANCE, _SCALE_TOLERANCE = 0.15, 0.05
_LEAST_SCALE, _GREATEST_SCALE = 0.5, 1.0
# At the start at least this share of the greatest possible turn, and this difference of scale.
_START_TURN, _START_SCALE_DIFFERENCE = 0.5, 0.2
_ARRIVAL_BONUS = 1.0
_GHOST = (110, 110, 110)


def is_held_out(shape: int, color: int, quadrant: int) -> bool:
    """Whether the source never shows this combination of shape 0..2, colour 0..3 and quadrant of the picture.

    Quadrants are 0 top left, 1 top right, 2 bottom left, 3 bottom right. A quarter of the 48 combinations is held out:
    those whose three numbers add up to a multiple of four. The source shows every shape in every colour, and each of
    both in every quadrant.
    """
    return (shape + color + quadrant) % 4 == 0


class SpritePose(SpriteEnv):
    """Bring a sprite into the pose of its ghost.

    **Observation**: `Box(0, 255, (64, 64, 3), uint8)`: the sprite in one of four colours and, at the same place, a
    grey ghost of it in the target pose. Both are see-through: where they overlap, the sprite's colour is lighter. So
    neither hides the other, whichever is larger, and what is left to do is as visible as the areas in which they
    differ; an outline a pixel wide would be the first thing that an encoder drops, and a target that never
    changed would have to be learned, not seen.

    **Action**: `Box(-1, 1, (2,), float32)`, turn (anticlockwise, 0.2 radians per step at 1) and growth (0.04 per step
    at 1); in the discrete twin `Discrete(5)`: nothing, clockwise, anticlockwise, shrink, grow at full speed.

    **Goal**: the orientation within 0.15 radians and the scale within 0.05 of the target. Orientations count as they
    look: a square is the same after 90°, an ellipse after 180°, a heart after 360°.

    **Reward**: decrease of the distance, plus 1 on arriving. The distance is the turn that is left as a share of the
    greatest possible one (45°, 90°, 180°) plus the difference of scale as a share of the greatest, 0.5.

    **Termination**: on arriving. Truncation after 50 steps.

    **Start**: shape, colour, position, scale and orientation are drawn at random and stay, but for the last two; the
    target is at least half of the greatest turn and a scale of 0.2 away.

    **info**: `factors`, float32 (8,) in the order of `factor_names`: shape, colour, position, scale and orientation as
    in `render_sprites`, then target minus present: of the scale -0.5..0.5, of the orientation within half of the turn
    after which the shape looks the same, the shorter way round. `is_success`. The factors decide the picture, but for
    the random parts of `background` and `noise`; `reset(options={"factors": ...})` shows them.

    **Domains**: the default is `source`; held out are the combinations of shape, colour and quadrant of `is_held_out`.
    """

    factor_names = (
        "shape",
        "color",
        "position_x",
        "position_y",
        "scale",
        "orientation",
        "scale_difference",
        "orientation_difference",
    )
    nominal_factors = ("shape", "color")
    discrete_meanings = ("stay", "clockwise", "anticlockwise", "shrink", "grow")
    continuous_meanings = ("anticlockwise", "grow")
    # 3 shapes, 4 colours, 8 x 8 positions, 5 scales, 8 orientations, 5 and 8 differences
    factor_bins = (
        (0.5, 1.5),
        (0.5, 1.5, 2.5),
        tuple(i / 8 for i in range(1, 8)),
        tuple(i / 8 for i in range(1, 8)),
        (0.6, 0.7, 0.8, 0.9),
        tuple(2 * math.pi * i / 8 for i in range(1, 8)),
        (-0.3, -0.1, 0.1, 0.3),
        tuple(math.pi * i / 4 for i in range(-3, 4)),
    )

    def __init__(self, render_mode: str | None = None, *, discrete: bool = False, domain: str = "source") -> None:
        """Set the spaces up.

        Args:
            render_mode: None or ``"rgb_array"``.
            discrete: five discrete actions instead of two speeds.
            domain: a name of `envs.domains.DOMAINS`.

        Raises:
            ValueError: unknown render mode or domain.
        """
        super().__init__(render_mode, discrete=discrete, domain=domain, channels=3)
        combinations = itertools.product(range(_SHAPES), range(_COLORS), range(_QUADRANTS))
        self._combinations = [each for each in combinations if self.domain.allows(is_held_out(*each))]
        self._shape, self._color, self._x, self._y = 0, 0, 0.5, 0.5
        self._scale = self._target_scale = 1.0
        self._orientation = self._target_orientation = 0.0
        self._palette = np.zeros((4, 3), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ImageArray, dict[str, Any]]:
        """Start an episode; `options` may give its "factors", as in the infos, held-out combinations included."""
        super().reset(seed=seed)
        half = math.pi
        ranges = ((0, 2), (0, 3), (0, 1), (0, 1), (0.5, 1), (0, 2 * half), (-0.5, 0.5), (-half, half))
        given = given_factors(options, self.factor_names, ranges, "SpritePose", whole=self.nominal_factors)
        if given is not None:
            scale, growth = given[4], given[6]
            require_within("SpritePose", "scale + scale_difference", scale + growth, (_LEAST_SCALE, _GREATEST_SCALE))
        draw = self.np_random
        # the rest before the combination, so that it is the same whichever combinations the domain allows
        across, down = draw.uniform(0, 0.5, 2).tolist()
        while True:
            scale, target = draw.uniform(_LEAST_SCALE, _GREATEST_SCALE, 2).tolist()
            if abs(target - scale) >= _START_SCALE_DIFFERENCE:
                break
        orientation, turn = float(draw.uniform(0, 2 * np.pi)), float(draw.uniform(_START_TURN, 1))
        turn *= (-1) ** int(draw.integers(2))
        shape, color, quadrant = self._combinations[int(draw.integers(len(self._combinations)))]
        x, y = across + 0.5 * (quadrant % 2), down + 0.5 * (quadrant // 2)
        difference = turn * _PERIODS[shape] / 2
        if given is not None:
            shape, color = round(given[0]), round(given[1])
            x, y, scale, orientation, growth, difference = given[2:]
            target = scale + growth
        self._shape, self._color = shape, color
        self._x, self._y = (min(max(place, 0.0), 1.0) for place in (x, y))
        self._scale, self._target_scale = (min(max(value, _LEAST_SCALE), _GREATEST_SCALE) for value in (scale, target))
        self._orientation, self._target_orientation = orientation, orientation + difference
        sprite = np.array(sprite_palette(self.domain)[color])
        self._palette[1:] = sprite, _GHOST, (sprite + 255) // 2
        self._appearance.begin(self.np_random)
        return self._observe(), self._info(success=False)

    def step(self, action: Any) -> tuple[ImageArray, float, bool, bool, dict[str, Any]]:
        """Turn and scale the sprite by one step."""
        before = self._distance()
        turn, growth = self._decode(action)
        self._orientation = (self._orientation + _TURN_SPEED * turn) % (2 * math.pi)
        self._scale = min(max(self._scale + _GROWTH_SPEED * growth, _LEAST_SCALE), _GREATEST_SCALE)
        scale_difference, orientation_difference = self._differences()
        success = abs(scale_difference) <= _SCALE_TOLERANCE and abs(orientation_difference) <= _ORIENTATION_TOLERANCE
        reward = before - self._distance() + _ARRIVAL_BONUS * success
        return self._observe(), reward, success, False, self._info(success)

    def _differences(self) -> tuple[float, float]:
        """Target minus present: of the scale, and of the orientation as it looks."""
        period = _PERIODS[self._shape]
        turn = (self._target_orientation - self._orientation + period / 2) % period - period / 2
        return self._target_scale - self._scale, turn

    def _distance(self) -> float:
        scale_difference, orientation_difference = self._differences()
        greatest = _GREATEST_SCALE - _LEAST_SCALE
        return abs(scale_difference) / greatest + abs(orientation_difference) / (_PERIODS[self._shape] / 2)

    def _observe(self) -> ImageArray:
        scales, orientations = (self._scale, self._target_scale), (self._orientation, self._target_orientation)
        sprite, ghost = render_sprites(self._shape, scales, orientations, self._x, self._y)
        self._image = self._appearance.image((sprite & 1) | (ghost & 2), self._palette)
        return self._image.copy()

    def _info(self, success: bool) -> dict[str, Any]:
        present = [self._shape, self._color, self._x, self._y, self._scale, self._orientation]
        return {"factors": np.array([*present, *self._differences()], np.float32), "is_success": success}
