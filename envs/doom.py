"""VizDoom's scenario Basic: a room, a monster at the far wall, a pistol; shoot it soon and with few shots.

Kempka et al. 2016, "ViZDoom: A Doom-based AI research platform for visual reinforcement learning".
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.public import PublicTask, import_game, within

_TICS = 4
_HEIGHT, _WIDTH = 120, 160
# The room, in units of the map: where the player can stand, from his left to his right, and how far the monster is.
_LEFTMOST, _RIGHTMOST, _DISTANCE = 240.0, -176.0, 384.0
# one button at a time, as in the usual setting
_BUTTONS = {"stay": (0, 0, 0), "left": (1, 0, 0), "right": (0, 1, 0), "attack": (0, 0, 1)}
_STARTING = threading.Lock()


class VizDoomBasic(PublicTask):
    """The scenario as VizDoom's own `basic.cfg` has it: the weapon is drawn, crosshair and status bar are not.

    **Observation**: `Box(0, 255, (64, 64, 3), uint8)`: the screen of 160 x 120 pixels, averaged down, in colour. There
    is no screen after the end: the last observation of an episode is what was seen before its last action.

    **Action**: stay, left, right or attack, held for four tics.

    **Reward, end**: the scenario's: -1 per tic, -5 per shot, +106 for the monster, whose death terminates the
    episode. Truncation after 300 tics, which is 75 steps.

    **info**: `factors`, float32 (3,): `monster_x`, where the middle of the monster is, from the left of the picture; 0
    or 1 where it is beyond the edge, where still a part of it is seen. `player_x`, where in the room the player stands,
    0 at the left wall and 1 at the right one. `weapon_ready`, 0 while the pistol recoils. The monster keeps its place,
    its size and its height in the picture, so they are no factors. `is_success`: it was killed.
    """

    def __init__(self, render_mode: str | None = None, *, image_size: int = 64) -> None:
        """Set up the game; it starts, as a process of its own, with the first episode and ends with `close`.

        Args:
            render_mode: None or ``"rgb_array"``, which shows the whole screen.
            image_size: height and width of the observation.

        Raises:
            ValueError: an unknown size or render mode.
            ModuleNotFoundError: vizdoom is not installed.
        """
        super().__init__(
            render_mode,
            name="VizDoomBasic",
            image_size=image_size,
            field=(0, 0, _HEIGHT, _WIDTH),
            actions=tuple(_BUTTONS),
            factors={"monster_x": None, "player_x": None, "weapon_ready": 2},
        )
        vizdoom = import_game("vizdoom", task="VizDoomBasic", package="vizdoom")
        self._game: Any = vizdoom.DoomGame()
        scenarios = Path(vizdoom.scenarios_path)
        self._game.load_config(str(scenarios / "basic.cfg"))
        # whoever owns Doom may have put its pictures beside them
        self._game.set_doom_game_path(str(scenarios.parent / "freedoom2.wad"))
        self._game.set_window_visible(False)
        self._game.set_screen_resolution(vizdoom.ScreenResolution.RES_160X120)
        self._game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        self._game.set_objects_info_enabled(True)
        told = vizdoom.GameVariable
        self._game.set_available_game_variables([told.POSITION_Y, told.ATTACK_READY])
        self._kills = told.KILLCOUNT
        # it writes its settings as it ends, where it started, or says that it cannot
        self._game.set_doom_config_path(os.devnull)
        self._last = np.zeros((_HEIGHT, _WIDTH, 3), np.uint8)
        self._told = [0.0, 0.0, 0.0]

    def close(self) -> None:
        """End the process of the game; `reset` starts another."""
        self._game.close()

    def _begin(self) -> None:
        self._game.set_seed(int(self.np_random.integers(2**32)))
        if self._game.is_running():
            self._game.new_episode()
        else:
            with _elsewhere():
                self._game.init()
        self._look()

    def _advance(self, action: int) -> tuple[float, bool, bool]:
        reward = float(self._game.make_action(list(_BUTTONS[self._meanings[action]]), _TICS))
        ended = bool(self._game.is_episode_finished())
        if not ended:
            self._look()
        return reward, ended and self._succeeded(), ended and not self._succeeded()

    def _look(self) -> None:
        """Keep what the game shows and tells: it does neither after the end."""
        state = self._game.get_state()
        self._last = state.screen_buffer
        (monster,) = (thing for thing in state.objects if thing.name.endswith("Cacodemon"))  # "Dead" as it falls
        place, ready = state.game_variables
        # The player looks straight ahead, and sees 45 degrees to either side.
        monster_x = (1 - (monster.position_y - place) / _DISTANCE) / 2
        self._told = [within(monster_x), within((_LEFTMOST - place) / (_LEFTMOST - _RIGHTMOST)), float(ready)]

    def _screen(self) -> npt.NDArray[np.uint8]:
        return self._last

    def _factors(self) -> list[float]:
        return self._told

    def _succeeded(self) -> bool:
        return self._game.get_game_variable(self._kills) > 0


@contextlib.contextmanager
def _elsewhere() -> Iterator[None]:
    """Work in a folder that is gone afterwards: the game makes the folder _vizdoom where it starts."""
    # the working directory belongs to the process, so one game of it starts at a time
    with _STARTING, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        before = Path.cwd()
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
