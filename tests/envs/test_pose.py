from __future__ import annotations

import itertools
import math
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_sb3_env

from envs.appearance import PALETTES
from envs.pose import MAX_STEPS, SpritePose
from rl import FactorObservation
from rl.record import main
from sparse_repr.data import load_dataset
from sparse_repr.data.dsprites import render_sprites

IDS = ("SparseRepr/SpritePose-v0", "SparseRepr/SpritePose-Discrete-v0")
GHOST = np.array([110, 110, 110])
# shape, color, x, y, scale, orientation, and what is left of scale and orientation
STATE = (2.0, 1.0, 0.25, 0.75, 0.6, 1.0, 0.3, -2.0)


def _expected(factors: np.ndarray) -> np.ndarray:
    """The picture that the documentation promises for these factors in the source's colours."""
    shape, color, x, y, scale, orientation, growth, turn = factors.astype(np.float64)
    target = min(max(scale + growth, 0.5), 1)
    sprite = render_sprites(shape, scale, orientation, x, y)[0] > 0
    ghost = render_sprites(shape, target, orientation + turn, x, y)[0] > 0
    shade = np.array(PALETTES["source"][int(color)])
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[ghost] = GHOST
    picture[sprite] = shade
    picture[sprite & ghost] = (shade + 255) // 2
    return picture


@pytest.mark.parametrize("name", IDS)
def test_both_env_checkers_pass(name: str) -> None:
    check_env(gym.make(name, render_mode="rgb_array").unwrapped)
    check_sb3_env(gym.make(name), warn=True)


def test_pixels_are_where_the_factors_say() -> None:
    env = SpritePose()
    env.action_space.seed(0)
    for seed in range(8):
        observation, info = env.reset(seed=seed)
        for _ in range(5):
            assert observation.shape == (64, 64, 3)
            assert observation.dtype == np.uint8
            assert info["factors"].dtype == np.float32
            # a square's and an ellipse's ghost may be drawn a period further, which moves pixels on an edge
            assert (observation != _expected(info["factors"])).any(axis=2).sum() <= 6
            observation, _, _, _, info = env.step(env.action_space.sample())


@pytest.mark.parametrize(("scale", "growth"), [(0.5, 0.5), (1.0, -0.5)])
def test_neither_sprite_nor_ghost_hides_the_other(scale: float, growth: float) -> None:
    picture, _ = SpritePose().reset(options={"factors": [2, 0, 0.5, 0.5, scale, 0, growth, 3]})
    shade = np.array(PALETTES["source"][0])
    is_sprite, is_ghost, is_both = ((picture == color).all(axis=2) for color in (shade, GHOST, (shade + 255) // 2))
    drawn, target = render_sprites(2, [scale, scale + growth], [0, 3], 0.5, 0.5) > 0
    assert np.array_equal(is_sprite | is_both, drawn)
    assert np.array_equal(is_ghost | is_both, target)


@pytest.mark.parametrize("palette", PALETTES)
def test_colours_of_sprites_ghost_and_overlaps_are_told_apart(palette: str) -> None:
    shades = [np.array(shade) for shade in PALETTES[palette]]
    colors = [*shades, *[(shade + 255) // 2 for shade in shades], GHOST, np.zeros(3)]
    distances = [np.abs(one - other).max() for one, other in itertools.combinations(colors, 2)]
    assert min(distances) >= 40


def test_given_factors_give_the_same_picture_and_the_same_factors() -> None:
    env = SpritePose()
    for seed in range(6):
        first, info = env.reset(seed=seed)
        again, given = env.reset(options={"factors": info["factors"]})
        assert given["factors"].tolist() == pytest.approx(info["factors"].tolist(), abs=1e-5)
        assert (first != again).any(axis=2).sum() <= 6


def test_an_action_turns_and_scales() -> None:
    env = SpritePose()
    env.reset(options={"factors": STATE})
    _, reward, terminated, truncated, info = env.step(np.array([-0.5, 1.0], np.float32))
    expected = [*STATE[:4], 0.64, 0.9, 0.26, -1.9]
    assert info["factors"].tolist() == pytest.approx(expected, abs=1e-5)
    assert reward == pytest.approx(0.1 / math.pi + 0.04 / 0.5)
    assert (terminated, truncated, info["is_success"]) == (False, False, False)


def test_discrete_actions_turn_and_scale_at_full_speed() -> None:
    env = SpritePose(discrete=True)
    for action, (turn, growth) in enumerate([(0, 0), (-0.2, 0), (0.2, 0), (0, -0.04), (0, 0.04)]):
        env.reset(options={"factors": STATE})
        factors = env.step(action)[4]["factors"]
        assert factors[4:6].tolist() == pytest.approx([0.6 + growth, 1 + turn])


def test_scales_stop_at_their_bounds_and_actions_are_clipped() -> None:
    env = SpritePose()
    env.reset(options={"factors": STATE})
    assert env.step(np.array([9, 0], np.float32))[4]["factors"][5] == pytest.approx(1.2)
    for growth, bound in ((1, 1.0), (-1, 0.5)):
        env.reset(options={"factors": STATE})
        for _ in range(15):
            factors = env.step(np.array([0, growth], np.float32))[4]["factors"]
        assert factors[4] == bound


@pytest.mark.parametrize(("shape", "period"), [(0, math.pi / 2), (1, math.pi), (2, 2 * math.pi)])
def test_orientations_count_as_they_look(shape: int, period: float) -> None:
    env = SpritePose()
    # a whole period and 0.1 are left: to be seen is 0.1, which is within the tolerance
    env.reset(options={"factors": [shape, 0, 0.5, 0.5, 0.7, 0.3, 0, min(period + 0.1, math.pi) % period]})
    env._target_orientation = env._orientation + period + 0.1
    _, _, terminated, _, info = env.step(np.zeros(2, np.float32))
    assert terminated
    assert info["factors"][7] == pytest.approx(0.1, abs=1e-5)
    # the longest way is half a period
    env._target_orientation = env._orientation + 0.6 * period
    assert env._differences()[1] == pytest.approx(-0.4 * period)
    assert env._distance() == pytest.approx(0.8)


@pytest.mark.parametrize(("growth", "turn", "arrives"), [(0.04, 0.14, True), (0.06, 0.0, False), (0.0, 0.16, False)])
def test_arriving_needs_both(growth: float, turn: float, arrives: bool) -> None:
    env = SpritePose()
    env.reset(options={"factors": [2, 1, 0.5, 0.5, 0.7, 1, growth, turn]})
    _, reward, terminated, _, info = env.step(np.zeros(2, np.float32))
    assert terminated is info["is_success"] is arrives
    assert reward == float(arrives)


def test_the_rewards_of_an_episode_add_up() -> None:
    env = SpritePose()
    env.reset(options={"factors": STATE})
    total, ended = 0.0, False
    while not ended:
        _, reward, ended, _, info = env.step(np.array([-1, 1], np.float32) if env._scale < 0.9 else np.array([-1, 0]))
        total += reward
    left = abs(info["factors"][6]) / 0.5 + abs(info["factors"][7]) / math.pi
    assert total == pytest.approx(0.3 / 0.5 + 2 / math.pi - left + 1, abs=1e-5)


def test_doing_nothing_is_truncated() -> None:
    env = gym.make(IDS[1])
    env.reset(seed=0)
    for step in range(MAX_STEPS):
        _, reward, terminated, truncated, info = env.step(0)
        assert (reward, terminated, truncated) == (0, False, step == MAX_STEPS - 1)
    assert not info["is_success"]


def test_episodes_start_far_from_the_target_and_repeat_by_seed() -> None:
    env = SpritePose()
    factors = np.stack([env.reset(seed=seed)[1]["factors"] for seed in range(150)])
    assert (np.abs(factors[:, 6]) >= 0.2 - 1e-5).all()
    half_periods = np.array([math.pi / 4, math.pi / 2, math.pi])[factors[:, 0].astype(int)]
    shares = factors[:, 7] / half_periods
    assert (np.abs(shares) >= 0.5 - 1e-5).all()
    assert (np.abs(shares) <= 1 + 1e-5).all()
    assert 0.3 < (shares > 0).mean() < 0.7
    targets = factors[:, 4] + factors[:, 6]
    assert 0.5 - 1e-5 <= targets.min() < targets.max() <= 1 + 1e-5
    for column, values in ((0, 3), (1, 4)):
        assert len(np.unique(factors[:, column])) == values
    first = [env.reset(seed=7)[0], env.reset()[0]]
    again = [env.reset(seed=7)[0], env.reset()[0]]
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], first[1])


def test_wrong_arguments_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match="SpritePose needs render_mode None or 'rgb_array', got 'human'"):
        SpritePose(render_mode="human")
    env = SpritePose()
    with pytest.raises(ValueError, match=r"SpritePose.reset takes the option factors, got \['scale'\]"):
        env.reset(options={"scale": 1})
    with pytest.raises(ValueError, match=r"needs scale in 0\.5\.\.1, got 2"):
        env.reset(options={"factors": [0, 0, 0.5, 0.5, 2, 0, 0, 0]})
    with pytest.raises(ValueError, match=r"needs scale \+ scale_difference in 0\.5\.\.1, got 1\.4"):
        env.reset(options={"factors": [0, 0, 0.5, 0.5, 1, 0, 0.4, 0]})
    with pytest.raises(ValueError, match=r"needs color, a whole number, in 0\.\.3, got 1\.49"):
        env.reset(options={"factors": [0, 1.49, 0.5, 0.5, 1, 0, 0, 0]})


def test_render_is_a_copy_of_the_observation() -> None:
    env = SpritePose(render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    shown = env.render()
    assert np.array_equal(shown, observation)
    assert shown is not observation


@pytest.mark.parametrize(
    ("action", "name", "factor", "change"),
    [
        (1, "clockwise", "orientation", -0.2),
        (2, "anticlockwise", "orientation", 0.2),
        (3, "shrink", "scale", -0.04),
        (4, "grow", "scale", 0.04),
    ],
)
def test_actions_do_what_they_are_called(action: int, name: str, factor: str, change: float) -> None:
    env = SpritePose(discrete=True)
    assert env.get_action_meanings()[action] == name
    _, before = env.reset(options={"factors": [2, 0, 0.5, 0.5, 0.7, 1, 0.3, 2]})
    _, _, _, _, after = env.step(action)
    moved = dict(zip(env.factor_names, after["factors"] - before["factors"], strict=True))
    assert moved.pop(factor) == pytest.approx(change, abs=1e-6)
    assert moved.pop(f"{factor}_difference") == pytest.approx(-change, abs=1e-6)
    assert not any(moved.values())
    continuous = SpritePose()
    continuous.reset(options={"factors": before["factors"]})
    numbers = np.zeros(2, np.float32)
    numbers[continuous.get_action_meanings().index({"orientation": "anticlockwise", "scale": "grow"}[factor])] = 1
    assert np.sign(continuous.step(numbers)[4]["factors"] - before["factors"])[4:6].sum() == 1


def test_the_factors_can_be_observed() -> None:
    env = FactorObservation(gym.make(IDS[0]), one_hot={"shape": 3, "color": 4})
    observation, info = env.reset(seed=0)
    assert observation.shape == (3 + 4 + 6,)
    assert observation[7:].tolist() == info["factors"][2:].tolist()


def test_recordings_hold_the_factors(tmp_path: Path) -> None:
    out = tmp_path / "pose.h5"
    assert main([f"envs:{IDS[0]}", "--out", str(out), "--frames", "40", "--envs", "4", "--no-progress"]) == 0
    data = load_dataset("h5", out)
    assert data.image_shape == (3, 64, 64)
    assert data.factor_names == SpritePose.factor_names
    assert data.factor_sizes == (3, 4, 8, 8, 5, 8, 5, 8)
    assert data.factor_values is not None
    images = data.images(np.arange(40)).transpose(0, 2, 3, 1)
    wrong = [(image != _expected(row)).any(axis=2).sum() for image, row in zip(images, data.factor_values, strict=True)]
    assert max(wrong) <= 6
