"""Forked workers that compute with torch, in a process that has two threads: the tests' own process has one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sparse_repr import save_encoder
from tests.conftest import make_encoder

SCRIPT = """
import multiprocessing, sys, warnings
import gymnasium as gym
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset
from stable_baselines3.common.vec_env import SubprocVecEnv

from rl import LatentExtractor, LatentObservation
from sparse_repr import load_encoder
from sparse_repr.devices import cpu_threads
from sparse_repr.metrics import psnr
from tests.conftest import make_encoder
from tests.frame_envs import Frames, picture

warnings.simplefilter("ignore")
torch.set_num_threads(2)
encoder = make_encoder(3)
images = np.stack([picture(0, step) for step in range(16)])
expected = encoder.encode(images)  # starts the threads
context = multiprocessing.get_context("fork")


def forked(work):
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sending.send(work()), daemon=True)
    process.start()
    return receiving.recv()


def same(found, steps):
    np.testing.assert_allclose(found, expected[steps], atol=1e-5)


def env():
    return LatentObservation(Frames(length=9), encoder)


def extract():
    space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    return LatentExtractor(space, encoder)(torch.from_numpy(images) / 255).numpy()


def fine_tune():
    space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    return LatentExtractor(space, encoder, trainable=True)(torch.from_numpy(images) / 255).detach().numpy()


def load():
    return load_encoder(sys.argv[1]).encode(images)


def threads():
    encoder.encode(images[:1])
    with cpu_threads(2) as inside:
        return torch.get_num_threads(), inside


print("encode")
same(forked(lambda: encoder.encode(images)), slice(None))
print("load and encode")
same(forked(load), slice(None))
print("extractor")
same(forked(extract), slice(None))
same(forked(fine_tune), slice(None))
print("threads")
assert forked(threads) == (1, 1), forked(threads)
print("metrics")
assert forked(lambda: psnr(images, images // 2, data_range=255)) == psnr(images, images // 2, data_range=255)
print("AsyncVectorEnv")
vector = gym.vector.AsyncVectorEnv([env] * 2, context="fork")
same(vector.reset(seed=[0, 0])[0], [0, 0])
same(vector.step(np.zeros(2, np.int64))[0], [1, 1])
vector.close()
print("SubprocVecEnv")
venv = SubprocVecEnv([env] * 2, start_method="fork")
venv.seed(0)
same(venv.reset(), [0, 0])
same(venv.step(np.zeros(2, np.int64))[0], [1, 1])
venv.close()
print("DataLoader")
batches = DataLoader(
    TensorDataset(torch.from_numpy(images)),
    batch_size=16,
    num_workers=1,
    multiprocessing_context="fork",
    collate_fn=lambda rows: encoder.encode(np.stack([row[0] for row in rows])),
)
same(next(iter(batches)), slice(None))
print("the parent")
assert torch.get_num_threads() == 2
same(encoder.encode(images), slice(None))
with cpu_threads(None) as inside:
    assert inside == 2
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked on POSIX systems alone")
def test_forked_workers_encode_where_the_parent_has_threads(tmp_path: Path) -> None:
    path = save_encoder(make_encoder(3), tmp_path / "encoder.safetensors")
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", SCRIPT, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=180)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
    assert output.splitlines()[-1:] == ["done"], output
    assert process.returncode == 0
