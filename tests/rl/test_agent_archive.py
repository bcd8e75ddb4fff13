"""What is read of an agent's file: options, statistics and description are checked before anything is built of them."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO

from rl import load_agent, make_latent_vec_env, save_agent
from rl.agent_archive import AgentArchive
from sparse_repr import FrozenEncoder
from tests.conftest import make_encoder
from tests.frame_envs import Frames
from tests.mutations import UNREADABLE


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PPO agent on stacked, normalised codes; do not write into it."""
    venv = make_latent_vec_env(Frames, make_encoder(3), seed=0, normalize=True, n_stack=2)
    agent = PPO("MlpPolicy", venv, n_steps=8, batch_size=8, device="cpu", seed=0, policy_kwargs={"net_arch": [8]})
    return save_agent(tmp_path_factory.mktemp("agents") / "agent.zip", agent)


def _changed(saved: Path, target: Path, **changes: bytes) -> Path:
    """A copy of the archive with members replaced; their dots are two underscores here."""
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in {**members, **{name.replace("__", "."): part for name, part in changes.items()}}.items():
            archive.writestr(name, content)
    return target


def _header(saved: Path, **changes: Any) -> bytes:
    with zipfile.ZipFile(saved) as archive:
        return json.dumps({**json.loads(archive.read("agent.json")), **changes}).encode()


def test_a_sound_file_is_read(saved: Path) -> None:
    found = AgentArchive.read(saved)
    assert found.wrapper == WRAPPER
    assert found.encoder == make_encoder(3)
    assert found.normalization is not None
    assert found.normalization.arrays["observation_mean"].shape == (8,)


WRAPPER = {
    "image_keys": None,
    "n_stack": 2,
    "code_scaling": "none",
    "include_log_variance": False,
    "keep_image": False,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_stack": 0}, "wrapper.n_stack needs a whole number of at least 1, found 0"),
        ({"n_stack": True}, "wrapper.n_stack needs a whole number of at least 1, found True"),
        ({"n_stack": "2"}, "wrapper.n_stack needs a whole number of at least 1, found '2'"),
        ({"code_scaling": "half"}, "wrapper.code_scaling needs one of none, scale, standardize, found 'half'"),
        ({"image_keys": "camera"}, "wrapper.image_keys needs a list or null, found 'camera'"),
        ({"image_keys": [1]}, r"wrapper.image_keys\[0\] needs text, found 1"),
        ({"include_log_variance": "False"}, "wrapper.include_log_variance needs true or false, found 'False'"),
        ({"keep_image": 0}, "wrapper.keep_image needs true or false, found 0"),
        ({"device": "cpu"}, "wrapper needs the entries .*, found an unknown 'device'"),
        ({"include_log_variance": True}, r"normalization.npz: expected statistics of shape \(16,\), .* found \(8,\)"),
        ({"n_stack": 3}, r"normalization.npz: expected statistics of shape \(12,\), as the codes have, found \(8,\)"),
    ],
)
def test_wrapper_options_are_checked_when_they_are_read(
    saved: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    header = _header(saved, wrapper={**WRAPPER, **changes})
    with pytest.raises(ValueError, match=rf"a\.zip, .*{message}"):
        AgentArchive.read(_changed(saved, tmp_path / "a.zip", agent__json=header))


@pytest.mark.parametrize("content", UNREADABLE)
def test_a_description_that_is_none_is_named(content: bytes, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.zip, agent\.json is damaged: "):
        AgentArchive.read(_changed(saved, tmp_path / "a.zip", agent__json=content))


def test_an_option_that_the_encoder_cannot_have_is_named(saved: Path, tmp_path: Path) -> None:
    encoder = make_encoder(3)
    units = dataclasses.replace(encoder.spec.units, active=(False,) * 4)
    dead = FrozenEncoder(dataclasses.replace(encoder.spec, units=units), encoder.network().state_dict())
    header = _header(saved, wrapper={**WRAPPER, "code_scaling": "scale"}, encoder=dead.fingerprint)
    changed = _changed(saved, tmp_path / "a.zip", agent__json=header, encoder__safetensors=dead.to_bytes())
    with pytest.raises(ValueError, match=r"a\.zip, agent\.json: code_scaling='scale' needs active units"):
        AgentArchive.read(changed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation_mean": np.full(8, np.nan)}, "observation needs finite means and finite variances of at least 0"),
        ({"observation_variance": np.full(8, -1.0)}, "observation needs finite means and finite variances of at least"),
        (
            {"observation_variance": np.ones(7)},
            r".*of shape \(7,\) for observation, found \(8,\) and \(7",
        ),
        ({"observation_count": np.array(0.0)}, "observation_count needs a positive number, found 0.0"),
        ({"observation_count": np.ones(2)}, r"observation_count needs a positive number, found \[1.0, 1.0\]"),
        ({"observation_mean": np.array(["0"] * 8)}, "observation_mean needs float64, found <U1"),
        ({"observation_mean": np.zeros(8, np.float32)}, "observation_mean needs float64, found float32"),
        (
            {"returns_mean": np.zeros(3), "returns_variance": np.ones(3)},
            r".*of shape \(\) for returns",
        ),
        ({"returns_variance": np.array(np.inf)}, "returns needs finite means"),
        ({"clip_obs": np.array(-1.0)}, "clip_obs needs a positive number, found -1.0"),
        ({"clip_reward": np.array(np.nan)}, "clip_reward needs a positive number, found nan"),
        ({"gamma": np.array(1.5)}, r"gamma needs a number in 0\.\.1, found 1.5"),
        ({"epsilon": np.array(-1e-8)}, "epsilon needs a finite number of at least 0, found -1e-08"),
        ({"other": np.array(0.0)}, "expected no entries but .*, found other"),
        ({"returns_count": None}, "expected an entry 'returns_count', found"),
    ],
)
def test_statistics_are_checked_when_they_are_read(
    saved: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with zipfile.ZipFile(saved) as archive, np.load(io.BytesIO(archive.read("normalization.npz"))) as arrays:
        parts = {name: value for name, value in {**arrays, **changes}.items() if value is not None}
    content = io.BytesIO()
    np.savez(content, **parts)
    with pytest.raises(ValueError, match=rf"a\.zip, normalization\.npz: {message}"):
        AgentArchive.read(_changed(saved, tmp_path / "a.zip", normalization__npz=content.getvalue()))


def test_settings_of_the_statistics_are_checked_when_they_are_read(saved: Path, tmp_path: Path) -> None:
    settings = {"norm_obs": True, "norm_reward": True, "norm_obs_keys": None}
    for changes, message in (
        ({"norm_obs": "False"}, "norm_obs needs true or false, found 'False'"),
        ({"norm_reward": 1}, "norm_reward needs true or false, found 1"),
        ({"norm_obs_keys": "image"}, "norm_obs_keys needs a list or null, found 'image'"),
        ({"norm_obs": False}, "expected no entries but .*, found observation_count"),
        ({"norm_obs_keys": ["image"]}, "expected an entry 'observation_0_mean'"),
    ):
        changed = _changed(saved, tmp_path / "a.zip", agent__json=_header(saved, normalization={**settings, **changes}))
        with pytest.raises(ValueError, match=rf"a\.zip, normalization\.npz: .*{message}"):
            AgentArchive.read(changed)


def test_archives_that_can_grow_are_refused(saved: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=r"a\.zip: expected a file that save_agent wrote, .* is compressed"):
        load_agent(tmp_path / "a.zip")
