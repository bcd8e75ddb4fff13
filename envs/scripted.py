"""Policies that read the ground-truth factors: they show that each task is solvable, and what solving it returns."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.door_key import OPEN, tiles_of
from envs.lander import state_of
from envs.public import import_game
from sparse_repr.registry import lookup

Factors = npt.NDArray[np.float32]

# The discrete actions of every environment as continuous ones.
_DIRECTIONS = np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)], np.float32)
_CIRCLE = np.stack([f(np.arange(16) * np.pi / 8) for f in (np.cos, np.sin)], axis=1)
# Seventeen continuous actions: to stay, and full speed in sixteen directions.
_AROUND = np.concatenate([np.zeros((1, 2)), _CIRCLE / np.abs(_CIRCLE).max(axis=1, keepdims=True)]).astype(np.float32)

_CORNERS = np.array([(0, 0), (1, 0), (0, 1)], np.float32)
# VizDoomBasic: of the picture's width, what the pistol hits
_AIM = 0.04
# LunarLander: the heuristic asks an environment which actions it has
_DISCRETE = SimpleNamespace(unwrapped=SimpleNamespace(continuous=False))
# DoorKey: its actions, and what lies ahead by direction
_LEFT, _RIGHT, _FORWARD, _PICK_UP, _TOGGLE = range(5)
_AHEAD_OF = ((1, 0), (0, 1), (-1, 0), (0, -1))
# SpriteChase looks two steps ahead and keeps the square at this distance, which counts so much more than the heart.
_AHEAD, _SAFE_DISTANCE, _CARE = 0.12, 0.22, 5.0


def scripted_action(name: str, factors: Factors, *, discrete: bool = False) -> Any:
    """What to do in the state of these factors.

    Args:
        name: SpriteReach, SpriteChase, SpritePose, VizDoomBasic, LunarLander, DoorKey, DoorKey-6x6 or DoorKey-8x8.
        factors: `info["factors"]` of that environment.
        discrete: the action of the discrete twin; all but the sprites' have only such.

    Returns:
        float32 (2,), or an int.

    Raises:
        ValueError: unknown name; the message lists close matches.
    """
    return lookup(POLICIES, name, "environment")(factors, discrete)


def _reach(factors: Factors, discrete: bool) -> Any:
    """Straight to the corner of the shape."""
    way = _CORNERS[int(factors[0])] - factors[3:5]
    return _choose(way / max(float(np.abs(way).max()), 1e-6), discrete)


def _chase(factors: Factors, discrete: bool) -> Any:
    """To where the heart is near and the square not too near."""
    player, heart, square = factors[0:2], factors[2:4], factors[5:7]
    actions = _DIRECTIONS if discrete else _AROUND
    reached = np.clip(player + _AHEAD * actions, 0, 1)
    to_heart, to_square = (np.linalg.norm(other - reached, axis=1) for other in (heart, square))
    best = int((to_heart + _CARE * np.maximum(0, _SAFE_DISTANCE - to_square)).argmin())
    return best if discrete else actions[best]


def _pose(factors: Factors, discrete: bool) -> Any:
    """The turn and the growth that are left, at most at full speed."""
    return _choose(np.clip([factors[7] / 0.2, factors[6] / 0.04], -1, 1), discrete)


def _doom(factors: Factors, discrete: bool) -> Any:  # noqa: ARG001 (all its actions are)
    """To where the monster is in the middle, then shoot."""
    left = float(factors[0]) - 0.5
    return 3 if abs(left) < _AIM else 1 if left < 0 else 2


def _lander(factors: Factors, discrete: bool) -> Any:  # noqa: ARG001
    """Gymnasium's own heuristic, on the state that the factors tell."""
    game = import_game("gymnasium.envs.box2d.lunar_lander", task="LunarLander", package="gymnasium[box2d]")
    return game.heuristic(_DISCRETE, state_of(factors))


def _door(factors: Factors, discrete: bool) -> Any:  # noqa: ARG001
    """The first action of a shortest way to the key, then to the door, then to the goal."""
    tiles = tiles_of(factors)
    column, row, key_row, door_row = (int(place * tiles) for place in factors[[0, 1, 3, 5]])
    key_column, wall = (1, 2) if len(factors) == 7 else (int(place * tiles) for place in factors[7:9])
    direction, carried, state = factors[[2, 4, 6]].astype(int).tolist()
    key, door, goal = (key_column, key_row), (wall, door_row), (tiles - 2, tiles - 2)
    if state == OPEN:
        target, last = goal, _FORWARD
    elif carried:
        target, last = door, _TOGGLE
    else:
        target, last = key, _PICK_UP
    inside = range(1, tiles - 1)
    free = {(side, tile) for side in inside for tile in inside if side != wall} | {door}
    if not carried:
        free.discard(key)
    # breadth first, over tiles and directions, until the target is ahead
    ways: deque[tuple[tuple[int, int], int, tuple[int, ...]]] = deque([((column, row), direction, ())])
    seen = set()
    while ways:
        tile, facing, way = ways.popleft()
        ahead = (tile[0] + _AHEAD_OF[facing][0], tile[1] + _AHEAD_OF[facing][1])
        if ahead == target:
            return (*way, last)[0]
        if (tile, facing) in seen:
            continue
        seen.add((tile, facing))
        ways.append((tile, (facing - 1) % 4, (*way, _LEFT)))
        ways.append((tile, (facing + 1) % 4, (*way, _RIGHT)))
        if ahead in free and not (ahead == door and state != OPEN):
            ways.append((ahead, facing, (*way, _FORWARD)))
    raise ValueError(f"DoorKey's factors need a way to what is next, got {factors.tolist()}")


def _choose(action: npt.NDArray[Any], discrete: bool) -> Any:
    """An action as it is, or the discrete one in the direction of its larger number; none where that is below half."""
    if not discrete:
        return action.astype(np.float32)
    larger = int(np.abs(action).argmax())
    return 0 if abs(float(action[larger])) < 0.5 else 1 + 2 * larger + int(action[larger] > 0)


POLICIES = {
    "SpriteReach": _reach,
    "SpriteChase": _chase,
    "SpritePose": _pose,
    "VizDoomBasic": _doom,
    "LunarLander": _lander,
    "DoorKey": _door,
    "DoorKey-6x6": _door,
    "DoorKey-8x8": _door,
}
"""Name -> policy."""
