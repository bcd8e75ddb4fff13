"""MiniGrid's DoorKey seen from above: take the key, open the door, go to the goal.

Chevalier-Boisvert et al. 2023, "Minigrid & Miniworld: modular & customizable reinforcement learning environments".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.public import PublicTask, import_game

SIZES = (5, 6, 8)
"""Tiles across and down that MiniGrid has the task in, the walls around it included."""
_TILE_PIXELS = 32
# what it is called here -> in MiniGrid; it has two more, to drop and done, which are of no use here
_ACTIONS = {"turn left": "left", "turn right": "right", "forward": "forward", "pick up": "pickup", "toggle": "toggle"}
OPEN, CLOSED, LOCKED = range(3)
"""Values of the factor `door`, as MiniGrid numbers them."""


def tiles_of(factors: npt.NDArray[np.float32]) -> int:
    """How many tiles across and down the room has whose factors these are: 5, 6 or 8.

    >>> tiles_of(np.array([0.3, 0.5, 0, 0.5, 0, 0.5, 2], np.float32))
    5

    Args:
        factors: `info["factors"]`, (7,) or (9,).

    Raises:
        ValueError: the agent is in the middle of no tile.
    """
    # middles of tiles of one size are none of another: 6 and 8 have no odd number of halves in common
    for size in SIZES[:1] if len(factors) == 7 else SIZES[1:]:
        tiles = factors[:2] * size - 0.5
        if np.allclose(tiles, np.round(tiles), atol=1e-3):
            return size
    raise ValueError(f"DoorKey's factors begin with the middle of a tile of {SIZES}, got {factors.tolist()}")


class DoorKey(PublicTask):
    """`MiniGrid-DoorKey-5x5-v0`, 6x6 or 8x8, the whole of it seen from above instead of the agent's view as numbers.

    **Observation**: `Box(0, 255, (64, 64, 3), uint8)`: MiniGrid's rendering, 32 pixels a tile, averaged down, in
    colour; the agent's field of view is not lit up.

    **Action**: turn left, turn right, forward, pick up, toggle.

    **Reward, end**: MiniGrid's: 1 - 0.9 steps / most at the goal, which terminates the episode, 0 before. Truncation
    after 250 steps with 5 tiles, 360 with 6 and 640 with 8.

    **info**: `factors`, float32 (7,), or (9,) with more than 5 tiles: `agent_x`, `agent_y`, `key_y` and `door_y`,
    middles of tiles in 0..1 of the picture; `agent_direction`, 0 right, 1 down, 2 left, 3 up; `key_carried`, 0 or 1,
    where 1 makes the key's place 0: the picture shows no key then; `door`, 0 open, 1 closed, 2 locked. With 5 tiles key
    and door never leave their columns, the second and the third; with more, `key_x` and `door_x` come last.
    `is_success`: the agent is at the goal.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (an instance variable in gym.Env)

    def __init__(self, render_mode: str | None = None, *, size: int = 5, image_size: int = 64) -> None:
        """Set up the game.

        Args:
            render_mode: None or ``"rgb_array"``, which shows it with 32 pixels a tile.
            size: tiles across and down, an entry of `SIZES`.
            image_size: height and width of the observation.

        Raises:
            ValueError: an unknown size or render mode.
            ModuleNotFoundError: minigrid is not installed.
        """
        if size not in SIZES:
            raise ValueError(f"DoorKey needs a size of {', '.join(map(str, SIZES))} tiles, got {size!r}")
        self._tiles = size
        self._places = [(column, row) for column in range(size) for row in range(size)]
        side = size * _TILE_PIXELS
        self._picture = np.zeros((side, side, 3), np.uint8)
        # tile -> what is there and where the agent looks, all that the picture of a tile hangs on
        self._drawn: dict[tuple[int, int], Any] = {}
        columns: dict[str, int | None] = {} if size == min(SIZES) else {"key_x": None, "door_x": None}
        super().__init__(
            render_mode,
            name="DoorKey",
            image_size=image_size,
            field=(0, 0, side, side),
            actions=tuple(_ACTIONS),
            factors={
                "agent_x": None,
                "agent_y": None,
                "agent_direction": 4,
                "key_y": None,
                "key_carried": 2,
                "door_y": None,
                "door": 3,
                **columns,
            },
        )
        game = import_game("minigrid.envs.doorkey", task="DoorKey", package="minigrid")
        self._game: Any = game.DoorKeyEnv(size=size)
        # what the agent sees as numbers would be worked out at every step, and is not asked for here
        self._game.gen_obs = dict
        self._done = False

    def close(self) -> None:
        """Close the game."""
        self._game.close()

    def _begin(self) -> None:
        self._game.reset(seed=int(self.np_random.integers(2**31)))
        self._done = False

    def _advance(self, action: int) -> tuple[float, bool, bool]:
        chosen = self._game.actions[_ACTIONS[self._meanings[action]]]
        _, reward, self._done, truncated, _ = self._game.step(chosen)
        return float(reward), self._done, bool(truncated)

    def _screen(self) -> npt.NDArray[np.uint8]:
        # the game's own `get_frame` draws every tile at every step, and works out what the agent sees
        grid, agent = self._game.grid, tuple(map(int, self._game.agent_pos))
        for tile in self._places:
            thing = grid.get(*tile)
            direction = self._game.agent_dir if tile == agent else None
            look = (None if thing is None else thing.encode(), direction)
            if self._drawn.get(tile) != look:
                across, down = (place * _TILE_PIXELS for place in tile)
                picture = grid.render_tile(thing, agent_dir=direction, tile_size=_TILE_PIXELS)
                self._picture[down : down + _TILE_PIXELS, across : across + _TILE_PIXELS] = picture
                self._drawn[tile] = look
        return self._picture

    def _factors(self) -> list[float]:
        found = {thing.type: (place, thing) for place, thing in self._things()}
        door_place, door = found["door"]
        key_place, _ = found.get("key", (None, None))
        key = (0.0, 0.0) if key_place is None else self._middle(key_place)
        across, down = self._middle(door_place)
        state = OPEN if door.is_open else LOCKED if door.is_locked else CLOSED
        return [
            *self._middle(self._game.agent_pos),
            float(self._game.agent_dir),
            key[1],
            float(key_place is None),
            down,
            float(state),
            *((key[0], across) if self._tiles > min(SIZES) else ()),
        ]

    def _things(self) -> list[tuple[tuple[int, int], Any]]:
        """Column, row and thing of the tiles that are not empty."""
        return [(tile, thing) for tile in self._places if (thing := self._game.grid.get(*tile)) is not None]

    def _succeeded(self) -> bool:
        return self._done

    def _middle(self, tile: Sequence[int]) -> tuple[float, float]:
        across, down = ((int(place) + 0.5) / self._tiles for place in tile)
        return across, down
