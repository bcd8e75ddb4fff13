"""VizDoom's Basic: factors that lie where the picture shows them, and a game that ends with its environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env

import envs  # noqa: F401 (registers the environments)
from envs.doom import VizDoomBasic
from envs.scripted import scripted_action
from tests.envs.public_tasks import check_conventions, episode, needs, played

ID = "SparseRepr/VizDoomBasic-v0"
LEFT, RIGHT, ATTACK = 1, 2, 3


@pytest.fixture(autouse=True)
def _needs_the_game() -> None:
    needs("VizDoomBasic")


def _monster(screen: npt.NDArray[np.uint8]) -> float | None:
    """The middle of its blue pixels, in 0..1 from the left; None where the muzzle's flash or the edge may hide some."""
    red, _, blue = screen[50:75].astype(int).transpose(2, 0, 1)
    columns = np.nonzero(((blue > 60) & (blue > red + 30)).any(0))[0]
    if len(columns) < 3 or columns.min() < 8 or columns.max() > 151 or 60 < columns.mean() < 100:
        return None
    return float(columns.min() + columns.max() + 1) / 2 / screen.shape[1]


def _processes() -> set[str]:
    """Numbers of the games that this process has started and that have not ended."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            name = (folder / "comm").read_text().strip()
        except OSError:
            continue  # it has ended
        if name == "vizdoom" and parent == str(os.getpid()):
            found.add(folder.name)
    return found


def test_the_monster_is_where_the_picture_shows_it() -> None:
    env = gym.make(ID, render_mode="rgb_array")
    seen = []
    for seed in range(8):
        _, info = env.reset(seed=seed)
        for _ in range(40):
            screen = env.render()
            assert isinstance(screen, np.ndarray)
            found = _monster(screen)
            if found is not None:
                seen.append((found, info["factors"][0]))
            _, _, _, _, info = env.step(LEFT if seed % 2 else RIGHT)
    shown, told = np.array(seen).T
    assert len(shown) > 100
    assert np.ptp(shown) > 0.7
    assert np.abs(shown - told).max() < 0.02
    env.close()


def test_the_player_is_where_the_walls_are() -> None:
    env = VizDoomBasic()
    seen = {}
    for action in (LEFT, RIGHT):
        env.reset(seed=1)
        told = [float(env.step(action)[-1]["factors"][1]) for _ in range(60)]
        steps = np.diff(told)
        assert (steps <= 1e-6).all() if action == LEFT else (steps >= -1e-6).all()
        seen[action] = told[-1]
    assert seen == {LEFT: pytest.approx(0, abs=1e-3), RIGHT: pytest.approx(1, abs=1e-3)}
    env.close()


def test_the_weapon_is_ready_but_for_its_recoil() -> None:
    env = VizDoomBasic()
    env.reset(seed=0)
    ready = [env.step(action)[-1]["factors"][2] for action in (0, 0, ATTACK, ATTACK, 0, 0, 0, 0)]
    assert ready[1] == 1
    assert ready[2] == ready[3] == 0
    assert ready[-1] == 1
    env.close()


def test_rewards_and_end_are_the_scenarios() -> None:
    env = VizDoomBasic()
    rewards, terminated, truncated, info = episode(env, lambda _: 0, seed=2)
    assert rewards == [-4.0] * 75
    assert (terminated, truncated, info["is_success"]) == (False, True, False)
    rewards, terminated, truncated, info = episode(
        env, lambda factors: scripted_action("VizDoomBasic", factors), seed=2
    )
    assert (terminated, truncated, info["is_success"]) == (True, False, True)
    fell = int(np.argmax(rewards))
    # 106 for the monster, 5 for the shot, 1 for each of at most four tics
    assert 106 - 5 - 4 <= rewards[fell] <= 106 - 5 - 1
    assert set(rewards[:fell]) <= {-4.0, -9.0}
    assert len(rewards) - fell <= 2
    env.close()


def test_the_factors_are_enough_to_solve_it() -> None:
    env = VizDoomBasic()
    played_ones = [
        episode(env, lambda factors: scripted_action("VizDoomBasic", factors), seed=seed) for seed in range(20)
    ]
    assert np.mean([info["is_success"] for *_, info in played_ones]) >= 0.9
    assert np.mean([sum(rewards) for rewards, *_ in played_ones]) > 65
    env.close()


def test_an_episode_is_that_of_its_seed() -> None:
    first, second = VizDoomBasic(image_size=40), VizDoomBasic(image_size=40)
    pictures = played(first, seed=3)
    assert pictures.shape == (31, 40, 40, 3)
    assert np.array_equal(pictures, played(second, seed=3))
    # also after another episode, and in a process started anew
    assert not np.array_equal(pictures, played(second, seed=4))
    assert np.array_equal(pictures, played(second, seed=3))
    second.close()
    assert np.array_equal(pictures, played(second, seed=3))
    first.close()
    second.close()


def test_it_is_as_gymnasium_wants_it() -> None:
    env = VizDoomBasic("rgb_array")
    check_env(env, skip_render_check=True)
    check_conventions(env, "VizDoomBasic", ("stay", "left", "right", "attack"))
    screen = env.render()
    assert isinstance(screen, np.ndarray)
    assert screen.shape == (120, 160, 3)
    env.close()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are read from /proc")
def test_several_start_at_once_and_leave_neither_process_nor_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = _processes()
    venv = make_vec_env(ID, n_envs=3, seed=0)
    pictures = venv.reset()
    assert len({picture.tobytes() for picture in pictures}) == 3
    assert len(_processes() - before) == 3
    venv.step(np.zeros(3, int))
    venv.close()
    assert _processes() == before
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert Path.cwd() == tmp_path


def test_without_vizdoom_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    with pytest.raises(ModuleNotFoundError, match=r"VizDoomBasic needs vizdoom: pip install 'sparse-repr\[envs\]'"):
        VizDoomBasic()
