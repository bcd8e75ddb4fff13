"""Damaged files of each of our formats: every one is refused by name, or means what the sound one means."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from stable_baselines3 import PPO

from rl import make_latent_vec_env, save_agent
from rl.agent_archive import AgentArchive
from sparse_repr import FrozenEncoder, load_encoder
from sparse_repr.artefact import parse, serialise
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.encoder.vae import load_vae
from sparse_repr.evaluate.comparison import comparison_csv, comparison_markdown, comparison_rows
from sparse_repr.evaluate.report import read_report, summary
from sparse_repr.evaluate.run import EvaluateConfig, evaluate_run
from sparse_repr.explore import ActingNetwork, AgentFilm
from sparse_repr.pretrain.run_folder import differing_settings, read_settings
from sparse_repr.pretrain.trainer import Trainer
from sparse_repr.pretrain.training_state import read_state
from tests.conftest import make_encoder, rectangles_config
from tests.frame_envs import Frames
from tests.mutations import json_mutations, load_or_refusal, mutations

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 1, 32, 32), dtype=np.uint8)
Codes = npt.NDArray[np.float32]


@pytest.fixture(params=[40, pytest.param(300, marks=pytest.mark.slow)])
def count(request: pytest.FixtureRequest) -> int:
    """Files of each format."""
    return int(request.param)


@pytest.fixture
def copied(rectangles_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(rectangles_run, tmp_path / "run"))


def _check(
    path: Path, damages: Iterator[tuple[str, bytes]], load: Callable[[], Any], same: Callable[[Any], bool]
) -> None:
    """Every damaged `path` is refused by its name, or what is loaded is what the sound one holds."""
    for done, content in damages:
        path.write_bytes(content)
        found, refusal = load_or_refusal(load)
        if refusal:
            assert str(path.parent) in refusal, f"{done}: {refusal}"
            assert path.name in refusal, f"{done}: {refusal}"
            assert "\n" not in refusal, f"{done}: {refusal}"
        else:
            assert same(found), f"{done}: loaded with another meaning"


def test_encoder(copied: Path, count: int) -> None:
    path = copied / "encoder.safetensors"
    expected = load_encoder(copied)
    codes = expected.encode(IMAGES)

    def same(found: FrozenEncoder) -> bool:
        return found == expected and np.array_equal(found.encode(IMAGES), codes)

    _check(path, mutations(path.read_bytes(), count), lambda: load_encoder(path), same)


def test_header_of_an_encoder(copied: Path, count: int) -> None:
    """Headers of which one entry is another, in files that are sound otherwise."""
    path = copied / "encoder.safetensors"
    tensors, header = parse(path.read_bytes(), str(path), "encoder")
    sound = path.read_bytes()
    written = json.loads(_described(sound))

    def rewritten() -> Iterator[tuple[str, bytes]]:
        for done, text in json_mutations(written, count):
            yield done, _with_header(sound, text)

    expected = load_encoder(path)
    _check(path, rewritten(), lambda: load_encoder(path), lambda found: found == expected)
    for done, text in json_mutations(header, count, seed=1):
        try:
            content = serialise(tensors, json.loads(text))
        except (ValueError, TypeError, RecursionError):
            continue  # not even a header that could be written
        path.write_bytes(content)
        _, refusal = load_or_refusal(lambda: load_encoder(path))
        assert not refusal or str(path) in refusal, done


def _described(content: bytes) -> str:
    length = int.from_bytes(content[:8], "little")
    return str(json.loads(content[8 : 8 + length])["__metadata__"]["sparse_repr"])


def _with_header(content: bytes, text: bytes) -> bytes:
    """A safetensors file whose header is another text."""
    length = int.from_bytes(content[:8], "little")
    outer = json.loads(content[8 : 8 + length])
    outer["__metadata__"]["sparse_repr"] = text.decode("utf-8", errors="replace")
    spelled = json.dumps(outer).encode()
    spelled += b" " * (-len(spelled) % 8)
    return len(spelled).to_bytes(8, "little") + spelled + content[8 + length :]


def test_film_of_an_agent(tmp_path: Path, count: int) -> None:
    path = tmp_path / "film.safetensors"
    random = np.random.default_rng(0)
    layers = [
        {"op": "linear", "weight": torch.ones(2, 3), "bias": torch.zeros(2)},
        {"op": "clamp", "low": -1, "high": 1},
    ]
    film = AgentFilm(
        encoder="ab" * 32,
        caption="PPO",
        frames=random.integers(0, 256, (4, 1, 8, 8), dtype=np.uint8),
        codes=random.standard_normal((4, 3)).astype(np.float32),
        actions=np.zeros((4, 2), np.float32),
        steps=np.arange(4),
        returns=np.zeros(4, np.float32),
        bounds=([-1.0, -1.0], [1.0, 1.0]),
        action_names=("right", "down"),
        policy=ActingNetwork([], layers, 1, "numbers", 2),
    )
    film.save(path)
    tensors, header = parse(path.read_bytes(), str(path), "agent_film")

    def same(found: AgentFilm) -> bool:
        return bool(np.array_equal(found.frames, film.frames) and np.array_equal(found.codes, film.codes))

    _check(path, mutations(path.read_bytes(), count), lambda: AgentFilm.load(path), same)
    for done, text in json_mutations(header, count, seed=1):
        try:
            content = serialise(tensors, json.loads(text))
        except (ValueError, TypeError, RecursionError):
            continue  # not even a header that could be written
        path.write_bytes(content)
        _, refusal = load_or_refusal(lambda: AgentFilm.load(path))
        assert not refusal or str(path) in refusal, done


def test_vae(copied: Path, count: int) -> None:
    path = copied / "vae.safetensors"
    expected = load_vae(copied)[0].state_dict()

    def same(found: Any) -> bool:
        return all(torch.equal(tensor, expected[name]) for name, tensor in found[0].state_dict().items())

    _check(path, mutations(path.read_bytes(), count), lambda: load_vae(copied), same)


def test_training_state(copied: Path, rectangles: Path, count: int) -> None:
    """Nothing but the sound state is taken by a trainer."""
    path = copied / "state.pt"
    data: FactorDataset = load_dataset("folder", str(rectangles))
    trainer = Trainer(rectangles_config(rectangles, copied).resolve(), data)
    expected = _bits(read_state(path))

    def load() -> dict[str, Any]:
        trainer.load_state(read_state(path))
        return trainer.state()

    _check(path, mutations(path.read_bytes(), count), load, lambda found: _bits(found) == expected)


def _bits(value: Any) -> Any:
    """A value whose comparison with == compares every bit of its tensors."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {name: _bits(entry) for name, entry in value.items()}
    return [_bits(entry) for entry in value] if isinstance(value, list | tuple) else value


def test_config(copied: Path, rectangles: Path, count: int) -> None:
    """Resuming takes only what equals the settings asked for; evaluation what is of the encoder beside it."""
    path = copied / "config.json"
    sound = json.loads(path.read_text())
    settings = read_settings(copied)  # what happened to the run is none of them
    config = rectangles_config(rectangles, copied, resume=True).resolve()
    whatever_else = {"steps", "log_every", "picture_every", "save_every", "step_graph"}

    def as_resumed() -> dict[str, Any]:
        different = differing_settings(copied, config)
        if different:
            raise ValueError(f"{path}: {different}"[:500])
        return read_settings(copied)

    def same(found: dict[str, Any]) -> bool:
        return all(found.get(name) == value for name, value in settings.items() if name not in whatever_else)

    _check(path, json_mutations(sound, count), as_resumed, same)
    _check(path, mutations(json.dumps(sound, indent=2).encode(), count), as_resumed, same)
    used = ("dataset", "objective", "seed", "code_size")

    def as_evaluated() -> dict[str, Any]:
        settings = read_settings(copied)
        return {name: settings[name] for name in used}

    for done, content in json_mutations(sound, count, seed=2):
        path.write_bytes(content)
        found, refusal = load_or_refusal(as_evaluated)
        assert found is not None or str(path) in refusal, done


@pytest.fixture(scope="module")
def report(rectangles_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(rectangles_run, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return evaluate_run(EvaluateConfig(str(folder), progress=False, lpips_items=0, device="cpu", threads=1))


def test_metrics(report: dict[str, Any], tmp_path: Path, count: int) -> None:
    """Its numbers are free, its entries are not: what is read can be tabled."""
    path = tmp_path / "metrics.json"
    for done, content in json_mutations(report, count):
        path.write_bytes(content)
        found, refusal = load_or_refusal(lambda: read_report(tmp_path))
        assert found is not None or str(path) in refusal, done
        if found is not None:
            rows = comparison_rows({"run": found}, {})
            assert comparison_csv(rows), done
            assert comparison_markdown(rows), done
            assert summary(found), done


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    venv = make_latent_vec_env(Frames, make_encoder(3), seed=0, normalize=True)
    model = PPO("MlpPolicy", venv, n_steps=8, batch_size=8, device="cpu", seed=0, policy_kwargs={"net_arch": [8]})
    return save_agent(tmp_path_factory.mktemp("agents") / "agent.zip", model)


def test_agent(agent: Path, tmp_path: Path, count: int) -> None:
    path = tmp_path / "agent.zip"
    expected = AgentArchive.read(agent)
    assert expected.normalization is not None
    statistics = {name: array.tobytes() for name, array in expected.normalization.arrays.items()}

    def same(found: AgentArchive) -> bool:
        assert found.normalization is not None
        return (found.algorithm, found.model, found.encoder, found.wrapper, found.environment) == (
            expected.algorithm,
            expected.model,
            expected.encoder,
            expected.wrapper,
            expected.environment,
        ) and {name: array.tobytes() for name, array in found.normalization.arrays.items()} == statistics

    _check(path, mutations(agent.read_bytes(), count), lambda: AgentArchive.read(path), same)
