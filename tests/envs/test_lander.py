"""LunarLander as pixels: factors that lie where the picture shows them, without a screen."""

from __future__ import annotations

import os
import subprocess
import sys

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.utils.env_checker import check_env

import envs  # noqa: F401 (registers the environments)
from envs.lander import MAX_STEPS, LunarLander, state_of
from envs.scripted import scripted_action
from tests import ROOT
from tests.envs.public_tasks import check_conventions, episode, needs, played

ID = "SparseRepr/LunarLander-v0"


@pytest.fixture(autouse=True)
def _needs_the_game() -> None:
    needs("LunarLander")


def _lander(screen: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """The middle of the lander's colour, in 0..1 from the left and from above."""
    rows, columns = np.nonzero((np.abs(screen.astype(int) - (128, 102, 230)) < 8).all(-1))
    return columns.mean() / screen.shape[1], rows.mean() / screen.shape[0]


def test_the_lander_is_where_the_picture_shows_it() -> None:
    env = gym.make(ID, render_mode="rgb_array")
    shown, told = [], []
    for seed in range(2):
        env.reset(seed=seed)
        for step in range(60):
            _, _, ended, _, info = env.step(step // 10 % 4)
            if ended:
                break
            screen = env.render()
            assert isinstance(screen, np.ndarray)
            if step > 15:  # at the start a part of it is above the picture
                shown.append(_lander(screen))
                told.append(info["factors"][:2])
    # the state's place is the middle of the body, a little above that of body and legs
    assert len(shown) > 60
    assert np.ptp(shown, axis=0).min() > 0.05
    assert np.abs(np.array(shown) - np.array(told)).max() < 0.03
    env.close()


def test_velocities_angle_and_legs_are_as_named() -> None:
    env = LunarLander()
    env.reset(seed=0)
    told = np.array([env.step(0)[-1]["factors"] for _ in range(30)])
    # it falls ever faster, downwards in the picture
    assert (np.diff(told[:, 1]) > 0).all()
    assert (np.diff(told[:, 3]) > 0).all()
    assert told[0, 3] > 0.5
    env.reset(seed=0)
    tilted = np.array([env.step(1)[-1]["factors"] for _ in range(15)])
    # this engine turns it anticlockwise and drives it to the left
    assert np.sign(tilted[-1, 4] - 0.5) == np.sign(tilted[-1, 5] - 0.5) == 1
    assert tilted[-1, 2] < tilted[0, 2]
    assert np.diff(tilted[:, 0]).argmax() < np.diff(tilted[:, 0]).argmin()
    env.close()


def test_each_leg_is_on_its_side() -> None:
    env = LunarLander()
    game = env._game
    env.reset(seed=0)
    right, left = game.legs
    assert left.position.x < game.lander.position.x < right.position.x
    for leg, factors in ((right, (1, 0)), (left, (0, 1))):
        right.ground_contact = left.ground_contact = False
        leg.ground_contact = True
        assert tuple(env.step(0)[-1]["factors"][6:]) == factors
    env.close()


def test_the_factors_tell_the_state_as_far_as_they_reach() -> None:
    env = LunarLander()
    env.reset(seed=0)
    for _ in range(30):  # until it is within the picture
        _, _, _, _, info = env.step(0)
    assert state_of(info["factors"]) == pytest.approx(env._state, abs=1e-5)
    env._state = [-3.0, 9.0, 5.0, -5.0, 4.0, -3.0, 0.0, 1.0]
    assert env._factors() == [0, 0, 1, 1, 1, 0, 0, 1]
    env.close()


def test_the_factors_are_enough_to_solve_it(monkeypatch: pytest.MonkeyPatch) -> None:
    env = LunarLander(image_size=8)
    # no policy here looks at pictures
    blank = env._screen()
    monkeypatch.setattr(env._game, "render_mode", None)
    monkeypatch.setattr(env._game, "render", lambda: blank)
    successes = 0
    for seed in range(12):
        rewards, terminated, _, info = episode(env, lambda factors: scripted_action("LunarLander", factors), seed=seed)
        assert terminated
        assert info["is_success"] is (sum(rewards) >= 200)
        successes += info["is_success"]
    assert successes >= 9
    rewards, _, _, info = episode(env, lambda _: 0, seed=0)
    assert rewards[-1] == -100
    assert info["is_success"] is False
    env.close()


def test_an_episode_is_that_of_its_seed() -> None:
    env = LunarLander(image_size=40)
    pictures = played(env, seed=3)
    assert pictures.shape == (31, 40, 40, 3)
    assert not np.array_equal(pictures, played(env, seed=4))
    assert np.array_equal(pictures, played(env, seed=3))
    env.close()


def test_it_is_as_gymnasium_wants_it() -> None:
    env = LunarLander("rgb_array")
    check_env(env, skip_render_check=True)
    check_conventions(env, "LunarLander", ("stay", "left engine", "main engine", "right engine"))
    screen = env.render()
    assert isinstance(screen, np.ndarray)
    assert screen.shape == (400, 600, 3)
    env.close()
    spec = gym.spec(ID)
    assert spec.max_episode_steps == MAX_STEPS == gym.spec("LunarLander-v3").max_episode_steps


def test_it_needs_no_screen_and_warnings_as_errors_do_not_crash_it() -> None:
    code = "import envs, gymnasium; e = gymnasium.make('SparseRepr/LunarLander-v0'); e.reset(); e.step(0); e.close()"
    without = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    environment = {name: value for name, value in os.environ.items() if name not in without}
    # numpy's random module warns on some versions of Python of what it takes from another
    command = [sys.executable, "-W", "error::DeprecationWarning", "-c", code]
    result = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_without_box2d_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("Box2D", "pygame"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(
                ModuleNotFoundError, match=r"LunarLander needs gymnasium\[box2d\]: pip install 'sparse-repr\[envs\]'"
            ):
                LunarLander()
