from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_sb3_env

from envs.appearance import PALETTES
from envs.chase import MAX_STEPS, SpriteChase
from rl import FactorObservation
from rl.record import main
from sparse_repr.data import load_dataset
from sparse_repr.data.dsprites import render_sprites

IDS = ("SparseRepr/SpriteChase-v0", "SparseRepr/SpriteChase-Discrete-v0")
SQUARE, ELLIPSE, HEART = range(3)
WHITE = (255, 255, 255)
STAY = np.zeros(2, np.float32)


def _mask(shape: int, x: float, y: float) -> np.ndarray:
    """A sprite at a place of the field, drawn by way of the picture's middle: bool (64, 64)."""
    centre = 8 + 48 * np.array([x, y], np.float64)
    whole = np.floor(centre).astype(int) - 32
    within = (centre - whole - 16) / 32
    drawn = render_sprites(shape, 0.5, 0.0, *within)[0] > 0
    return np.roll(drawn, (whole[1], whole[0]), axis=(0, 1))


def _expected(factors: np.ndarray) -> np.ndarray:
    """The picture that the documentation promises for these factors in the source's colours."""
    picture = np.zeros((64, 64, 3), np.uint8)
    others = factors[2:].reshape(-1, 3)
    kinds = [HEART, SQUARE, *[ELLIPSE] * (len(others) - 2)]
    # ellipses from first to last, then square, heart and player
    for who in [*range(2, len(others)), 1, 0]:
        x, y, color = others[who]
        picture[_mask(kinds[who], x, y)] = PALETTES["source"][int(color)]
    picture[_mask(ELLIPSE, *factors[:2])] = WHITE
    return picture


def _start(env: SpriteChase, **changes: Any) -> dict[str, Any]:
    """Begin with the given factors; the rest as drawn from seed 0."""
    _, info = env.reset(seed=0)
    factors = info["factors"].copy()
    for name, value in changes.items():
        factors[env.factor_names.index(name)] = value
    return env.reset(options={"factors": factors})[1]


@pytest.mark.parametrize("name", IDS)
def test_both_env_checkers_pass(name: str) -> None:
    check_env(gym.make(name, render_mode="rgb_array").unwrapped)
    check_sb3_env(gym.make(name), warn=True)
    spec = gym.spec(name)
    assert spec.max_episode_steps == MAX_STEPS


@pytest.mark.parametrize("distractors", [0, 2, 4])
def test_pixels_are_where_the_factors_say(distractors: int) -> None:
    env = SpriteChase(distractors=distractors)
    env.action_space.seed(0)
    for seed in range(4):
        observation, info = env.reset(seed=seed)
        for _ in range(6):
            assert observation.shape == (64, 64, 3)
            assert observation.dtype == np.uint8
            assert info["factors"].dtype == np.float32
            assert info["factors"].shape == (len(env.factor_names),) == (8 + 3 * distractors,)
            wrong = (observation != _expected(info["factors"])).any(axis=2).sum()
            assert wrong <= 3  # float32 factors may move pixels that lie on an edge
            observation, _, _, _, info = env.step(env.action_space.sample())


def test_the_player_lies_on_top_then_heart_square_and_ellipses() -> None:
    env = SpriteChase(distractors=2)
    away = {"player_x": 0.9, "player_y": 0.9}
    here = {f"{name}_{axis}": 0.25 for name in ("heart", "square", "ellipse_1", "ellipse_2") for axis in "xy"}
    colors = {"heart_color": 0, "square_color": 1, "ellipse_1_color": 2, "ellipse_2_color": 3}
    _start(env, **away, **here, **colors)
    image, palette = env._image, PALETTES["source"]
    heart, square, ellipse = (_mask(shape, 0.25, 0.25) for shape in (HEART, SQUARE, ELLIPSE))
    assert (image[heart] == palette[0]).all()
    assert (image[square & ~heart] == palette[1]).all()
    assert (square & ~heart).sum() > 10
    assert (image[ellipse & ~square & ~heart] == palette[3]).all()  # the last ellipse over the first
    assert (ellipse & ~square & ~heart).sum() > 5
    _start(env, **{**here, "player_x": 0.25, "player_y": 0.25})
    assert (env._image[ellipse] == WHITE).all()


def test_given_factors_give_the_same_picture_and_the_same_factors() -> None:
    env = SpriteChase()
    first, info = env.reset(seed=4)
    again, given = env.reset(options={"factors": info["factors"]})
    assert np.array_equal(info["factors"], given["factors"])
    assert (first != again).any(axis=2).sum() <= 3


def test_everybody_moves_as_documented() -> None:
    env = SpriteChase(distractors=1)
    before = _start(env, player_x=0.5, player_y=0.5, heart_x=0.8, heart_y=0.9, square_x=0.1, square_y=0.2)["factors"]
    _, reward, terminated, _, info = env.step(np.array([1.0, -0.5], np.float32))
    after = info["factors"]
    assert after[:2].tolist() == pytest.approx([0.56, 0.47])
    flight = (before[2:4] - after[:2]) / np.linalg.norm(before[2:4] - after[:2])
    assert after[2:4].tolist() == pytest.approx((before[2:4] + 0.03 * flight).tolist())
    hunt = (after[:2] - before[5:7]) / np.linalg.norm(after[:2] - before[5:7])
    assert after[5:7].tolist() == pytest.approx((before[5:7] + 0.02 * hunt).tolist())
    assert np.linalg.norm(after[8:10] - before[8:10]) == pytest.approx(0.02, abs=1e-5)
    decrease = np.linalg.norm(before[2:4] - before[:2]) - np.linalg.norm(after[2:4] - after[:2])
    assert reward == pytest.approx(decrease, abs=1e-6)
    assert not terminated


def test_discrete_actions_are_the_four_directions() -> None:
    env = SpriteChase(discrete=True)
    for action, move in enumerate([(0, 0), (-0.06, 0), (0.06, 0), (0, -0.06), (0, 0.06)]):
        before = _start(env, player_x=0.5, player_y=0.5)["factors"]
        _, _, _, _, info = env.step(action)
        assert (info["factors"][:2] - before[:2]).tolist() == pytest.approx(move, abs=1e-6)


def test_a_cornered_heart_stays_and_ellipses_bounce() -> None:
    env = SpriteChase(distractors=4)
    _start(env, player_x=0.6, player_y=0.6, heart_x=1, heart_y=1, square_x=0, square_y=0)
    assert env.step(STAY)[4]["factors"][2:4].tolist() == [1, 1]
    turned = 0
    for seed in range(3):
        env.reset(seed=seed)
        env._headings = [(0.013, 0.005)] * 4
        for _ in range(80):
            before = env._headings.copy()
            places = env.step(STAY)[4]["factors"][8:].reshape(4, 3)[:, :2]
            assert (places >= 0).all()
            assert (places <= 1).all()
            turned += before != env._headings
            assert {(abs(x), abs(y)) for x, y in env._headings} == {(0.013, 0.005)}
    assert turned >= 4


def test_a_catch_is_a_success_and_the_rewards_add_up() -> None:
    env = SpriteChase(distractors=0)
    info = _start(env, player_x=0.4, player_y=0.5, heart_x=0.8, heart_y=0.5, square_x=0, square_y=0)
    total, ended = 0.0, False
    while not ended:
        _, reward, ended, truncated, info = env.step(np.array([1, 0], np.float32))
        total += reward
        assert not truncated
    left = float(np.linalg.norm(info["factors"][2:4] - info["factors"][:2]))
    assert info["is_success"]
    assert left <= 0.14
    assert total == pytest.approx(0.4 - left + 1, abs=1e-5)


def test_the_square_catches_a_player_who_stands_still() -> None:
    env = gym.make(IDS[1], distractors=0)
    _, info = env.reset(seed=1)
    start = np.linalg.norm(info["factors"][2:4] - info["factors"][:2])
    total, ended = 0.0, False
    while not ended:
        _, reward, ended, truncated, info = env.step(0)
        total += float(reward)
        assert not truncated
    left = np.linalg.norm(info["factors"][2:4] - info["factors"][:2])
    assert not info["is_success"]
    assert np.linalg.norm(info["factors"][5:7] - info["factors"][:2]) <= 0.14
    assert total == pytest.approx(start - left - 1, abs=1e-5)


def test_a_catch_counts_before_being_caught() -> None:
    env = SpriteChase()
    _start(env, player_x=0.5, player_y=0.5, heart_x=0.62, heart_y=0.5, square_x=0.4, square_y=0.5)
    _, reward, terminated, _, info = env.step(np.array([1, 0], np.float32))
    assert terminated
    assert info["is_success"]
    assert reward > 0.9


def test_a_heart_or_square_on_the_players_own_place_moves_no_further() -> None:
    env = SpriteChase()
    _start(env, player_x=0.5, player_y=0.5, heart_x=0.9, heart_y=0.9, square_x=0.51, square_y=0.5)
    assert env.step(STAY)[4]["factors"][5:7].tolist() == pytest.approx([0.5, 0.5])
    _start(env, player_x=0.5, player_y=0.5, heart_x=0.5, heart_y=0.5)
    assert env.step(STAY)[4]["factors"][2:4].tolist() == pytest.approx([0.5, 0.5])


def test_episodes_start_at_a_distance_and_repeat_by_seed() -> None:
    env = SpriteChase()
    factors = np.stack([env.reset(seed=seed)[1]["factors"] for seed in range(60)])
    for column in (2, 5):
        assert (np.linalg.norm(factors[:, column : column + 2] - factors[:, :2], axis=1) >= 0.4 - 1e-5).all()
    assert len(np.unique(factors[:, 0])) == 60
    assert (factors[:, 4] != factors[:, 7]).all()  # heart and square differ in colour

    def play() -> list[np.ndarray]:
        env.action_space.seed(3)
        frames = [env.reset(seed=7)[0], env.reset()[0]]
        frames += [env.step(env.action_space.sample())[0] for _ in range(5)]
        return frames

    first, again = play(), play()
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert not np.array_equal(first[0], first[1])


def test_wrong_arguments_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"SpriteChase needs 0\.\.4 distractors, got 5"):
        SpriteChase(distractors=5)
    with pytest.raises(ValueError, match="SpriteChase needs render_mode None or 'rgb_array', got 'human'"):
        SpriteChase(render_mode="human")
    env = SpriteChase(distractors=0)
    with pytest.raises(ValueError, match=r"SpriteChase.reset takes the option factors, got \['shape'\]"):
        env.reset(options={"shape": 1})
    with pytest.raises(ValueError, match=r"needs factors \(8,\): player_x, .*; got \(3,\)"):
        env.reset(options={"factors": [0, 0, 0]})
    with pytest.raises(ValueError, match=r"needs heart_color, a whole number, in 0\.\.3, got 4"):
        env.reset(options={"factors": [0, 0, 0, 0, 4, 0, 0, 0]})
    with pytest.raises(ValueError, match=r"needs player_x in 0\.\.1, got nan"):
        env.reset(options={"factors": [np.nan, 0, 0, 0, 0, 0, 0, 0]})


def test_render_is_a_copy_of_the_observation() -> None:
    env = SpriteChase(render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    shown = env.render()
    assert np.array_equal(shown, observation)
    assert shown is not observation
    assert SpriteChase().render() is None


def test_the_factors_can_be_observed() -> None:
    env = FactorObservation(gym.make(IDS[0]), one_hot={"heart_color": 4})
    observation, info = env.reset(seed=0)
    assert observation.shape == (14 + 3,)
    assert observation[4:8].tolist() == (np.arange(4) == info["factors"][4]).tolist()
    few = FactorObservation(gym.make(IDS[0]), ("heart_y", "player_x"))
    assert few.reset(seed=0)[0].tolist() == info["factors"][[3, 0]].tolist()


def test_recordings_hold_the_factors(tmp_path: Path) -> None:
    out = tmp_path / "chase.h5"
    assert main([f"envs:{IDS[0]}", "--out", str(out), "--frames", "50", "--envs", "4", "--no-progress"]) == 0
    data = load_dataset("h5", out)
    assert data.image_shape == (3, 64, 64)
    assert data.factor_names == SpriteChase().factor_names
    assert data.factor_sizes == (8, 8, *(8, 8, 4) * 4)
    assert data.factors is not None
    assert data.factor_values is not None
    assert np.array_equal(data.factors[:, 4], data.factor_values[:, 4])
    assert np.array_equal(data.factors[:, 0], np.minimum(8 * data.factor_values[:, 0], 7).astype(int))
    images = data.images(np.arange(50)).transpose(0, 2, 3, 1)
    wrong = [(image != _expected(row)).any(axis=2).sum() for image, row in zip(images, data.factor_values, strict=True)]
    assert max(wrong) <= 3
