"""MiniGrid's DoorKey from above: factors that lie where the picture shows them, and a task that they solve."""

from __future__ import annotations

import sys

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.seeding import np_random

import envs  # noqa: F401 (registers the environments)
from envs.door_key import CLOSED, LOCKED, OPEN, DoorKey
from envs.scripted import scripted_action
from tests.envs.public_tasks import check_conventions, episode, needs, played

ID = "SparseRepr/DoorKey-v0"
FACTORS = ("agent_x", "agent_y", "agent_direction", "key_y", "key_carried", "door_y", "door")
TURN_RIGHT, FORWARD, TOGGLE = 1, 2, 4
RED, YELLOW = (255, 0, 0), (255, 255, 0)


@pytest.fixture(autouse=True)
def _needs_the_game() -> None:
    needs("DoorKey")


def _middle(screen: npt.NDArray[np.uint8], color: tuple[int, int, int], columns: slice) -> tuple[float, float] | None:
    """The middle of what has a colour, in 0..1 from the left and from above; None where nothing has."""
    mask = np.zeros(screen.shape[:2], bool)
    mask[:, columns] = (screen[:, columns] == color).all(-1)
    rows, found = np.nonzero(mask)
    if not len(rows):
        return None
    extent = [(axis.min() + axis.max() + 1) / 2 for axis in (found, rows)]
    return extent[0] / screen.shape[1], extent[1] / screen.shape[0]


def test_agent_key_and_door_are_where_the_picture_shows_them() -> None:
    env = gym.make(ID, render_mode="rgb_array")
    rng, seen = np.random.default_rng(0), set()
    for seed in range(12):
        _, info = env.reset(seed=seed)
        for step in range(40):
            screen = env.render()
            assert isinstance(screen, np.ndarray)
            told = dict(zip(FACTORS, info["factors"], strict=True))
            agent = _middle(screen, RED, slice(None))
            assert agent == pytest.approx((told["agent_x"], told["agent_y"]), abs=0.03)
            # the key is in the second column of tiles, the door in the third
            key, door = _middle(screen, YELLOW, slice(34, 62)), _middle(screen, YELLOW, slice(64, 96))
            assert (key is None) == bool(told["key_carried"])
            assert told["key_y"] == (0 if key is None else pytest.approx(key[1], abs=0.03))
            assert door is not None
            assert told["door_y"] == pytest.approx(door[1], abs=0.03)
            seen.add((told["key_carried"], told["door"]))
            # now as the script does, now at random
            action = scripted_action("DoorKey", info["factors"]) if step % 3 else int(rng.integers(5))
            _, _, terminated, _, info = env.step(action)
            if terminated:
                break
    assert seen == {(0, LOCKED), (1, LOCKED), (1, OPEN), (1, CLOSED)}
    env.close()


@pytest.mark.parametrize("size", [6, 8])
def test_larger_ones_tell_the_columns_too(size: int) -> None:
    env = gym.make(f"SparseRepr/DoorKey-{size}x{size}-v0", render_mode="rgb_array")
    names = env.get_wrapper_attr("factor_names")
    assert names == (*FACTORS, "key_x", "door_x")
    columns = set()
    for seed in range(8):
        _, info = env.reset(seed=seed)
        told = dict(zip(names, info["factors"], strict=True))
        screen = env.render()
        assert isinstance(screen, np.ndarray)
        assert screen.shape == (32 * size, 32 * size, 3)
        assert _middle(screen, RED, slice(None)) == pytest.approx((told["agent_x"], told["agent_y"]), abs=0.03)
        # what is yellow lies in the tiles of key and door, and in each of them something is
        rows, found = np.nonzero((screen == YELLOW).all(-1))
        tiles = set(zip((found // 32).tolist(), (rows // 32).tolist(), strict=True))
        named = {
            (int(told[f"{name}_x"] * size), int(told[f"{name}_y"] * size)): (told[f"{name}_x"], told[f"{name}_y"])
            for name in ("key", "door")
        }
        assert tiles == set(named)
        for (across, down), place in named.items():
            assert place == pytest.approx(((across + 0.5) / size, (down + 0.5) / size))
        columns.add(told["door_x"])
        assert len(info["factors"]) == len(env.get_wrapper_attr("factor_bins")) == 9
    assert len(columns) > 1
    env.close()


@pytest.mark.parametrize("size", [5, 8])
def test_the_screen_is_what_minigrid_draws(size: int) -> None:
    games = pytest.importorskip("minigrid.envs.doorkey")
    env, game = DoorKey("rgb_array", size=size), games.DoorKeyEnv(size=size)
    for seed in range(3):
        env.reset(seed=seed)
        game.reset(seed=int(np_random(seed)[0].integers(2**31)))
        actions = np.random.default_rng(seed).integers(5, size=150).tolist()
        for action in actions:
            screen = env.render()
            assert screen is not None
            np.testing.assert_array_equal(screen, game.get_frame(highlight=False, tile_size=32))
            # its own fifth action is to drop, which comes before toggle
            ended = env.step(action)[2]
            assert game.step(action if action < 4 else game.actions.toggle)[2] == ended
            if ended:
                break
    env.close()
    game.close()


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(ValueError, match="DoorKey needs a size of 5, 6, 8 tiles, got 7"):
        DoorKey(size=7)


def test_the_direction_is_as_named() -> None:
    env = DoorKey()
    _, info = env.reset(seed=0)
    for _ in range(4):
        before = info["factors"][2]
        _, _, _, _, info = env.step(TURN_RIGHT)
        assert info["factors"][2] == (before + 1) % 4
    moved = {direction: set() for direction in (1, 3)}
    for seed in range(12):
        for direction, moves in moved.items():
            _, info = env.reset(seed=seed)
            while info["factors"][2] != direction:
                _, _, _, _, info = env.step(TURN_RIGHT)
            before = info["factors"]
            _, _, _, _, info = env.step(FORWARD)
            moves.add(tuple(np.round(5 * (info["factors"][:2] - before[:2])).tolist()))
    # a tile on, or none where a wall or the key is
    assert moved == {1: {(0, 0), (0, 1)}, 3: {(0, 0), (0, -1)}}
    env.close()


def test_the_observation_is_the_picture_averaged() -> None:
    env = DoorKey("rgb_array", image_size=40)
    picture, _ = env.reset(seed=0)
    screen = env.render()
    assert screen is not None
    averaged = screen.reshape(40, 4, 40, 4, 3).mean((1, 3))
    # rounded twice, along rows and along columns
    assert np.abs(picture - averaged).max() <= 1
    env.close()


@pytest.mark.parametrize(("size", "most"), [(5, 25), (6, 35), (8, 45)])
def test_the_factors_are_enough_to_solve_it(size: int, most: int) -> None:
    env = DoorKey(size=size)
    name = "DoorKey" if size == 5 else f"DoorKey-{size}x{size}"
    limit = 10 * size**2
    for seed in range(20):
        rewards, terminated, truncated, info = episode(env, lambda factors: scripted_action(name, factors), seed=seed)
        assert (terminated, truncated, info["is_success"]) == (True, False, True)
        assert len(rewards) <= most
        assert set(rewards[:-1]) <= {0.0}
        assert rewards[-1] == pytest.approx(1 - 0.9 * len(rewards) / limit)
    rewards, terminated, truncated, info = episode(env, lambda _: TOGGLE, seed=0)
    assert (len(rewards), sum(rewards), terminated, truncated) == (limit, 0, False, True)
    assert info["is_success"] is False
    env.close()


def test_an_episode_is_that_of_its_seed() -> None:
    env = DoorKey(image_size=40)
    pictures = played(env, seed=3)
    assert pictures.shape == (31, 40, 40, 3)
    assert not np.array_equal(pictures, played(env, seed=4))
    assert np.array_equal(pictures, played(env, seed=3))


def test_it_is_as_gymnasium_wants_it() -> None:
    env = DoorKey("rgb_array")
    check_env(env, skip_render_check=True)
    check_conventions(env, "DoorKey", ("turn left", "turn right", "forward", "pick up", "toggle"))
    assert env.factor_bins[2] == (0.5, 1.5, 2.5)
    screen = env.render()
    assert isinstance(screen, np.ndarray)
    assert screen.shape == (160, 160, 3)
    env.close()


def test_a_script_without_a_way_says_so() -> None:
    factors = np.array([0.5, 0.1, 0, 0.3, 0, 0.5, LOCKED], np.float32)
    with pytest.raises(ValueError, match="DoorKey's factors need a way to what is next"):
        scripted_action("DoorKey", factors)


def test_a_place_between_tiles_is_refused() -> None:
    factors = np.array([0.4, 0.5, 0, 0.3, 0, 0.5, LOCKED, 0.3, 0.5], np.float32)
    with pytest.raises(ValueError, match=r"DoorKey's factors begin with the middle of a tile of \(5, 6, 8\), got"):
        scripted_action("DoorKey-8x8", factors)


def test_without_minigrid_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minigrid.envs.doorkey", None)
    with pytest.raises(ModuleNotFoundError, match=r"DoorKey needs minigrid: pip install 'sparse-repr\[envs\]'"):
        DoorKey()
