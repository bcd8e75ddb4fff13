"""Fixtures shared by the tests: one drawn grid, one tiny trained run, small encoders."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import gymnasium as gym
import numpy as np
import pytest
import torch

import envs  # noqa: F401 - registers the tasks that `short_episodes` shortens
from sparse_repr import FrozenEncoder, PretrainConfig, load_encoder, pretrain_encoder, untrained_encoder
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.files import cache_folder
from sparse_repr.perceptual.vgg_weights import CONVOLUTIONS
from tests.foreign_encoders import make_foreign_encoder
from tests.small_pictures import encode, write_folder

_HERE = Path(__file__).parent
STATISTICS_ITEMS = 500
"""Images that the statistics of units are over, instead of 10,000 at the end of every run."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a CUDA device where there is none, and begin with the files of the package as a whole.

    Those take longest for a file, and a process that comes to them last is waited for by all others.
    """
    items.sort(key=lambda item: len(item.path.relative_to(_HERE).parts) > 1)
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu") is not None:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session", autouse=True)
def _isolated_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches go to a temporary folder, the user's data is not looked at, one thread computes, and units are described
    over a few images."""
    patch = pytest.MonkeyPatch()
    # the processes of one run of the suite share it, so that dSprites is drawn once
    base = tmp_path_factory.getbasetemp()
    cache = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    cache.mkdir(exist_ok=True)
    patch.setenv("SPARSE_REPR_CACHE", str(cache))
    patch.delenv("SPARSE_REPR_DATA", raising=False)
    patch.setattr("sparse_repr.encoder.statistics._STATISTICS_ITEMS", STATISTICS_ITEMS)
    torch.set_num_threads(1)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def dsprites(_isolated_environment: None) -> FactorDataset:
    """The full drawn grid."""
    with filelock.FileLock(cache_folder() / "dsprites.lock"):
        return load_dataset("dsprites")


TINY = PretrainConfig(steps=40, batch_size=16, log_every=10, save_every=20, precision="float32", progress=False)


@pytest.fixture(scope="session")
def own_tiny_run(dsprites: FactorDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 40 steps; do not write into it."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return pretrain_encoder(dataclasses.replace(TINY, run_dir=str(folder)))


@pytest.fixture(scope="session")
def tiny_run(own_tiny_run: Path) -> Path:
    """`own_tiny_run`; the traps of tests/rl run for another kind of encoder, too."""
    return own_tiny_run


_MADE = {"kind": "own"}


@pytest.fixture(scope="session")
def encoder_kind(request: pytest.FixtureRequest) -> str:
    """Whose networks `make_encoder` makes: ``own`` or ``foreign``."""
    _MADE["kind"] = getattr(request, "param", "own")
    return _MADE["kind"]


@pytest.fixture(autouse=True)
def _encoders_of_this_kind(request: pytest.FixtureRequest) -> Iterator[None]:
    """What an earlier test asked for is forgotten."""
    callspec = getattr(request.node, "callspec", None)
    _MADE["kind"] = callspec.params.get("encoder_kind", "own") if callspec else "own"
    yield
    _MADE["kind"] = "own"


@pytest.fixture(scope="session")
def tiny_encoder(tiny_run: Path) -> FrozenEncoder:
    """The encoder of `tiny_run`: 1x64x64, D = 10."""
    return load_encoder(tiny_run)


def make_encoder(channels: int = 1, size: int = 64, source: int | None = None, code_size: int = 4) -> FrozenEncoder:
    """An untrained encoder whose weights depend on nothing but the arguments; of a network of others in `foreign`."""
    if _MADE["kind"] == "foreign":
        return make_foreign_encoder(channels, size, source, code_size)
    return untrained_encoder(channels, size=size, source=source, code_size=code_size)


@pytest.fixture(scope="session")
def random_vgg(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of VGG16 with random weights."""
    generator = torch.Generator().manual_seed(0)
    widths = itertools.pairwise([3, *CONVOLUTIONS.values()])
    state = {}
    for place, (width, out) in zip(CONVOLUTIONS, widths, strict=True):
        state[f"features.{place}.weight"] = (
            torch.randn(out, width, 3, 3, generator=generator) * (2 / (9 * width)) ** 0.5
        )
        state[f"features.{place}.bias"] = torch.zeros(out)
    path = tmp_path_factory.mktemp("vgg") / "vgg.pth"
    torch.save(state, path)
    return str(path)


SHORT = 5
"""Steps after which an episode is truncated by `short_episodes`."""


@pytest.fixture
def short_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Episodes of our tasks end after `SHORT` steps, so that agents are judged in a moment."""
    for name, spec in list(gym.registry.items()):
        if name.startswith("SparseRepr/"):
            monkeypatch.setitem(gym.registry, name, dataclasses.replace(spec, max_episode_steps=SHORT))


@pytest.fixture(scope="session")
def rectangles(_isolated_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 grey pictures, 32x32, of a bright rectangle."""
    members = {}
    for item in range(40):
        pixels = np.zeros((32, 32), np.uint8)
        top, left = np.random.default_rng(item).integers(0, 20, 2)
        pixels[top : top + 10, left : left + 6 + item % 5] = 255
        members[f"{item:02}.png"] = encode(pixels)
    return write_folder(tmp_path_factory.mktemp("rectangles") / "own", members)


@pytest.fixture
def small_study(rectangles: Path, tmp_path: Path) -> PretrainConfig:
    """Settings of runs that cost a second: 20 steps on `rectangles`, every loss logged."""
    return PretrainConfig(
        dataset="folder",
        data_path=str(rectangles),
        run_dir=str(tmp_path / "study"),
        image_size=32,
        batch_size=8,
        steps=20,
        log_every=1,
        save_every=10,
        picture_every=7,
        precision="float32",
        device="cpu",
        threads=1,
        progress=False,
    )


@pytest.fixture(scope="session")
def rectangles_run(rectangles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 2 steps on `rectangles`: 1x32x32, D = 3; do not write into it."""
    return pretrain_encoder(rectangles_config(rectangles, tmp_path_factory.mktemp("runs") / "rectangles"))


def rectangles_config(rectangles: Path, folder: Path, **changes: Any) -> PretrainConfig:
    """Settings of `rectangles_run`, in another folder or with changes."""
    return PretrainConfig(
        dataset="folder",
        data_path=str(rectangles),
        run_dir=str(folder),
        image_size=32,
        batch_size=8,
        code_size=3,
        steps=2,
        step_graph="none",
        precision="float32",
        device="cpu",
        threads=1,
        progress=False,
        **changes,
    )
