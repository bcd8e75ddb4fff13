"""Files that version 0.1 wrote (git 11f468d) load today, and mean what they meant: an encoder, a run, an agent.

The weights were rounded to multiples of 1/32 so that the files are small when compressed.
"""

from __future__ import annotations

import json
import lzma
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import envs  # noqa: F401  (registers the task)
from rl import load_agent
from sparse_repr import PretrainConfig, load_encoder, pretrain_encoder
from sparse_repr.data import FactorDataset
from sparse_repr.encoder.vae import load_vae

WRITTEN = Path(__file__).parent / "written_by_0_1"


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """What 0.1 computed with these files."""
    return dict(json.loads((WRITTEN / "expected.json").read_text()))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The run folder, after 1 of 2 steps."""
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(WRITTEN / "config.json", folder)
    for name in ("encoder.safetensors", "vae.safetensors", "state.pt"):
        (folder / name).write_bytes(lzma.decompress((WRITTEN / f"{name}.xz").read_bytes()))
    return folder


def test_encoder(run: Path, expected: dict[str, Any], dsprites: FactorDataset) -> None:
    encoder = load_encoder(run)
    assert encoder.fingerprint == expected["fingerprint"]
    codes = encoder.encode(dsprites.images(np.array(expected["items"])))
    np.testing.assert_allclose(codes, expected["codes"], atol=1e-5)
    vae, spec = load_vae(run)
    assert spec == encoder.spec
    with torch.no_grad():
        whole = vae.encoder(encoder.preprocessing(torch.from_numpy(dsprites.images(np.array(expected["items"])))))
    np.testing.assert_allclose(whole.mean.numpy(), expected["codes"], atol=1e-5)


def test_run_resumes(run: Path, expected: dict[str, Any], dsprites: FactorDataset) -> None:
    settings = PretrainConfig(
        image_size=32,
        code_size=4,
        steps=2,
        batch_size=8,
        run_dir=str(run),
        device="cpu",
        precision="float32",
        threads=1,
        progress=False,
        log_every=1,
        save_every=1,
        picture_every=1000,
        resume=True,
    )
    encoder = load_encoder(pretrain_encoder(settings, data=dsprites))
    codes = encoder.encode(dsprites.images(np.array(expected["items"])))
    np.testing.assert_allclose(codes, expected["codes_after_step_2"], atol=1e-5)


def test_agent(tmp_path: Path, expected: dict[str, Any]) -> None:
    path = tmp_path / "agent.zip"
    path.write_bytes(lzma.decompress((WRITTEN / "agent.zip.xz").read_bytes()))
    model, venv = load_agent(path, "SparseRepr/SpriteReach-v0", training=False)
    assert venv is not None
    codes = np.array(expected["action_of"], np.float32)
    action, _ = model.predict(venv.normalize_obs(codes), deterministic=True)  # type: ignore[attr-defined]
    np.testing.assert_allclose(action, expected["action"], atol=1e-6)
    assert venv.reset().shape == (1, 4)
