"""The tests of the traps run twice: for an encoder of ours, and for one that was made of a network of others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sparse_repr import FrozenEncoder, load_encoder, save_encoder
from tests.conftest import make_encoder


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every `test_trap_...` is given both kinds of encoders."""
    if metafunc.function.__name__.startswith("test_trap"):
        if "encoder_kind" not in metafunc.fixturenames:
            metafunc.fixturenames.append("encoder_kind")
        metafunc.parametrize("encoder_kind", ["own", "foreign"], indirect=True, scope="session")


@pytest.fixture
def tiny_run(encoder_kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, or a folder that holds an encoder of a network of others; do not write into it."""
    if encoder_kind == "own":
        found: Path = request.getfixturevalue("own_tiny_run")
        return found
    folder = tmp_path_factory.mktemp("foreign")
    encoder = make_encoder(code_size=10)
    spec = dataclasses.replace(encoder.spec, dataset={"name": "tiny", "factor_names": []})  # not what others make
    save_encoder(FrozenEncoder(spec, encoder.network().state_dict()), folder / "encoder.safetensors")
    return folder


@pytest.fixture
def tiny_encoder(tiny_run: Path) -> FrozenEncoder:
    """1x64x64, D = 10."""
    return load_encoder(tiny_run)
