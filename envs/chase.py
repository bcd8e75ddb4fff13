"""SpriteChase: catch the heart, keep away from the square, take no notice of the ellipses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.appearance import paint_layers, sprite_palette
from envs.sprite_env import SpriteEnv, given_factors
from sparse_repr.data.base import ImageArray
from sparse_repr.data.drawing.sprite_geometry import SHAPE_NAMES

MAX_STEPS = 100
"""Steps after which an episode is truncated; a catch takes about 20."""

_SQUARE, _ELLIPSE, _HEART = (SHAPE_NAMES.index(name) for name in ("square", "ellipse", "heart"))
_COLORS = 4
_SCALE = 0.5
# Positions 0..1 are pixels 8..56: a sprite of this scale never leaves the picture.
_FIELD_PIXELS = (8.0, 48.0)
_PLAYER_SPEED, _HEART_SPEED, _SQUARE_SPEED, _ELLIPSE_SPEED = 0.06, 0.03, 0.02, 0.02
# Centres as close as this touch: 6.7 pixels.
_CONTACT = 0.14
# How far heart and square are from the player at the start.
_START_DISTANCE = 0.4
_CATCH_BONUS = _CAUGHT_PENALTY = 1.0
_MOST_DISTRACTORS = 4
_PLAYER_COLOR = (255, 255, 255)


def is_held_out(shape: int, color: int) -> bool:
    """Whether the source never shows this shape in this colour: a red square, a green ellipse, a blue heart.

    In the domain `new_colors` the colours of the same numbers are held out: pink, cyan and violet.
    """
    return color == shape


class SpriteChase(SpriteEnv):
    """Catch the heart before the square catches you.

    **Observation**: `Box(0, 255, (64, 64, 3), uint8)`: a white ellipse is the player; a heart, a square and
    `distractors` ellipses have one of four colours each, drawn anew in every episode, so that shape alone tells what to
    catch and what to avoid; heart and square differ in colour. All are upright and 10 to 13 pixels wide. Where they
    overlap, the player lies on top, then heart, square and the ellipses, the last one over the first.

    **Action**: `Box(-1, 1, (2,), float32)`, the player's velocity to the right and downwards, 0.06 of the field per
    step at 1; in the discrete twin `Discrete(5)`: stay, left, right, up, down at full speed.

    **Movement**: after the player, the heart moves straight away from it by 0.03 and the square straight towards it by
    0.02; walls stop them, so that the heart ends up cornered. Ellipses drift by 0.02 in a direction of their own,
    bounce off the walls and touch nobody. But for their directions one picture shows the whole state.

    **Reward**: decrease of the distance to the heart; plus 1 on catching it; minus 1 on being caught. Both mean
    centres within 0.14 (6.7 pixels); where both happen in one step, the catch counts.

    **Termination**: on either. Truncation after 100 steps.

    **Start**: everybody anywhere, heart and square at least 0.4 from the player.

    **info**: `factors`, float32 (8 + 3 `distractors`,): positions in 0..1 of the field and colours 0..3 in the order of
    `factor_names`; `is_success`, whether the heart was caught. The factors decide the picture, but for the random parts
    of `background` and `noise`; `reset(options={"factors": ...})` shows them.

    **Domains**: the default is `source`; held out are the combinations of shape and colour of `is_held_out`. In
    `held_out` all three shapes have their held-out colour. The player is white in every domain.
    """

    field_pixels = _FIELD_PIXELS

    def __init__(
        self,
        render_mode: str | None = None,
        *,
        discrete: bool = False,
        distractors: int = 2,
        domain: str = "source",
    ) -> None:
        """Set the spaces up.

        Args:
            render_mode: None or ``"rgb_array"``.
            discrete: five discrete actions instead of a continuous velocity.
            distractors: number of ellipses, 0..4.
            domain: a name of `envs.domains.DOMAINS`.

        Raises:
            ValueError: unknown render mode or domain, or a number of distractors outside its range.
        """
        super().__init__(render_mode, discrete=discrete, domain=domain, channels=3)
        if not 0 <= distractors <= _MOST_DISTRACTORS:
            raise ValueError(f"SpriteChase needs 0..{_MOST_DISTRACTORS} distractors, got {distractors}")
        others = ["heart", "square", *(f"ellipse_{i + 1}" for i in range(distractors))]
        columns = [f"{name}_{column}" for name in others for column in ("x", "y", "color")]
        self.factor_names = ("player_x", "player_y", *columns)
        self.nominal_factors = tuple(f"{name}_color" for name in others)
        eighths, halves = tuple(i / 8 for i in range(1, 8)), tuple(i + 0.5 for i in range(_COLORS - 1))
        self.factor_bins = (eighths, eighths, *(eighths, eighths, halves) * len(others))
        # who is who: player, heart, square, ellipses; drawn from the last to the first
        self._kinds = (_ELLIPSE, _HEART, _SQUARE, *[_ELLIPSE] * distractors)
        self._order = [*range(3, 3 + distractors), 2, 1, 0]
        self._x, self._y = [0.5] * len(self._kinds), [0.5] * len(self._kinds)
        self._colors = [0] * len(others)
        self._headings = [(0.0, 0.0)] * distractors
        self._colors_of = [
            [color for color in range(_COLORS) if self.domain.allows(is_held_out(kind, color))]
            for kind in self._kinds[1:]
        ]
        self._palette = np.zeros((len(self._kinds) + 1, 3), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ImageArray, dict[str, Any]]:
        """Start an episode; `options` may give its "factors", as in the infos, held-out colours included."""
        super().reset(seed=seed)
        ranges = ((0, 1), (0, 1), *((0, 1), (0, 1), (0, _COLORS - 1)) * len(self._colors))
        given = given_factors(options, self.factor_names, ranges, "SpriteChase", whole=self.nominal_factors)
        while True:
            x, y = self.np_random.uniform(0, 1, (2, len(self._kinds))).tolist()
            if min(math.hypot(x[i] - x[0], y[i] - y[0]) for i in (1, 2)) >= _START_DISTANCE:
                break
        angles = self.np_random.uniform(0, 2 * np.pi, len(self._headings)).tolist()
        self._headings = [(_ELLIPSE_SPEED * math.cos(angle), _ELLIPSE_SPEED * math.sin(angle)) for angle in angles]
        colors: list[int] = []
        for allowed in self._colors_of:
            # the square is never of the heart's colour: overlapping, they would be one blob
            free = [color for color in allowed if len(colors) != 1 or color != colors[0]]
            colors.append(free[int(self.np_random.integers(len(free)))])
        if given is not None:
            x, y, colors = [given[0], *given[2::3]], [given[1], *given[3::3]], [round(c) for c in given[4::3]]
        self._x, self._y, self._colors = x, y, colors
        shades = sprite_palette(self.domain)
        colored = [_PLAYER_COLOR, *(shades[color] for color in colors)]
        self._palette[1:] = [colored[who] for who in self._order]
        self._appearance.begin(self.np_random)
        return self._observe(), self._info(success=False)

    def step(self, action: Any) -> tuple[ImageArray, float, bool, bool, dict[str, Any]]:
        """Move the player, then all others."""
        before = self._distance(1)
        right, down = self._decode(action)
        self._move(0, _PLAYER_SPEED * right, _PLAYER_SPEED * down)
        self._move(1, *self._towards_player(1, -_HEART_SPEED))
        self._move(2, *self._towards_player(2, _SQUARE_SPEED))
        for i, (dx, dy) in enumerate(self._headings):
            self._x[3 + i], dx = _bounced(self._x[3 + i], dx)
            self._y[3 + i], dy = _bounced(self._y[3 + i], dy)
            self._headings[i] = dx, dy
        after = self._distance(1)
        catches = after <= _CONTACT
        caught = not catches and self._distance(2) <= _CONTACT
        reward = before - after + _CATCH_BONUS * catches - _CAUGHT_PENALTY * caught
        return self._observe(), reward, catches or caught, False, self._info(catches)

    def _distance(self, who: int) -> float:
        return math.hypot(self._x[who] - self._x[0], self._y[who] - self._y[0])

    def _towards_player(self, who: int, length: float) -> tuple[float, float]:
        distance = self._distance(who)
        # never beyond the player; without a distance there is no direction
        share = min(length / distance, 1.0) if distance else 0.0
        return share * (self._x[0] - self._x[who]), share * (self._y[0] - self._y[who])

    def _move(self, who: int, right: float, down: float) -> None:
        self._x[who] = min(max(self._x[who] + right, 0.0), 1.0)
        self._y[who] = min(max(self._y[who] + down, 0.0), 1.0)

    def _observe(self) -> ImageArray:
        layers = paint_layers(
            [self._kinds[who] for who in self._order],
            [_SCALE] * len(self._order),
            [0.0] * len(self._order),
            _pixels(self._x, self._order),
            _pixels(self._y, self._order),
        )
        self._image = self._appearance.image(layers, self._palette)
        return self._image.copy()

    def _info(self, success: bool) -> dict[str, Any]:
        factors = [self._x[0], self._y[0]]
        for x, y, color in zip(self._x[1:], self._y[1:], self._colors, strict=True):
            factors += [x, y, color]
        return {"factors": np.array(factors, np.float32), "is_success": success}


def _pixels(values: Sequence[float], order: Sequence[int]) -> list[float]:
    first, pixels = _FIELD_PIXELS
    return [first + pixels * values[who] for who in order]


def _bounced(place: float, move: float) -> tuple[float, float]:
    """Where a step leads, and the next step: a wall turns it back."""
    moved = place + move
    if 0 <= moved <= 1:
        return moved, move
    return min(max(-moved if moved < 0 else 2 - moved, 0.0), 1.0), -move
