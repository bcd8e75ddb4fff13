"""Every task that no one here wrote, from its recording to an encoder's codes in several environments."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import envs  # noqa: F401 (registers the environments)
from envs.baselines import TASKS
from rl import make_latent_vec_env
from rl.record import RecordConfig, record
from sparse_repr import PretrainConfig, pretrain_encoder
from sparse_repr.data import load_dataset
from tests.envs.public_tasks import needs


@pytest.mark.parametrize("name", TASKS)
def test_from_a_recording_to_codes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(name)
    monkeypatch.chdir(tmp_path)
    environment, arguments = f"envs:SparseRepr/{name}-v0", {"image_size": 64}
    file = record(
        RecordConfig(
            env=environment, env_kwargs='{"image_size": 64}', frames=40, envs=2, out="frames.h5", progress=False
        )
    )
    data = load_dataset("h5", file)
    task = gym.make(environment, **arguments).unwrapped
    assert data.image_shape == (3, 64, 64)
    assert data.factor_names == task.get_wrapper_attr("factor_names")
    assert data.nominal_factors == task.get_wrapper_attr("nominal_factors")
    task.close()
    pretrain_encoder(
        PretrainConfig(dataset="h5", data_path=str(file), steps=2, batch_size=8, run_dir="run", progress=False)
    )
    venv = make_latent_vec_env(environment, "run", n_envs=2, env_kwargs=arguments)
    assert venv.reset().shape == (2, 10)
    _, _, _, infos = venv.step(np.zeros(2, int))
    assert {info["is_success"] for info in infos} == {False}
    venv.close()
    assert {path.name for path in tmp_path.iterdir()} == {"frames.h5", "run"}
