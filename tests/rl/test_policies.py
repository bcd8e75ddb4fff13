"""Policies by name, and the hyper-parameter files that name them (trap 19)."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import sb3_contrib
import stable_baselines3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

import rl.contrib_policies
import rl.policies
from rl import LatentExtractor, LatentObservation, VecLatentObservation
from rl.policies import LatentActorCriticPolicy, LatentPolicy
from sparse_repr import FrozenEncoder
from tests import ROOT
from tests.conftest import make_encoder

FILES = sorted((ROOT / "rl/rl_zoo3").glob("*.yml"))
CONTINUOUS = "envs:SparseRepr/SpriteReach-v0"


def _import(name: str) -> Any:
    """As rl_zoo3 resolves `policy` and wrappers: everything before the last dot is a module."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _wrapped(env: Any, wrappers: list[dict[str, dict[str, Any]]]) -> Any:
    for entry in wrappers:
        ((name, arguments),) = entry.items()
        env = _import(name)(env, **arguments)
    return env


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    yaml = pytest.importorskip("yaml")
    ((env, settings),) = yaml.safe_load(file.read_text(encoding="utf-8")).items()
    return env, settings


def _build(file: Path) -> Any:
    """The model as rl_zoo3 builds it: wrappers, `VecNormalize`, then all that is left goes to the algorithm."""
    env, settings = _read(file)
    wrappers = settings.pop("env_wrapper", [])
    venv = make_vec_env(
        f"envs:{env}", n_envs=settings.pop("n_envs", 1), wrapper_class=lambda inner: _wrapped(inner, wrappers)
    )
    venv = _wrapped(venv, settings.pop("vec_env_wrapper", []))
    if "normalize" in settings:
        venv = VecNormalize(venv, gamma=settings["gamma"], **eval(settings.pop("normalize")))
    del settings["n_timesteps"]
    if "." in settings["policy"]:
        settings["policy"] = _import(settings["policy"])
    if isinstance(settings.get("learning_rate"), str):
        settings["learning_rate"] = float(settings["learning_rate"].removeprefix("lin_"))
    assert not isinstance(settings["policy_kwargs"], str)  # rl_zoo3 would evaluate it in its own namespace
    algorithm = getattr(stable_baselines3, file.stem.split("_")[0].upper())
    return algorithm(env=venv, device="cpu", seed=0, **settings)


@pytest.fixture
def run_folder(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the files expect `runs/sparse`."""
    (tmp_path / "runs").mkdir()
    shutil.copytree(tiny_run, tmp_path / "runs/sparse")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_trap_19_the_hyper_parameter_files_build_agents_with_the_encoder(file: Path, run_folder: Path) -> None:
    model = _build(file)
    if file.stem.endswith("_wrapper"):
        assert model.observation_space.shape == (10,)
    else:
        encoder = next(m.encoder for m in model.policy.modules() if isinstance(m, LatentExtractor))
        assert encoder == FrozenEncoder.from_bytes((run_folder / "runs/sparse/encoder.safetensors").read_bytes())
    action, _ = model.predict(model.get_env().reset(), deterministic=True)
    assert len(action) == model.n_envs


def test_trap_19_there_is_a_file_for_each_way_in() -> None:
    assert {file.stem for file in FILES} == {"ppo_wrapper", "ppo_extractor", "sac_wrapper", "dqn_extractor"}
    text = "".join(file.read_text(encoding="utf-8") for file in FILES)
    for wrapper in (VecLatentObservation, LatentObservation):
        assert f"{wrapper.__module__}.{wrapper.__name__}:" in text


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("rl_zoo3") is None, reason="needs the extra zoo")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_trap_19_rl_zoo3_trains_with_the_file(file: Path, run_folder: Path) -> None:
    env, _ = _read(file)
    arguments = ["--algo", file.stem.split("_")[0], "--env", env, "--gym-packages", "envs", "--conf-file", str(file)]
    command = [sys.executable, "-m", "rl_zoo3.train", *arguments, "-n", "600", "--eval-freq", "300", "--seed", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert list((run_folder / "logs").rglob("best_model.zip"))  # it was evaluated under the same wrappers
    assert list((run_folder / "logs").rglob("SparseRepr-*.zip"))


def _policies() -> list[type[LatentPolicy]]:
    found = []
    for module in (rl.policies, rl.contrib_policies):
        found += [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, LatentPolicy)
            and value is not LatentPolicy
            and value.__module__ == module.__name__
        ]
    return found


# every policy class -> the algorithms it says it is for
USERS = {
    "LatentActorCriticPolicy": ("PPO", "A2C", "TRPO"),
    "LatentDQNPolicy": ("DQN",),
    "LatentSACPolicy": ("SAC",),
    "LatentTD3Policy": ("TD3", "DDPG"),
    "LatentMaskableActorCriticPolicy": ("MaskablePPO",),
    "LatentRecurrentActorCriticPolicy": ("RecurrentPPO",),
    "LatentQRDQNPolicy": ("QRDQN",),
    "LatentTQCPolicy": ("TQC",),
}


def test_every_policy_is_listed() -> None:
    assert {policy.__name__ for policy in _policies()} == set(USERS)


@pytest.mark.parametrize("policy", _policies(), ids=lambda policy: policy.__name__)
def test_trap_19_policies_by_class_hold_the_encoder_under_defaults(policy: type[LatentPolicy], tmp_path: Path) -> None:
    encoder = make_encoder()
    content = encoder.to_bytes()
    discrete = policy.__name__ in ("LatentDQNPolicy", "LatentQRDQNPolicy")
    env_id = "envs:SparseRepr/SpriteReach-Discrete-v0" if discrete else CONTINUOUS
    for name in USERS[policy.__name__]:
        algorithm = getattr(stable_baselines3, name, None) or getattr(sb3_contrib, name)
        settings = {"buffer_size": 8} if hasattr(algorithm, "load_replay_buffer") else {"n_steps": 128}
        if name == "MaskablePPO":
            env_id = "envs:SparseRepr/SpriteReach-Discrete-v0"
        kwargs = {"features_extractor_kwargs": {"encoder": encoder}}
        model = algorithm(policy, gym.make(env_id), policy_kwargs=kwargs, device="cpu", seed=0, **settings)
        extractors = [module for module in model.policy.modules() if isinstance(module, LatentExtractor)]
        assert extractors
        assert all(extractor.encoder is encoder for extractor in extractors)
        assert encoder.to_bytes() == content
        image = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8)
        expected, _ = model.predict(image, deterministic=True)
        model.save(tmp_path / "agent.zip")
        loaded = algorithm.load(tmp_path / "agent.zip", device="cpu")
        assert type(loaded.policy) is policy
        assert np.array_equal(loaded.predict(image, deterministic=True)[0], expected)


def test_a_policy_without_an_encoder_says_how_to_give_one() -> None:
    with pytest.raises(TypeError, match=r"LatentActorCriticPolicy needs policy_kwargs=.*'encoder'.*got \[\]"):
        stable_baselines3.PPO(LatentActorCriticPolicy, gym.make(CONTINUOUS), device="cpu")
