from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image
from stable_baselines3.common.vec_env import DummyVecEnv

from experiments.film import _bars, film
from rl import make_latent_vec_env
from sparse_repr.trained_vae import load_vae

ENV = "envs:SparseRepr/SpriteReach-v0"


def test_a_film_shows_picture_reconstruction_and_code_of_every_step(tiny_run: Path, tmp_path: Path) -> None:
    venv = make_latent_vec_env(ENV, tiny_run, n_envs=2, seed=0, n_stack=2, keep_image=True)
    vae, _ = load_vae(tiny_run)
    path = film(venv, lambda _: np.tile([[1.0, 0.0]], (2, 1)), vae, tmp_path / "a.gif", steps=6)
    with Image.open(path) as shown:
        assert shown.size == (3 * 192 + 2 * 4, 192)
        frames = []
        for i in range(6):
            shown.seek(i)
            frames.append(np.asarray(shown.convert("L")))
        with pytest.raises(EOFError):
            shown.seek(6)
    # the sprite goes right at every step; a tiny encoder's code is not asked for anything
    sprite = np.stack(frames)[:, :, :192] > 128
    columns = [np.flatnonzero(frame.any(0)).mean() for frame in sprite]
    assert all(np.diff(columns) > 5)


def test_bars_point_up_for_positive_units_and_are_cut_at_the_limit() -> None:
    image = np.asarray(_bars(np.array([1.0, -0.5, 0.0, 9.0], dtype=np.float32), 2.0)).astype(int)
    blue = image[..., 2] > image[..., 0] + 50
    heights = [
        (int(blue[:96, 48 * i : 48 * (i + 1)].any(1).sum()), int(blue[97:, 48 * i : 48 * (i + 1)].any(1).sum()))
        for i in range(4)
    ]
    assert abs(heights[0][0] - 47) <= 1
    assert heights[0][1] == 0
    assert heights[1][0] == 0
    assert abs(heights[1][1] - 23) <= 2
    assert sum(heights[2]) <= 1
    assert heights[3][0] >= 93


def test_environments_without_codes_or_pictures_are_refused(tiny_run: Path, tmp_path: Path) -> None:
    vae, _ = load_vae(tiny_run)
    with pytest.raises(TypeError, match="film needs environments wrapped in VecLatentObservation"):
        film(DummyVecEnv([lambda: gym.make(ENV)]), lambda _: [0], vae, tmp_path / "a.gif")
    with pytest.raises(ValueError, match="film needs keep_image=True"):
        film(make_latent_vec_env(ENV, tiny_run), lambda _: [0], vae, tmp_path / "a.gif")
