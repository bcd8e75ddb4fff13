"""An encoder pretrained with `crop` sees a part of each image, wherever it is used."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from experiments.film.views import see_codes
from rl import LatentObservation, make_latent_vec_env
from rl.export import export_agent
from sparse_repr import FrozenEncoder, PretrainConfig, load_encoder, pretrain_encoder
from sparse_repr.encoder.vae import load_vae
from sparse_repr.evaluate.report import read_report
from sparse_repr.evaluate.run import EvaluateConfig, evaluate_run
from tests.frame_envs import Frames

CROP = "40,4,16,56"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on 64 frames of 64x64 whose part in question is dark but for a bright square at one of eight places;
    around it is noise."""
    folder = tmp_path_factory.mktemp("crop")
    images = np.random.default_rng(0).integers(0, 256, (64, 64, 64, 3), dtype=np.uint8)
    images[:, 40:56, 4:60] = 0
    for item, image in enumerate(images):
        left = 4 + 6 * (item % 8)
        image[44:52, left : left + 8] = 255
    np.savez(folder / "frames.npz", images=images)
    return pretrain_encoder(
        PretrainConfig(
            dataset="npz",
            data_path=str(folder / "frames.npz"),
            crop=CROP,
            image_size=32,
            objective="beta_vae",
            beta=0.0,
            code_size=4,
            steps=150,
            batch_size=16,
            learning_rate=1e-3,
            initialisation="he",
            precision="float32",
            run_dir=str(folder / "run"),
            progress=False,
        )
    )


@pytest.fixture(scope="module")
def encoder(run: Path) -> FrozenEncoder:
    return load_encoder(run)


def test_what_is_around_it_changes_no_code_and_what_is_in_it_does(encoder: FrozenEncoder) -> None:
    image = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    others, within = image.copy(), image.copy()
    others[:, :40], others[:, 56:], others[:, :, :4], others[:, :, 60:] = 0, 0, 0, 0
    within[:, 40, 4] ^= 255
    code = encoder.encode(image)
    np.testing.assert_array_equal(encoder.encode(others), code)
    assert (encoder.encode(within) != code).any()


def test_the_squares_are_drawn(run: Path) -> None:
    evaluate_run(EvaluateConfig(run=str(run), image_items=64, lpips_items=0, progress=False))
    pictures = read_report(run)["images"]["train"]  # nobody could draw the noise around it
    assert pictures["model"]["psnr_db"] > pictures["mean_image"]["psnr_db"] + 3
    assert pictures["model"]["psnr_db"] > 15
    assert (run / "figures/reconstructions.png").is_file()


def test_wrappers_take_whole_frames_and_no_others(encoder: FrozenEncoder) -> None:
    env = LatentObservation(Frames(), encoder)
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(observation, encoder.encode(Frames().reset(seed=0)[0][None])[0])
    with pytest.raises(ValueError, match="64x64"):
        LatentObservation(Frames(shape=(32, 32, 3)), encoder)  # might be cropped already
    venv = make_latent_vec_env(Frames, encoder, n_envs=2)
    assert isinstance(venv.observation_space, gym.spaces.Box)
    assert np.asarray(venv.reset()).shape == (2, 4)


def test_a_film_says_that_a_part_is_redrawn(run: Path, encoder: FrozenEncoder) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    seen = see_codes(encoder, load_vae(run)[0])(frames, [{}] * 3)
    assert seen.reconstruction_title == "a part, redrawn"
    assert seen.reconstructions is not None


def test_an_exported_agent_crops_by_itself(run: Path, encoder: FrozenEncoder, tmp_path: Path) -> None:
    model = PPO("MlpPolicy", make_latent_vec_env(Frames, encoder), n_steps=8, batch_size=8, seed=0, device="cpu")
    model.policy.action_net.weight.data.mul_(1_000)  # so that codes decide, before anything is learned
    export_agent(model, tmp_path / "agent.pt2")
    program = torch.export.load(tmp_path / "agent.pt2").module()
    with np.load(run.parent / "frames.npz") as file:
        frames = file["images"]
    expected, _ = model.predict(encoder.encode(frames), deterministic=True)
    found = np.concatenate([program(torch.from_numpy(frame[None])).numpy() for frame in frames])
    np.testing.assert_array_equal(found, expected)
    assert len(set(expected.tolist())) > 1


def test_another_crop_is_another_run_and_one_outside_is_refused(run: Path, tmp_path: Path) -> None:
    config = PretrainConfig(
        dataset="npz", data_path=str(run.parent / "frames.npz"), run_dir=str(tmp_path / "run"), steps=2, progress=False
    )
    with pytest.raises(ValueError, match=r"crop needs a rectangle within images of 64x64, got rows 60 to 70"):
        pretrain_encoder(dataclasses.replace(config, crop="60,0,10,64"))
    with pytest.raises(ValueError, match=r"crop needs TOP,LEFT,HEIGHT,WIDTH"):
        dataclasses.replace(config, crop="60,0,10")
    pretrain_encoder(dataclasses.replace(config, crop="0,0,10,64"))
    with pytest.raises(ValueError, match=r"crop: '0,0,10,64' there, '0,0,11,64' asked for"):
        pretrain_encoder(dataclasses.replace(config, crop="0,0,11,64", steps=3, resume=True))
