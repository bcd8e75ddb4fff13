"""Runs that the explorer shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sparse_repr import PretrainConfig, pretrain_encoder
from tests.browser import Browser


@pytest.fixture(scope="session")
def keypoints_run(rectangles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 2 steps of keypoints on `rectangles`: 1x32x32, K = 32; do not write into it."""
    return pretrain_encoder(
        PretrainConfig(
            dataset="folder",
            data_path=str(rectangles),
            run_dir=str(tmp_path_factory.mktemp("runs") / "keypoints"),
            objective="sparse_keypoints",
            image_size=32,
            batch_size=8,
            steps=2,
            step_graph="none",
            precision="float32",
            device="cpu",
            threads=1,
            progress=False,
        )
    )


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as found:
        yield found
