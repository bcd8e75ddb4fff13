"""Pong and Breakout with the ground truth of their memory: pictures that no one here drew, whose codes can be scored.

Addresses are those of Anand et al. 2019 (AtariARI); where they lie on the screen was measured, pixel by pixel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from PIL import Image

from sparse_repr.data.base import ImageArray
from sparse_repr.registry import lookup

MAX_STEPS = 27_000
"""Steps of four frames after which an episode is truncated."""
_FRAMES = 4
_MOST_NO_OPERATIONS = 30
_BINS = 10


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
    ),
}
"""Name -> game."""


class AtariGame(gym.Env[ImageArray, Any]):
    """A game of the Arcade Learning Environment, the field alone, with what its memory tells as factors.

    **Observation**: `Box(0, 255, (84, 84, 3), uint8)`: the field without the score, averaged down, in colour; the
    brighter of the last two frames, pixel by pixel.

    **Action**: the game's own few; each is held for four frames, without the random repeats of ale-py's default.

    **Reward, termination**: the game's. Up to 30 frames pass without an action at the start. Truncation after 27,000
    steps.

    **info**: `factors`, float32: places in 0..1 of the field, from the left and from above, and `ball_visible`, 0 or 1;
    without a ball its places are 0.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012 (an instance variable in gym.Env)
    nominal_factors = ("ball_visible",)

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
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"{game} needs render_mode None or 'rgb_array', got {render_mode!r}")
        if not 1 <= image_size <= min(self._game.field[2:]):
            raise ValueError(f"{game} needs image_size in 1..{min(self._game.field[2:])}, got {image_size}")
        try:
            from ale_py import ALEInterface, LoggerMode, roms
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{game} needs ale-py: pip install 'sparse-repr[envs]'") from error
        self.render_mode = render_mode
        ALEInterface.setLoggerMode(LoggerMode.Error)
        self._console = ALEInterface()
        self._console.setFloat("repeat_action_probability", 0.0)
        rom = roms.get_rom_path(self._game.rom)
        assert rom is not None  # it comes with the package
        self._console.loadROM(rom)
        self._actions = self._console.getMinimalActionSet()
        self.factor_names = (*self._game.places, "ball_visible")
        edges = tuple(i / _BINS for i in range(1, _BINS))
        self.factor_bins = (*(edges for _ in self._game.places), (0.5,))
        self.field_pixels = (0.0, float(image_size))
        self.action_space = gym.spaces.Discrete(len(self._actions))
        self.observation_space = gym.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self._screen: npt.NDArray[np.uint8] = np.zeros((210, 160, 3), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ImageArray, dict[str, Any]]:
        """Begin a game, and let up to 30 frames pass."""
        super().reset(seed=seed)
        if options:
            raise ValueError(f"{type(self).__name__}.reset takes no options, got {sorted(options)}")
        self._console.reset_game()
        for _ in range(int(self.np_random.integers(1, _MOST_NO_OPERATIONS + 1))):
            self._console.act(self._actions[0])
        self._screen = self._console.getScreenRGB()
        return self._observe(), self._info()

    def step(self, action: Any) -> tuple[ImageArray, float, bool, bool, dict[str, Any]]:
        """Hold an action for four frames."""
        reward, screens = 0.0, []
        for frame in range(_FRAMES):
            reward += float(self._console.act(self._actions[int(action)]))
            if frame >= _FRAMES - 2:
                screens.append(self._console.getScreenRGB())
            if self._console.game_over():
                break
        self._screen = np.max(screens, axis=0) if screens else self._console.getScreenRGB()
        return self._observe(), reward, self._console.game_over(), False, self._info()

    def render(self) -> npt.NDArray[np.uint8] | None:
        """The whole screen as RGB, uint8 (210, 160, 3); None without a render mode."""
        return None if self.render_mode is None else self._screen.copy()

    def _observe(self) -> ImageArray:
        top, left, height, width = self._game.field
        field = Image.fromarray(self._screen[top : top + height, left : left + width])
        size = self.observation_space.shape[0]  # type: ignore[index]
        return np.asarray(field.resize((size, size), Image.Resampling.BOX))

    def _info(self) -> dict[str, Any]:
        top, left, height, width = self._game.field
        memory = self._console.getRAM().astype(np.float64)
        visible = memory[self._game.ball] > 0
        values = []
        for name, place in self._game.places.items():
            pixel = memory[place.address] + place.offset
            value = (pixel - left) / width if place.across else (pixel - top) / height
            values.append(min(max(value, 0.0), 1.0) if visible or not name.startswith("ball") else 0.0)
        return {"factors": np.array([*values, visible], np.float32)}
