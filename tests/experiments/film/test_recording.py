from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecNormalize

from experiments.agents.arms import ARMS
from experiments.film import recording
from experiments.film.drawing import ACCENT, BACKGROUND, column_panel, named_panel, palette_of, text_font, value_panel
from experiments.film.recording import Film, KeepFrames, film_agent, play, write_film, write_films, write_strip
from experiments.film.views import Seen, decode, see_codes, see_factors, see_tuned, tuned_codes
from rl import FactorObservation, LatentExtractor, make_latent_vec_env
from sparse_repr import load_encoder, untrained_encoder
from sparse_repr.data.base import ArrayImages, FactorDataset
from sparse_repr.encoder.vae import load_vae
from sparse_repr.models import build_vae, split_code
from tests.conftest import make_encoder
from tests.keypoint_encoders import keypoint_vae, make_keypoint_encoder

REACH, CHASE = "envs:SparseRepr/SpriteReach-v0", "envs:SparseRepr/SpriteChase-v0"


def _right(venv: VecEnv) -> Callable[[Any], Any]:
    return lambda _: np.tile([[1.0, 0.0]], (venv.num_envs, 1))


def _frames(path: Path) -> list[npt.NDArray[np.uint8]]:
    with Image.open(path) as film:
        frames = []
        for place in range(film.n_frames):  # type: ignore[attr-defined] # of files that hold several
            film.seek(place)
            frames.append(np.asarray(film.convert("RGB")))
    return frames


def test_a_film_shows_picture_reconstruction_and_code_of_every_step(tiny_run: Path, tmp_path: Path) -> None:
    venv = make_latent_vec_env(REACH, tiny_run, n_envs=2, seed=0, n_stack=2, wrapper_class=KeepFrames)
    vae, _ = load_vae(tiny_run)
    see = see_codes(load_encoder(tiny_run), vae)
    path = film_agent(venv, _right(venv), tmp_path / "a.gif", see=see, caption="an agent", steps=6)
    frames = _frames(path)
    assert len(frames) == 6
    assert {frame.shape for frame in frames} == {(2 * 15 + 128, 3 * 128 + 2 * 4, 3)}
    # the sprite goes right at every step; a tiny encoder's code is not asked for anything
    sprite = np.stack(frames)[:, 30:, :128, 0] > 128
    columns = [np.flatnonzero(frame.any(0)).mean() for frame in sprite]
    assert all(np.diff(columns) > 3)


def test_pictures_steps_and_returns_belong_together_to_the_end_of_an_episode() -> None:
    venv = make_vec_env(REACH, n_envs=2, wrapper_class=KeepFrames)
    # up and to the left from anywhere reaches a corner within 20 steps
    film = play(venv, lambda _: np.full((2, 2), -1.0), steps=40, seed=5)
    length = film.first_episode
    assert 5 < length < 20
    assert film.steps[: length + 2] == (*range(length), 0, 1)
    assert film.returns[0] == film.returns[length] == 0
    env = gym.make(REACH)
    # SB3 seeds its first environment with the seed itself
    frames, returns = [env.reset(seed=5)[0]], [0.0]
    for _ in range(length - 1):
        frame, reward, terminated, *_ = env.step(np.array([-1.0, -1.0]))
        frames.append(frame)
        returns.append(returns[-1] + float(reward))
    assert terminated
    np.testing.assert_array_equal(film.frames[:length], frames)
    np.testing.assert_allclose(film.returns[:length], returns, atol=1e-6)
    assert film.seen is None
    again = play(venv, lambda _: np.full((2, 2), -1.0), steps=40, seed=5)
    np.testing.assert_array_equal(again.frames, film.frames)


def test_rewards_that_the_agent_gets_normalised_are_shown_as_they_are() -> None:
    def returns(venv: VecEnv) -> tuple[float, ...]:
        return play(venv, _right(venv), steps=8, seed=1).returns

    plain = returns(make_vec_env(REACH, wrapper_class=KeepFrames))
    np.testing.assert_allclose(returns(VecNormalize(make_vec_env(REACH, wrapper_class=KeepFrames))), plain, atol=1e-6)


def test_pixel_agents_show_the_frame_alone_whatever_they_stack(tmp_path: Path) -> None:
    venv = VecFrameStack(make_vec_env(CHASE, wrapper_class=KeepFrames), 4)
    film = play(venv, _right(venv), caption="pixels, end to end", steps=3, seed=0)
    assert film.frames.shape == (3, 64, 64, 3)
    frames = _frames(write_film(film, tmp_path / "a.gif"))
    assert frames[0].shape[1] == 128
    # each pixel of the frame is 2x2 pixels of the film, of its own colour
    shown = frames[0][-128:][1::2, 1::2].astype(int)
    assert np.abs(shown - film.frames[0].astype(int)).max() <= 8


def test_the_agent_on_factors_is_shown_with_their_names(tmp_path: Path) -> None:
    def wrapped(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
        return FactorObservation(KeepFrames(env), one_hot={"heart_color": 4})

    venv = make_vec_env(CHASE, wrapper_class=wrapped)
    names = venv.get_attr("factor_names")[0]
    see = see_factors(names, {"heart_color": 4})
    film = play(venv, _right(venv), see=see, caption="factors", steps=4, seed=0)
    seen = film.seen
    assert seen is not None
    assert seen.names == names
    assert np.diff(seen.values[:, 0]).min() > 0  # player_x
    assert seen.limits[names.index("heart_color")] == 3
    assert seen.limits[0] == 1
    assert _frames(write_film(film, tmp_path / "a.gif"))[0].shape == (30 + 14 * 14, 128 + 4 + 88 + 128, 3)
    with pytest.raises(ValueError, match="got 2 names, but the infos have 14 factors"):
        play(venv, _right(venv), see=see_factors(("a", "b")), steps=2)


def test_codes_are_shown_as_the_agent_gets_them() -> None:
    encoder = make_encoder(3)
    frames = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    vae = build_vae("burgess", {"channels": 3, "size": 64, "code_size": 4}, seed=0)
    seen = see_codes(encoder, vae)(frames, [{}] * 5)
    codes = encoder.encode(frames)
    np.testing.assert_array_equal(seen.values, codes)
    assert seen.limits.tolist() == [np.abs(codes).max()]
    assert seen.reconstructions is not None
    with torch.no_grad():
        expected = 255 * torch.sigmoid(vae.decoder(torch.from_numpy(codes))).permute(0, 2, 3, 1).numpy()
    assert np.abs(seen.reconstructions - expected).max() <= 0.5 + 1e-3
    assert see_codes(encoder)(frames, [{}] * 5).reconstructions is None


def test_a_scaled_code_is_decoded_unscaled() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
    data = FactorDataset(name="noise", store=ArrayImages(frames.transpose(0, 3, 1, 2).copy()), source="drawn")
    encoder = untrained_encoder(3, code_size=4, data=data)
    vae = build_vae("burgess", {"channels": 3, "size": 64, "code_size": 4}, seed=0)
    plain, scaled = (see_codes(encoder, vae, code_scaling=how)(frames, [{}] * 30) for how in ("none", "standardize"))
    np.testing.assert_allclose(scaled.values.std(0), 1, atol=0.2)
    assert plain.values.std() < 0.2
    assert plain.reconstructions is not None
    np.testing.assert_array_equal(scaled.reconstructions, plain.reconstructions)


def test_a_recoded_code_is_shown_recoded_and_decoded_as_it_is() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
    data = FactorDataset(name="noise", store=ArrayImages(frames.transpose(0, 3, 1, 2).copy()), source="drawn")
    encoder = untrained_encoder(3, code_size=4, data=data)
    vae = build_vae("burgess", {"channels": 3, "size": 64, "code_size": 4}, seed=0)
    plain, recoded = see_codes(encoder, vae)(frames, [{}] * 30), see_codes(encoder, vae, recode="expand")(frames, [{}])
    assert (plain.title, recoded.title) == ("code", "expand")
    assert recoded.values.shape == (30, 80)
    assert set(recoded.values.sum(1)) == {8}
    np.testing.assert_array_equal(recoded.reconstructions, plain.reconstructions)


def test_keypoints_are_drawn_where_they_are(tmp_path: Path) -> None:
    encoder = make_keypoint_encoder()
    venv = make_latent_vec_env(CHASE, encoder, n_envs=1, seed=0, wrapper_class=KeepFrames)
    film = play(venv, lambda _: np.zeros((1, 2), np.float32), see=see_codes(encoder, keypoint_vae()), steps=3)
    venv.close()
    assert film.seen is not None
    assert film.seen.keypoints is not None
    assert film.seen.keypoints.shape == (3, 128, 128, 3)
    enlarged = film.frames.repeat(2, axis=1).repeat(2, axis=2)
    drawn = (film.seen.keypoints.astype(int) - enlarged).any(-1)  # (3, 128, 128)
    assert 0 < drawn.mean() < 0.2
    x, y, presence = split_code(torch.from_numpy(encoder.encode(film.frames[:1])))
    strongest = int(presence[0].argmax())
    centre = (torch.stack([y[0, strongest], x[0, strongest]]).numpy() + 1) * 64
    away = np.linalg.norm(np.argwhere(drawn[0]) + 0.5 - centre, axis=1)
    assert away.min() < 12
    frame = recording._frame(film, 0)
    assert frame.width == 4 * 128 + 3 * 4
    assert see_codes(make_encoder(3))(film.frames, [{}] * 3).keypoints is None
    path = write_strip([film], tmp_path / "strip.png", moments=2)
    with Image.open(path) as strip:
        assert strip.height == 2 * 15 + 3 * (96 + 4) - 4


@pytest.mark.parametrize(("channels", "size"), [(1, 64), (3, 84), (1, 96)])
def test_keypoints_are_drawn_on_images_of_every_kind(channels: int, size: int) -> None:
    encoder = make_keypoint_encoder(channels=channels, size=size)
    frames = np.random.default_rng(0).integers(0, 256, (2, size, size, channels), np.uint8)
    marked = see_codes(encoder)(frames, [{}] * 2).keypoints
    assert marked is not None
    assert marked.shape == (2, 2 * size, 2 * size, 3)
    one = see_codes(encoder)(frames[1:], [{}]).keypoints
    np.testing.assert_array_equal(marked[1:], one)


def test_a_strip_of_tall_frames_has_room_for_what_is_below(tmp_path: Path) -> None:
    square = np.full((2, 96, 96, 3), 200, np.uint8)
    seen = Seen(np.zeros((2, 1), np.float32), np.ones(1, np.float32), keypoints=square)
    film = Film("tall", np.zeros((2, 210, 160, 3), np.uint8), seen, (0, 1), (0.0, 0.0))
    with Image.open(write_strip([film], tmp_path / "strip.png", moments=2)) as strip:
        assert strip.width == 2 * (96 + 4) - 4
        below = np.asarray(strip.convert("RGB"))[2 * 15 + 96 + 4 + 10]
    assert (below[:96] == 200).all()
    assert (below[96:100] == BACKGROUND).all()


def test_films_of_several_agents_stand_below_one_another(tiny_run: Path, tmp_path: Path) -> None:
    plain = make_vec_env(REACH, n_envs=1, seed=0, wrapper_class=KeepFrames)
    coded = make_latent_vec_env(REACH, tiny_run, n_envs=1, seed=0, wrapper_class=KeepFrames)
    films = [
        play(plain, _right(plain), steps=3, seed=0),
        play(coded, _right(coded), see=see_codes(load_encoder(tiny_run)), steps=5, seed=0),
    ]
    apart = [_frames(write_film(film, tmp_path / "one.gif")) for film in films]
    frames = _frames(write_films(films, tmp_path / "both.gif"))
    assert len(frames) == 3
    height, width, _ = apart[0][0].shape
    # the palette is that of both
    np.testing.assert_allclose(frames[0][:height, :width].astype(int), apart[0][0].astype(int), atol=16)
    np.testing.assert_allclose(frames[0][height + 4 :].astype(int), apart[1][0].astype(int), atol=16)
    with pytest.raises(ValueError, match="at least 1 agent and a path that ends in .gif, got 0"):
        write_films([], tmp_path / "none.gif")


def test_many_values_are_cells_and_few_are_columns() -> None:
    few, limit = np.ones(64, np.float32), np.ones(1, np.float32)
    np.testing.assert_array_equal(np.asarray(value_panel(few, limit)), np.asarray(column_panel(few, limit)))
    many = np.zeros(250, np.float32)
    many[[0, 17]] = 1, -0.5  # of rows of 16: the first cell, and the second of the second row
    drawn = np.asarray(value_panel(many, limit))
    assert drawn.shape == (128, 128, 3)
    assert (drawn[:8, :8] == ACCENT).all()
    half = (np.array(ACCENT) + BACKGROUND) / 2
    assert np.abs(drawn[8:16, 8:16] - half).max() <= 0.5
    assert (drawn[16:] == BACKGROUND).all()


def test_a_tuned_agent_is_shown_by_its_own_copy(tmp_path: Path) -> None:
    encoder = make_encoder(3)
    kwargs = {"encoder": encoder, "trainable": True, "encoder_lr_multiplier": 10.0}
    venv = make_vec_env(CHASE, n_envs=2, wrapper_class=KeepFrames)
    model = PPO(
        "CnnPolicy",
        venv,
        n_steps=8,
        batch_size=16,
        device="cpu",
        seed=0,
        policy_kwargs={"features_extractor_class": LatentExtractor, "features_extractor_kwargs": kwargs},
    )
    extractor = model.policy.features_extractor
    assert isinstance(extractor, LatentExtractor)
    frames = play(venv, _right(venv), steps=3).frames
    np.testing.assert_allclose(tuned_codes(extractor, frames), encoder.encode(frames), atol=1e-5)
    model.learn(32)
    tuned = tuned_codes(extractor, frames)
    assert np.abs(tuned - encoder.encode(frames)).max() > 1e-3
    observed = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    np.testing.assert_allclose(tuned, extractor(observed).detach().numpy(), atol=1e-5)
    vae = build_vae("burgess", {"channels": 3, "size": 64, "code_size": 4}, seed=0)
    film = play(venv, lambda shown: model.predict(shown, deterministic=True)[0], see=see_tuned(extractor, vae), steps=3)
    assert film.seen is not None
    assert film.seen.reconstruction_title == "pretrained decoder"
    assert film.seen.reconstructions is not None
    np.testing.assert_array_equal(film.seen.reconstructions, decode(vae, film.seen.values))
    frozen = LatentExtractor(gym.spaces.Box(0, 255, (3, 64, 64), np.uint8), encoder)
    for refused in (lambda: tuned_codes(frozen, frames), lambda: see_tuned(frozen)):
        with pytest.raises(ValueError, match="need a LatentExtractor with trainable=True"):
            refused()


def _drawn(caption: str, length: int, *, reconstructed: bool = False) -> Film:
    """Two episodes; every frame of the first has a grey value of its own."""
    greys = np.arange(length, dtype=np.uint8) * 20
    frames = np.concatenate([greys, [255]]).astype(np.uint8)[:, None, None, None].repeat(64, 1).repeat(64, 2)
    seen = None
    if reconstructed:
        codes = np.zeros((length + 1, 2), np.float32)
        seen = Seen(codes, np.ones(1, np.float32), reconstructions=255 - frames)
    return Film(caption, frames, seen, (*range(length), 0), (*np.linspace(0, 1, length).tolist(), 0.0))


def test_every_picture_of_a_film_has_one_size(tmp_path: Path) -> None:
    frames = np.zeros((3, 64, 64, 3), np.uint8)
    film = Film("a caption of some letters", frames, None, (0, 1, 2), (0.0, -100.0, 0.0))
    sizes = {recording._frame(film, place).size for place in range(3)}
    assert len(sizes) == 1
    assert {frame.shape for frame in _frames(write_film(film, tmp_path / "film.gif"))} == {(*sizes.pop()[::-1], 3)}


def test_a_strip_has_a_row_per_film_from_the_start_of_an_episode_to_its_end(tmp_path: Path) -> None:
    films = [_drawn("short", 3), _drawn("long", 12, reconstructed=True)]
    with Image.open(write_strip(films, tmp_path / "strip.png", moments=4)) as strip:
        pixels = np.asarray(strip.convert("L")).astype(int)
    assert pixels.shape == (30 + 96 + 4 + 30 + 2 * 96 + 4, 4 * 100 - 4)
    middles = [48, 148, 248, 348]
    assert pixels[30 + 48, middles].tolist() == [0, 20, 40, 250]
    second = 30 + 96 + 4 + 30 + 48
    assert pixels[second, middles].tolist() == [0, 80, 140, 220]
    assert pixels[second + 100, middles].tolist() == [255, 175, 115, 35]


def _blurred(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What a decoder makes of frames (N, H, W, C): soft shapes with a noise of their own."""
    grey = frames.mean(3)
    for axis in (1, 2):
        grey = sum(np.roll(grey, shift, axis) for shift in range(-3, 4)) / 7
    noise = np.random.default_rng(0).normal(0, 0.05, (*grey.shape, 3))
    return (grey[..., None] * (1 + noise)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def shaded() -> Film:
    """A hundred frames of SpriteChase with reconstructions of many greys, and 32 units that change."""
    venv = make_vec_env(CHASE, wrapper_class=KeepFrames)
    rng = np.random.default_rng(0)

    def see(frames: npt.NDArray[np.uint8], infos: Any) -> Seen:
        return Seen(rng.normal(0, 1, (len(infos), 32)), np.full(1, 3.0, np.float32), (), _blurred(frames))

    return play(venv, lambda _: rng.uniform(-1, 1, (1, 2)), see=see, caption="an agent", steps=100, seed=0)


def test_films_of_a_hundred_pictures_are_small(shaded: Film, tmp_path: Path) -> None:
    assert write_film(shaded, tmp_path / "a.gif").stat().st_size <= 400_000


def test_sprites_keep_their_colour_beside_many_shades_of_reconstructions(shaded: Film, tmp_path: Path) -> None:
    frames = _frames(write_film(shaded, tmp_path / "a.gif"))
    for place in (0, 50, 99):
        shown = frames[place][30 : 30 + 128][1::2, 1:128:2].astype(int)
        assert np.abs(shown - shaded.frames[place].astype(int)).max() <= 8
        assert shaded.seen is not None
        assert shaded.seen.reconstructions is not None
        beside = frames[place][30 : 30 + 128][1::2, 133 : 133 + 128 : 2].astype(int)
        assert np.abs(beside - shaded.seen.reconstructions[place].astype(int)).mean() < 8


def test_a_palette_holds_what_is_furthest_from_the_rest_first() -> None:
    shades = np.linspace(0, 120, 400 * 400 * 3).reshape(400, 400, 3).astype(np.uint8)
    shades[200:203, 200:203] = (225, 60, 50)
    chosen = palette_of([Image.fromarray(shades)] * 2, 4).tolist()
    assert [225, 60, 50] in chosen
    assert len(palette_of([Image.fromarray(np.zeros((4, 4, 3), np.uint8))])) == 1


def test_bars_point_up_for_positive_units_and_are_cut_at_the_limit() -> None:
    codes = np.array([1.0, -0.5, 0.0, 9.0], dtype=np.float32)
    image = np.asarray(column_panel(codes, np.array([2.0], np.float32))).astype(int)
    blue = image[..., 2] > image[..., 0] + 50
    heights = [
        (int(blue[:64, 32 * i : 32 * (i + 1)].any(1).sum()), int(blue[65:, 32 * i : 32 * (i + 1)].any(1).sum()))
        for i in range(4)
    ]
    assert abs(heights[0][0] - 31) <= 1
    assert heights[0][1] == 0
    assert heights[1][0] == 0
    assert abs(heights[1][1] - 15) <= 2
    assert sum(heights[2]) <= 1
    assert heights[3][0] >= 61


def test_named_bars_start_at_zero_and_each_has_its_own_limit() -> None:
    values, limits = np.array([0.5, 0.0, 3.0, 9.0], np.float32), np.array([1.0, 1.0, 6.0, 3.0], np.float32)
    image = np.asarray(named_panel(values, limits, ("a", "b", "c", "d"))).astype(int)
    blue = image[..., 2] > image[..., 0] + 50
    half, none, same, full = (int(blue[32 * row : 32 * (row + 1)].any(0).sum()) for row in range(4))
    assert half == same
    assert none == 0
    assert abs(full - 2 * half) <= 2


def test_what_cannot_be_filmed_is_refused(tmp_path: Path) -> None:
    venv = DummyVecEnv([lambda: gym.make(REACH)])
    with pytest.raises(TypeError, match="a film needs environments in KeepFrames"):
        play(venv, _right(venv))
    kept = make_vec_env(REACH, wrapper_class=KeepFrames)
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        play(kept, _right(kept), steps=0)
    with pytest.raises(TypeError, match=r"needs uint8 frames \(H, W, C\), got float32 \(4,\)"):
        play(make_vec_env("CartPole-v1", wrapper_class=KeepFrames), lambda _: [0], steps=1)
    with pytest.raises(ValueError, match=r"ends in \.gif"):
        write_film(_drawn("a", 3), tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=r"1\.\.50 frames per second"):
        write_film(_drawn("a", 3), tmp_path / "a.gif", fps=60)
    with pytest.raises(ValueError, match="at least 1 film, 2 moments"):
        write_strip([], tmp_path / "a.png")


@pytest.mark.parametrize("letter", sorted({letter for arm in ARMS.values() for letter in arm.title}))
def test_the_font_has_every_letter_of_the_arms(letter: str) -> None:
    missing = bytes(text_font().getmask("\uffff"))
    assert bytes(text_font().getmask(letter)) != missing
