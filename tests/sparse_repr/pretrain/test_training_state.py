"""state.pt and the two weight files of a run: what is damaged or of another run is refused, and the remedy works."""

from __future__ import annotations

import copy
import dataclasses
import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparse_repr import load_encoder, pretrain_encoder
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.encoder.vae import load_vae
from sparse_repr.objectives import OBJECTIVES
from sparse_repr.pretrain.__main__ import main
from sparse_repr.pretrain.trainer import Trainer
from sparse_repr.pretrain.training_state import read_state
from tests import fetching_nothing
from tests.conftest import rectangles_config


@pytest.fixture(scope="module")
def pictures(rectangles: Path) -> FactorDataset:
    return load_dataset("folder", str(rectangles))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return type(one) is type(other) and one == other


def test_a_flipped_bit_is_noticed_wherever_it_is(rectangles_run: Path, tmp_path: Path) -> None:
    content, path = (rectangles_run / "state.pt").read_bytes(), tmp_path / "state.pt"
    sound = read_state(rectangles_run / "state.pt")
    refused = 0
    for place in np.linspace(0, len(content) - 1, 50).astype(int):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(bytes(damaged))
        try:
            assert _equal(read_state(path), sound)  # what is between the entries means nothing
        except ValueError as error:
            assert f"{path}: not a readable training state (" in f"{error}"  # noqa: PT017
            refused += 1
    assert refused > 40


def test_archives_that_could_grow_or_mean_two_things_are_refused(rectangles_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    with zipfile.ZipFile(rectangles_run / "state.pt") as archive:
        members = [(member.filename, archive.read(member)) for member in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=r"state\.pt: not a readable training state \(.* is compressed"):
        read_state(path)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(*members[0])
    with pytest.raises(ValueError, match="a name stands there twice"):
        read_state(path)


@pytest.mark.parametrize(
    "content",
    [None, [], {}, {"step": 1}, {"step": "1", "objective": {}, "generator": torch.zeros(1)}]
    + [{"step": step, "objective": {}, "generator": torch.zeros(1)} for step in (-1, True, 1.0)]
    + [{"step": 1, "objective": [], "generator": torch.zeros(1)}, {"step": 1, "objective": {}, "generator": b"0"}],
)
def test_what_is_no_training_state_is_named(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"state\.pt: expected a training state, found something else; copy it again"):
        read_state(path)


def _replaced(state: dict[str, Any], place: str, value: Callable[[Any], Any]) -> dict[str, Any]:
    changed = copy.deepcopy(state)
    part: Any = changed
    *steps, last = place.split("/")
    for step in steps:
        part = part[int(step) if step.isdigit() else step]
    key = int(last) if last.isdigit() else last
    part[key] = value(part[key])
    return changed


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("objective/vae/encoder.posterior.bias", lambda _: torch.zeros(5), r"encoder\.posterior\.bias needs a tensor "),
        ("objective/vae/encoder.posterior.bias", lambda found: found.double(), r"\(6,\) torch\.float32, found \(6,\) "),
        ("objective/vae/encoder.posterior.bias", lambda found: found * torch.nan, "needs finite numbers, found NaN"),
        ("objective/vae/encoder.posterior.bias", lambda _: [0.0], "needs a tensor .*, found list"),
        ("objective/vae", lambda _: {}, r"objective\.vae needs the entries .*, found \[\]"),
        ("objective/vae", lambda _: [], "objective.vae needs the entries .*, found list"),
        ("objective", lambda found: {**found, "other": 1}, "objective needs the entries .*, found .*'other'"),
        ("objective/optimiser", lambda _: None, "objective.optimiser needs the state of an optimiser, found NoneType"),
        ("objective/optimiser/param_groups", lambda _: [], "needs 1 groups of parameters, found 0"),
        ("objective/optimiser/param_groups", lambda _: 3, "needs 1 groups of parameters, found int"),
        ("objective/optimiser/param_groups/0/params", lambda found: found[:-1], "parameters, found others"),
        ("objective/optimiser/param_groups/0/lr", lambda _: "fast", "needs an option lr like 0.0005, found 'fast'"),
        ("objective/optimiser/param_groups/0/lr", lambda _: float("nan"), "needs an option lr like 0.0005, found nan"),
        ("objective/optimiser/param_groups/0/betas", lambda _: (0.9,), "needs an option betas like"),
        ("objective/optimiser/state", lambda _: {0: 1}, "needs moments of parameter 0, found int"),
        ("objective/optimiser/state", lambda _: {99: {}}, "needs moments of .* parameters, found others"),
        ("objective/optimiser/state/0/exp_avg", lambda _: torch.zeros(2), "needs finite moments .* another exp_avg"),
        ("objective/optimiser/state/0/exp_avg", lambda found: found + torch.inf, "needs finite moments"),
        (
            "generator",
            lambda _: torch.zeros(3, dtype=torch.uint8),
            r"generator needs a tensor \(5056,\) torch.uint8",
        ),
    ],
)
def test_a_state_of_other_networks_is_refused_before_anything_is_loaded(
    rectangles_run: Path,
    rectangles: Path,
    pictures: FactorDataset,
    place: str,
    value: Callable[[Any], Any],
    message: str,
) -> None:
    trainer = Trainer(rectangles_config(rectangles, rectangles_run).resolve(), pictures)
    before = copy.deepcopy(trainer.state())
    path = rectangles_run / "state.pt"
    with pytest.raises(ValueError, match=f"^{path}: not a state of this run: .*{message}.*copy it again"):
        trainer.load_state(_replaced(read_state(path), place, value))
    assert _equal(trainer.state(), before)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_takes_its_own_state(objective: str, rectangles: Path, pictures: FactorDataset) -> None:
    changes = {**fetching_nothing(objective), "weight_averaging": 0.0 if objective == "info_gan" else 0.9}
    # as many units as each objective keeps by itself
    config = dataclasses.replace(rectangles_config(rectangles, Path("unused")), code_size=6, **changes).resolve()
    first, second = Trainer(config, pictures), Trainer(config, pictures)
    first.prepare()
    first.train_step()
    second.load_state(copy.deepcopy(first.state()))
    assert _equal(second.state(), first.state())
    assert second.step == 1


def test_a_damaged_state_ends_the_command_with_one_line_and_the_remedy_works(
    rectangles_run: Path, rectangles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(rectangles_run, folder)
    content = bytearray((rectangles_run / "state.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "state.pt").write_bytes(bytes(content))
    command = ["--dataset=folder", f"--data-path={rectangles}", "--image-size=32", "--batch-size=8", "--code-size=3"]
    command += ["--steps=2", "--device=cpu", "--precision=float32", "--threads=1", "--no-progress", "--resume"]
    assert main([*command, f"--run-dir={folder}"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {folder}/state.pt: not a readable training state (Bad CRC-32 for file ")
    assert shown.count("\n") == 1
    assert main([*command[:-1], f"--run-dir={tmp_path / 'another'}"]) == 0
    assert load_encoder(tmp_path / "another") == load_encoder(rectangles_run)


def test_weight_files_of_two_moments_are_noticed_and_resuming_mends_them(rectangles: Path, tmp_path: Path) -> None:
    config = rectangles_config(rectangles, tmp_path / "run")
    folder = pretrain_encoder(config)
    earlier = (folder / "vae.safetensors").read_bytes()
    config = dataclasses.replace(config, steps=4, resume=True)
    pretrain_encoder(config)
    whole = (folder / "vae.safetensors").read_bytes()
    load_vae(folder)
    (folder / "vae.safetensors").write_bytes(earlier)  # as a kill between the two writes leaves them
    with pytest.raises(
        ValueError, match=r"encoder\.safetensors and vae\.safetensors were not written together \(steps 4 and 2\)"
    ):
        load_vae(folder)
    pretrain_encoder(config)
    load_vae(folder)
    assert (folder / "vae.safetensors").read_bytes() == whole
    (folder / "encoder.safetensors").unlink()
    load_vae(folder)  # nothing is there that it could contradict


def test_weights_of_another_seed_are_noticed(rectangles_run: Path, rectangles: Path, tmp_path: Path) -> None:
    other = pretrain_encoder(rectangles_config(rectangles, tmp_path / "other", seed=1))
    shutil.copy(rectangles_run / "encoder.safetensors", other)
    with pytest.raises(ValueError, match=r"were not written together \(steps 2 and 2\): .* or a file was put there"):
        load_vae(other)


def test_a_state_that_torch_wrote_otherwise_is_read(rectangles_run: Path, tmp_path: Path) -> None:
    """An archive has room for more than its entries: what is between them may differ."""
    state = read_state(rectangles_run / "state.pt")
    content = io.BytesIO()
    torch.save(state, content)
    path = tmp_path / "again.pt"
    path.write_bytes(content.getvalue())
    assert _equal(read_state(path), state)
