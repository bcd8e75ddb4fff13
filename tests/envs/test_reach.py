from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_sb3_env

import envs
from envs.chase import SpriteChase
from envs.pose import SpritePose
from envs.reach import SpriteReach
from envs.sprite_env import SpriteEnv
from sparse_repr.data.dsprites import render_sprites

IDS = ("SparseRepr/SpriteReach-v0", "SparseRepr/SpriteReach-Discrete-v0")
CORNERS = {0: (0, 0), 1: (1, 0), 2: (0, 1)}


@pytest.mark.parametrize("name", IDS)
def test_both_env_checkers_pass(name: str) -> None:
    check_env(gym.make(name, render_mode="rgb_array").unwrapped)
    check_sb3_env(gym.make(name), warn=True)


def test_it_is_found_by_module_and_id() -> None:
    env = gym.make("envs:SparseRepr/SpriteReach-v0")
    assert isinstance(env.unwrapped, SpriteReach)
    assert env.spec is not None
    assert env.spec.max_episode_steps == envs.MAX_STEPS


def test_the_observation_is_the_dsprites_image_of_its_factors() -> None:
    env = gym.make(IDS[0])
    observation, info = env.reset(seed=0)
    for _ in range(5):
        assert observation.shape == (64, 64, 1)
        assert observation.dtype == np.uint8
        assert info["factors"].dtype == np.float32
        drawn = render_sprites(*info["factors"])[0, :, :, None]
        assert (observation != drawn).sum() <= 2  # float32 factors may move a pixel that lies on an edge
        observation, _, _, _, info = env.step(env.action_space.sample())


@pytest.mark.parametrize("shape", [0, 1, 2])
def test_the_right_corner_is_a_success_and_the_rewards_add_up(shape: int) -> None:
    env = gym.make(IDS[0])
    _, info = env.reset(seed=3, options={"shape": shape})
    start, goal, total, ended = info["factors"][3:], np.array(CORNERS[shape]), 0.0, False
    while not ended:
        direction = goal - info["factors"][3:]
        action = (direction / np.abs(direction).max()).astype(np.float32)
        _, reward, ended, truncated, info = env.step(action)
        total += float(reward)
        assert not truncated
    assert info["is_success"]
    left = np.linalg.norm(info["factors"][3:] - goal)
    assert left <= 0.12
    assert total == pytest.approx(np.linalg.norm(start - goal) - left + 1, abs=1e-5)


def test_a_wrong_corner_ends_the_episode_without_success() -> None:
    env = gym.make(IDS[1])
    env.reset(seed=0, options={"shape": 0})
    ended, steps, total = False, 0, 0.0
    while not ended:
        _, reward, ended, _, info = env.step(2 if steps % 2 else 4)  # right and down: the corner of no shape
        total += float(reward)
        steps += 1
    assert not info["is_success"]
    assert total < 0


def test_standing_still_is_truncated_with_no_reward() -> None:
    env = gym.make(IDS[1])
    env.reset(seed=0)
    for step in range(envs.MAX_STEPS):
        _, reward, terminated, truncated, info = env.step(0)
        assert (reward, terminated, truncated) == (0, False, step == envs.MAX_STEPS - 1)
    assert not info["is_success"]


def test_seeds_repeat_and_start_states_vary() -> None:
    env = gym.make(IDS[0])
    first = [env.reset(seed=7)[1]["factors"], env.reset()[1]["factors"]]
    again = [env.reset(seed=7)[1]["factors"], env.reset()[1]["factors"]]
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    shapes = {int(env.reset()[1]["factors"][0]) for _ in range(40)}
    assert shapes == {0, 1, 2}


def test_actions_beyond_the_box_are_clipped() -> None:
    env = SpriteReach()
    env.reset(seed=0)
    before = env._x
    env.step(np.array([5.0, 0.0], np.float32))
    assert env._x == pytest.approx(before + 0.06)


def test_scales_and_options() -> None:
    env = SpriteReach(scales=(0.5, 0.7))
    drawn = {round(float(env.reset(seed=seed)[1]["factors"][1]), 3) for seed in range(20)}
    assert drawn == {0.5, 0.7}
    _, info = env.reset(options={"shape": 2, "scale": 1.0, "orientation": 0.5})
    assert info["factors"][:3].tolist() == pytest.approx([2, 1.0, 0.5])
    with pytest.raises(ValueError, match=r"takes the options shape, scale and orientation, got \['colour'\]"):
        env.reset(options={"colour": 1})
    with pytest.raises(ValueError, match=r"scales in 0\.5\.\.1"):
        SpriteReach(scales=(2.0,))
    with pytest.raises(ValueError, match="render_mode None or 'rgb_array', got 'human'"):
        SpriteReach(render_mode="human")


def test_render_is_the_observation_in_rgb() -> None:
    env = SpriteReach(render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    assert np.array_equal(env.render(), np.repeat(observation, 3, axis=2))
    assert SpriteReach().render() is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": -1}, r"needs shape, a whole number, in 0\.\.2, got -1"),
        ({"shape": 3}, r"needs shape, a whole number, in 0\.\.2, got 3"),
        ({"shape": 1.5}, r"needs shape, a whole number, in 0\.\.2, got 1\.5"),
        ({"shape": None}, r"needs shape, a whole number, in 0\.\.2, got None"),
        ({"scale": 2.0}, r"needs scale in 0\.5\.\.1, got 2"),
        ({"orientation": float("nan")}, "needs orientation in -inf..inf, got nan"),
        ({"orientation": float("inf")}, "needs orientation in -inf..inf, got inf"),
    ],
)
def test_options_that_no_sprite_has_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"SpriteReach.reset {message}"):
        SpriteReach(domain="held_out").reset(options=options)


@pytest.mark.parametrize("make", [SpriteReach, SpriteChase, SpritePose])
def test_actions_that_there_are_not_are_refused(make: type[SpriteEnv]) -> None:
    env, discrete = make(), make(discrete=True)
    for each in (env, discrete):
        each.reset(seed=0)
    for action in ([np.nan, 0.0], [np.inf, 0.0], [0.5], [1, 2, 3], 0.5, None):
        with pytest.raises(ValueError, match=f"{make.__name__} needs an action of two finite numbers"):
            env.step(action)
    for choice in (-1, 5, 2.7, None):
        with pytest.raises(ValueError, match=rf"{make.__name__} needs an action in 0\.\.4"):
            discrete.step(choice)
    assert discrete.step(np.int64(2))[0].shape == discrete.observation_space.shape


@pytest.mark.parametrize("make", [SpriteReach, SpriteChase, SpritePose])
def test_an_observation_belongs_to_whoever_got_it(make: type[SpriteEnv]) -> None:
    env = make(render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    shown = np.array(env.render())
    observation[:] = 7
    assert np.array_equal(np.asarray(env.render()), shown)
