"""Recoded codes are the same in every wrapper, in the policy, in files and in graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import rl.vector
from rl import (
    LatentExtractor,
    LatentObservation,
    RecodedCodes,
    SameCodes,
    VecLatentObservation,
    load_agent,
    make_latent_vec_env,
    require_same_codes,
    save_agent,
)
from rl.code_space import CodeSpace
from rl.dictionaries import Dictionary
from rl.dictionary import DictionarySettings, fit_dictionary
from rl.export import export_agent
from rl.recodings import RECODINGS, recoding_of
from tests.conftest import make_encoder
from tests.frame_envs import Frames, picture
from tests.rl.test_agents import Continuous

ENCODER = make_encoder(3)  # D = 4
OPTIONS: dict[str, Any] = {"n_stack": 2, "include_log_variance": True}


def _dictionary(**settings: Any) -> Dictionary:
    codes = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    return fit_dictionary(ENCODER, codes, DictionarySettings(width=40, k=3, steps=3, **settings))


DICTIONARY = _dictionary()


@pytest.mark.parametrize("name", [*RECODINGS, DICTIONARY], ids=[*RECODINGS, "dictionary"])
def test_every_way_in_shows_the_same(name: str | Dictionary) -> None:
    single = LatentObservation(Frames(), ENCODER, recode=name, **OPTIONS)
    single.reset(seed=0)
    expected = single.step(0)[0]
    width = recoding_of(name).size(4)
    assert single.observation_space.shape == expected.shape == (2 * (width + 4),)
    first, second = (np.concatenate(ENCODER.posterior(picture(0, step)[None]), axis=1)[0] for step in (0, 1))
    assert expected[width : width + 4] == pytest.approx(first[4:])
    assert expected[-4:] == pytest.approx(second[4:])

    venv = VecLatentObservation(DummyVecEnv([Frames]), ENCODER, recode=name, **OPTIONS)
    venv.seed(0)
    venv.reset()
    np.testing.assert_allclose(venv.step(np.zeros(1, int))[0], expected[None], atol=1e-5)

    vector = rl.vector.LatentObservation(SyncVectorEnv([Frames]), ENCODER, recode=name, **OPTIONS)
    vector.reset(seed=0)
    np.testing.assert_allclose(vector.step(np.zeros(1, int))[0], expected[None], atol=1e-5)

    # the same frames for the extractor, which shows codes of all frames, then their log-variances
    frames = torch.from_numpy(np.concatenate([picture(0, 0), picture(0, 1)], axis=2).transpose(2, 0, 1)[None])
    space = gym.spaces.Box(0, 255, (6, 64, 64), np.uint8)
    extractor = LatentExtractor(space, ENCODER, recode=name, cache_frames=4, **OPTIONS)
    shown = extractor(frames / 255)[0].numpy()
    ours = expected.reshape(2, width + 4)
    np.testing.assert_allclose(shown, np.concatenate([ours[:, :width].ravel(), ours[:, width:].ravel()]), atol=1e-5)
    assert extractor.features_dim == len(shown)

    plain = LatentObservation(Frames(), ENCODER, **OPTIONS)
    plain.reset(seed=0)
    codes = torch.from_numpy(plain.step(0)[0])[None]
    recoded = RecodedCodes(plain.observation_space, recode=name)
    np.testing.assert_allclose(recoded(codes)[0], expected, atol=1e-5)
    assert recoded.features_dim == len(expected)


def test_pictures_of_a_dict_are_recoded_and_the_rest_passes_through() -> None:
    keys = ["front", "back"]
    env = LatentObservation(Frames(named=True), ENCODER, image_keys=keys, recode="expand")
    shown, _ = env.reset(seed=0)
    assert {key: part.shape for key, part in shown.items()} == {"front": (80,), "position": (2,), "back": (80,)}
    plain = LatentObservation(Frames(named=True), ENCODER, image_keys=keys)
    extractor = RecodedCodes(plain.observation_space, recode="expand")
    codes = {key: torch.from_numpy(part)[None] for key, part in plain.reset(seed=0)[0].items()}
    features = extractor(codes)[0].numpy()
    expected = np.concatenate([shown[key] for key in (*sorted(keys), "position")])
    assert extractor.features_dim == len(features) == 162
    np.testing.assert_array_equal(features, expected)


def test_the_space_says_what_was_recoded_and_how() -> None:
    space = CodeSpace(ENCODER, recode="expand")
    assert space.shape == (80,)
    assert space.made_by["recode"] == {"name": "expand", "width": 80, "seed": 0, "k": 8}
    assert space == CodeSpace(ENCODER, recode={"name": "expand", "k": 8})
    assert space != CodeSpace(ENCODER, recode={"name": "expand", "seed": 1})
    assert space != CodeSpace(ENCODER, recode="project")
    assert "recode={'name': 'expand', 'width': 80" in repr(space)
    # agents that were saved before there were recodings have no such entry
    assert "recode" not in CodeSpace(ENCODER).made_by
    env = LatentObservation(Frames(), ENCODER, recode="expand")
    assert env.spec is None
    assert env.latent_options.recode == space.made_by["recode"]
    assert env.latent_options.arguments()["recode"] == space.made_by["recode"]
    assert "recode" not in LatentObservation(Frames(), ENCODER).latent_options.arguments()


@pytest.mark.parametrize("kind", ["expand", "dictionary"])
@pytest.mark.parametrize("inside", [False, True])
def test_files_of_agents_hold_the_recoding(inside: bool, kind: str, tmp_path: Path) -> None:
    recode: Any = {"name": "expand", "width": 40, "seed": 3}
    file = tmp_path / "dictionary.safetensors"
    if kind == "dictionary":
        recode = str(DICTIONARY.save(file))
    wrapper = {} if inside else {"recode": recode}
    venv = make_latent_vec_env(Continuous, ENCODER, n_stack=2, seed=0, **wrapper)
    policy: dict[str, Any] = {"net_arch": [8]}
    if inside:
        policy |= {"features_extractor_class": RecodedCodes, "features_extractor_kwargs": {"recode": recode}}
    model = PPO("MlpPolicy", venv, n_steps=8, batch_size=8, device="cpu", seed=0, policy_kwargs=policy).learn(8)
    path = save_agent(tmp_path / "agent.zip", model)
    file.rename(tmp_path / "moved.safetensors") if file.exists() else None
    loaded, rebuilt = load_agent(path, DummyVecEnv([Continuous]), device="cpu")
    assert rebuilt is not None
    assert rebuilt.observation_space == venv.observation_space
    assert rebuilt.observation_space.shape == ((8,) if inside else (80,))
    for side in (venv, rebuilt):
        side.seed(1)
    expected = model.predict(venv.reset(), deterministic=True)[0]
    np.testing.assert_array_equal(loaded.predict(rebuilt.reset(), deterministic=True)[0], expected)
    if not inside:
        known = DICTIONARY if kind == "dictionary" else recode
        same = VecLatentObservation(DummyVecEnv([Continuous]), ENCODER, n_stack=2, recode=known)
        load_agent(path, same, device="cpu")
        for other in ({}, {"recode": "expand"}):
            with pytest.raises(ValueError, match="expected an environment wrapped with recode=") as refused:
                load_agent(path, VecLatentObservation(DummyVecEnv([Continuous]), ENCODER, n_stack=2, **other))
            assert len(str(refused.value)) < 500


def test_an_extractor_that_was_given_a_file_travels_without_it(tmp_path: Path) -> None:
    file = DICTIONARY.save(tmp_path / "dictionary.safetensors")
    extractor = {
        "features_extractor_class": LatentExtractor,
        "features_extractor_kwargs": {"encoder": ENCODER, "recode": str(file)},
    }
    venv = DummyVecEnv([Continuous])
    model = PPO("CnnPolicy", venv, n_steps=8, batch_size=8, device="cpu", policy_kwargs={**extractor, "net_arch": [8]})
    path = save_agent(tmp_path / "agent.zip", model)
    file.unlink()
    loaded, again = load_agent(path, venv, device="cpu")
    assert again is not None
    observation = again.reset()
    expected = model.predict(observation, deterministic=True)[0]
    np.testing.assert_array_equal(loaded.predict(observation, deterministic=True)[0], expected)


def test_a_dictionary_of_another_encoder_is_refused_with_both_fingerprints() -> None:
    other = make_encoder(3, code_size=4, source=32)
    ours, theirs = ENCODER.fingerprint[:12], other.fingerprint[:12]
    told = f"recode='dictionary' was fitted to codes of encoder {ours}, these are codes of encoder {theirs}"
    with pytest.raises(ValueError, match=told):
        CodeSpace(other, recode=DICTIONARY)
    with pytest.raises(ValueError, match=told):
        RecodedCodes(CodeSpace(other), recode=DICTIONARY)
    space = CodeSpace(ENCODER, recode=DICTIONARY)
    assert space == CodeSpace(ENCODER, recode=DICTIONARY.settings())
    assert space != CodeSpace(ENCODER, recode=_dictionary(seed=1))
    assert len(repr(space)) < 500


def test_a_replay_buffer_holds_codes_that_the_policy_recodes(tmp_path: Path) -> None:
    venv = make_latent_vec_env(Continuous, ENCODER, seed=0)
    policy = {
        "net_arch": [8],
        "features_extractor_class": RecodedCodes,
        "features_extractor_kwargs": {"recode": "expand"},
    }
    model = SAC("MlpPolicy", venv, buffer_size=50, learning_starts=4, device="cpu", seed=0, policy_kwargs=policy)
    model.learn(12)
    assert model.replay_buffer is not None
    assert model.replay_buffer.observations.nbytes == 50 * 4 * 4
    assert model.actor.features_extractor.features_dim == 80
    model.save(tmp_path / "agent.zip")
    again = SAC.load(tmp_path / "agent.zip", env=venv, device="cpu")
    observation = venv.reset()
    expected = model.predict(observation, deterministic=True)[0]
    np.testing.assert_array_equal(again.predict(observation, deterministic=True)[0], expected)


@pytest.mark.parametrize("named", [False, True])
def test_codes_that_vecnormalize_has_changed_are_not_recoded_silently(named: bool, tmp_path: Path) -> None:
    policy = {
        "net_arch": [8],
        "features_extractor_class": RecodedCodes,
        "features_extractor_kwargs": {"recode": "expand", "raw_keys": ["back"] if named else []},
    }

    def agent(**normalize: Any) -> PPO:
        options: dict[str, Any] = {"image_keys": ["front"]} if named else {}
        venv = VecLatentObservation(DummyVecEnv([lambda: Frames(named=named)]), ENCODER, **options)
        kind = "MultiInputPolicy" if named else "MlpPolicy"
        return PPO(kind, VecNormalize(venv, **normalize), n_steps=4, batch_size=4, device="cpu", policy_kwargs=policy)

    changed = agent(**({"norm_obs_keys": ["front", "position"]} if named else {}))
    for refused in (
        lambda: save_agent(tmp_path / "agent.zip", changed),
        lambda: require_same_codes(changed, changed.get_env()),
        lambda: changed.learn(4, callback=SameCodes(changed.get_env())),
        *(() if named else (lambda: export_agent(changed, tmp_path / "agent.pt2"),)),
    ):
        with pytest.raises(ValueError, match=r"RecodedCodes standardises .* norm_obs=False"):
            refused()
    assert not list(tmp_path.iterdir())
    for left in (agent(norm_obs=False), *((agent(norm_obs_keys=["position"]),) if named else ())):
        assert save_agent(tmp_path / "agent.zip", left).is_file()


def test_what_cannot_be_recoded_is_refused() -> None:
    with pytest.raises(ValueError, match="recode='expand' standardises the units by itself, got code_scaling='scale'"):
        LatentObservation(Frames(), ENCODER, recode="expand", code_scaling="scale")
    space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    with pytest.raises(ValueError, match=r"recode='one_hot' lets no gradient through.*take one of cosine, tiles"):
        LatentExtractor(space, ENCODER, trainable=True, recode="one_hot")
    LatentExtractor(space, ENCODER, trainable=True, recode="cosine")
    with pytest.raises(TypeError, match=r"RecodedCodes needs an environment that shows codes, got .*Box"):
        RecodedCodes(space, recode="expand")
    for options in ({"code_scaling": "scale"}, {"recode": "expand"}):
        with pytest.raises(ValueError, match="RecodedCodes needs codes as the encoder gives them"):
            RecodedCodes(CodeSpace(ENCODER, **options), recode="expand")  # type: ignore[arg-type]


def test_a_picture_beside_the_codes_is_not_taken_pixel_by_pixel_unless_asked_for() -> None:
    space = VecLatentObservation(
        DummyVecEnv([lambda: Frames(named=True)]), ENCODER, image_keys=["back"]
    ).observation_space
    with pytest.raises(
        TypeError, match=r"RecodedCodes: observation 'front' is a picture.*image_keys=\['front'\] of the"
    ):
        RecodedCodes(space, recode="expand")
    assert isinstance(space, gym.spaces.Dict)
    raw = gym.spaces.utils.flatdim(space["front"])
    others = sum(gym.spaces.utils.flatdim(part) for key, part in space.items() if key != "back")
    assert RecodedCodes(space, recode="expand", raw_keys=["front"]).features_dim == 80 + others
    assert raw > 1_000
