"""Pong and Breakout with the ground truth of their memory: pictures that no one here drew, whose codes can be scored.

Addresses are those of Anand et al. 2019 (AtariARI); where they lie on the screen was measured, pixel by pixel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from envs.public import PublicTask, import_game, within
from sparse_repr.registry import lookup

MAX_STEPS = 27_000
"""Steps of four frames after which an episode is truncated."""
_FRAMES = 4
_MOST_NO_OPERATIONS = 30
_ROWS, _COLUMNS = 210, 160


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a thing is on the screen, along one axis."""

    address: int
    """Byte of the memory (0..127) that tells it."""
    offset: float
    """Pixels of the 210 x 160 screen from that number to the thing's centre."""
    across: bool
    """Whether it is along the width."""


@dataclasses.dataclass(frozen=True)
class Game:
    """A game, what is shown of its screen, and what its memory tells."""

    rom: str
    """Name in ale-py."""
    field: tuple[int, int, int, int]
    """Rows above, columns left of, height and width of what is shown: the field, without the score."""
    ball: int
    """Byte that is 0 while there is no ball; its places are 0 then."""
    places: Mapping[str, Place]
    """Factor -> where it is."""
    winning_points: int
    """Whoever has won so many has won the game; points of the opponent are not subtracted."""


GAMES = {
    "Pong": Game(
        "pong",
        (34, 0, 160, 160),
        54,
        {
            "ball_x": Place(49, -48.5, True),
            "ball_y": Place(54, -12.5, False),
            "player_y": Place(51, -6.0, False),
            "opponent_y": Place(50, -6.0, False),
        },
        21,
    ),
    "Breakout": Game(
        "breakout",
        (32, 0, 164, 160),
        101,
        {
            "ball_x": Place(99, -48.5, True),
            "ball_y": Place(101, 11.0, False),
            "player_x": Place(72, -40.0, True),
        },
        432,  # the whole first wall, of two
    ),
}
"""Name -> game."""


class AtariGame(PublicTask):
    """A game of the Arcade Learning Environment, the field alone, with what its memory tells as factors.

    **Observation**: `Box(0, 255, (84, 84, 3), uint8)`: the field without the score, averaged down, in colour; the
    brighter of the last two frames, pixel by pixel.

    **Action**: the game's own few; each is held for four frames, without the random repeats of ale-py's default.

    **Reward, termination**: the game's. Up to 30 frames pass without an action at the start. Truncation after 27,000
    steps.

    **info**: `factors`, float32: places in 0..1 of the field, from the left and from above, and `ball_visible`, 0 or 1;
    without a ball its places are 0. `is_success`: Pong was won, with 21 points; in Breakout, which goes on until the
    last life is lost, the first wall is gone, 432 points.
    """

    def __init__(self, render_mode: str | None = None, *, game: str, image_size: int = 84) -> None:
        """Load the game.

        Args:
            render_mode: None or ``"rgb_array"``, which shows the whole screen.
            game: entry of `GAMES`.
            image_size: height and width of the observation.

        Raises:
            ValueError: an unknown game, size or render mode.
            ModuleNotFoundError: ale-py is not installed.
        """
        self._game = lookup(GAMES, game, "game")
        ale = import_game("ale_py", task=game, package="ale-py")
        ale.ALEInterface.setLoggerMode(ale.LoggerMode.Error)
        self._console = ale.ALEInterface()
        self._console.setFloat("repeat_action_probability", 0.0)
        self._console.loadROM(ale.roms.get_rom_path(self._game.rom))
        self._actions = self._console.getMinimalActionSet()
        super().__init__(
            render_mode,
            name=game,
            image_size=image_size,
            field=self._game.field,
            actions=[action.name for action in self._actions],
            factors={**dict.fromkeys(self._game.places), "ball_visible": 2},
        )
        self._points = 0.0
        self._last = np.zeros((_ROWS, _COLUMNS, 3), np.uint8)

    def _begin(self) -> None:
        """Let up to 30 frames pass."""
        self._console.reset_game()
        for _ in range(int(self.np_random.integers(1, _MOST_NO_OPERATIONS + 1))):
            self._console.act(self._actions[0])
        self._last, self._points = self._console.getScreenRGB(), 0.0

    def _advance(self, action: int) -> tuple[float, bool, bool]:
        """Hold an action for four frames."""
        total, screens = 0.0, []
        for frame in range(_FRAMES):
            reward = float(self._console.act(self._actions[action]))
            total += reward
            self._points += max(reward, 0.0)
            if frame >= _FRAMES - 2:
                screens.append(self._console.getScreenRGB())
            if self._console.game_over():
                break
        self._last = np.max(screens, axis=0) if screens else self._console.getScreenRGB()
        return total, self._console.game_over(), False

    def _screen(self) -> npt.NDArray[np.uint8]:
        return self._last

    def _factors(self) -> list[float]:
        top, left, height, width = self._game.field
        memory = self._console.getRAM().astype(np.float64)
        visible = memory[self._game.ball] > 0
        values = []
        for name, place in self._game.places.items():
            pixel = memory[place.address] + place.offset
            value = (pixel - left) / width if place.across else (pixel - top) / height
            values.append(within(value) if visible or not name.startswith("ball") else 0.0)
        return [*values, float(visible)]

    def _succeeded(self) -> bool:
        return self._points >= self._game.winning_points
