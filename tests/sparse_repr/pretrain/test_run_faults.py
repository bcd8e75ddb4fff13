"""What goes wrong while a run works: full disks, folders that stay behind, losses that are not finite."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tensorboard.summary.writer import record_writer

from sparse_repr import PretrainConfig, devices, load_encoder, pretrain_encoder, pretrain_encoders
from sparse_repr.data.__main__ import main as show_data
from sparse_repr.evaluate.__main__ import main as evaluate
from sparse_repr.pretrain import trainer as training
from sparse_repr.pretrain.__main__ import main
from sparse_repr.pretrain.run_folder import TrainingStoppedError
from sparse_repr.pretrain.term_sums import NonFiniteLossError
from sparse_repr.pretrain.variations import vary
from tests.sparse_repr.pretrain.test_trainer import _same, _state

LIMIT = 200_000  # larger than the events of these runs, smaller than their state and weights


@contextlib.contextmanager
def _files_up_to(size: int) -> Iterator[None]:
    """Let the system refuse whatever makes a file larger, as a full disk refuses it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _words(config: PretrainConfig, *more: str) -> list[str]:
    words = ["--dataset", "folder", "--data-path", str(config.data_path), "--run-dir", str(config.run_dir)]
    words += ["--image-size", "32", "--batch-size", "8", "--steps", "20", "--log-every", "1", "--save-every", "10"]
    words += ["--picture-every", "7", "--precision", "float32", "--device", "cpu", "--threads", "1", "--no-progress"]
    return [*words, *more]


@pytest.fixture(scope="module")
def straight(rectangles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of `_words`, undisturbed."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    assert main(_words(PretrainConfig(data_path=str(rectangles), run_dir=str(folder)))) == 0
    return folder


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16"), (False, "bf16"), (False, "auto")])
def test_bf16_that_is_emulated_is_told_before_it_takes_its_time(
    native: bool,
    precision: str,
    small_study: PretrainConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(devices, "_processor_multiplies_bf16", lambda: native)
    words = [precision if word == "float32" else word for word in _words(small_study)]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert ("does not multiply bf16" in said) == (precision == "bf16" and not native)
    described = json.loads((small_study.run_folder() / "config.json").read_text())
    assert described["precision"] == ("bf16" if precision == "bf16" else "float32")


def test_a_full_disk_at_the_first_save_is_one_line_and_resume_works(
    small_study: PretrainConfig, straight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small_study.run_folder()
    with _files_up_to(LIMIT):
        assert main(_words(small_study)) == 2
    assert capsys.readouterr().err == (
        f"error: cannot write {folder / 'state.pt'} (File too large): free some space, or choose another folder; "
        "no state was saved yet, and the run goes on with resume (--resume) once that is mended\n"
    )
    assert not list(folder.glob(".*"))
    assert main(_words(small_study, "--resume")) == 0
    assert f"nothing to resume: {folder} holds no saved state; starting at step 0\n" in capsys.readouterr().err
    assert _same(_state(folder), _state(straight))


def test_a_full_disk_at_a_later_file_keeps_the_state(
    small_study: PretrainConfig, straight: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, export = small_study.run_folder(), training.export_run

    def export_to_a_full_disk(*arguments: object, **options: object) -> object:
        with _files_up_to(LIMIT):
            return export(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "export_run", export_to_a_full_disk)
    assert main(_words(small_study)) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: cannot write {folder / 'encoder.safetensors'} (File too large)")
    assert "the last saved state is kept, and the run goes on with resume" in said
    monkeypatch.undo()
    assert main(_words(small_study, "--resume")) == 0
    assert (folder / "encoder.safetensors").read_bytes() == (straight / "encoder.safetensors").read_bytes()


def test_events_that_cannot_be_written_are_one_line(
    small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write, count = record_writer.RecordWriter.write, 0

    def full(self: record_writer.RecordWriter, data: bytes) -> None:
        nonlocal count
        count += 1
        if count > 60:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, data)

    monkeypatch.setattr(record_writer.RecordWriter, "write", full)
    assert main(_words(small_study)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: [Errno 28] No space left on device; ")
    assert said.count("\n") == 1
    assert "goes on with resume" in said


def test_evaluate_and_data_on_a_full_disk_are_one_line(
    straight: Path, rectangles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with _files_up_to(50):
        assert evaluate([str(straight), "--no-progress"]) == 2
        assert show_data(["folder", "--path", str(rectangles), "--out", str(tmp_path / "sheet.png")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"error: cannot write {straight / 'metrics.json'} (File too large)")
    assert second.startswith(f"error: cannot write {tmp_path / 'sheet.png'} (File too large)")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("together", ["vectorized", "sequential"])
def test_many_runs_on_a_full_disk_go_on_with_resume(small_study: PretrainConfig, together: str, tmp_path: Path) -> None:
    configs = vary(small_study, seeds=[0, 1])
    with _files_up_to(LIMIT), pytest.raises(TrainingStoppedError, match=r"state\.pt \(File too large\)"):
        pretrain_encoders(configs, together=together)
    resumed = [dataclasses.replace(config, resume=True) for config in configs]
    folders = pretrain_encoders(resumed, together=together)
    assert [_state(folder)["step"] for folder in folders] == [20, 20]


@pytest.mark.parametrize("together", ["vectorized", "sequential"])
def test_a_refused_start_leaves_no_folder_behind(small_study: PretrainConfig, tmp_path: Path, together: str) -> None:
    place = tmp_path / "not" / "there" / "yet"
    config = dataclasses.replace(small_study, run_dir=str(place), data_path=str(tmp_path / "missing"))
    with pytest.raises(FileNotFoundError, match="missing"):
        pretrain_encoder(config)
    assert not (tmp_path / "not").exists()
    with pytest.raises(FileNotFoundError, match="missing"):
        pretrain_encoders(vary(config, seeds=[0, 1]), together=together)
    assert not (tmp_path / "not").exists()
    with _files_up_to(50), pytest.raises(OSError, match="needs a writable folder"):
        pretrain_encoder(dataclasses.replace(small_study, run_dir=str(place)))
    assert not (tmp_path / "not").exists()


def test_resume_starts_what_has_not_begun(small_study: PretrainConfig, straight: Path) -> None:
    folder = pretrain_encoder(dataclasses.replace(small_study, resume=True))
    assert _same(_state(folder), _state(straight))


def test_one_line_says_which_runs_start(small_study: PretrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    pretrain_encoder(dataclasses.replace(vary(small_study, seeds=[0])[0], steps=10))
    assert main(_words(small_study, "--seeds", "0,1", "--together", "sequential", "--resume")) == 0
    said = capsys.readouterr().err
    assert "nothing to resume: 1 of 2 folders hold no saved state; starting at step 0\n" in said


def test_a_state_without_its_settings_is_not_overwritten(small_study: PretrainConfig) -> None:
    folder = pretrain_encoder(dataclasses.replace(small_study, steps=2))
    (folder / "config.json").unlink()
    before = (folder / "state.pt").read_bytes()
    for resume in (False, True):
        with pytest.raises(FileExistsError, match=r"holds a training state \(state\.pt\) without the config\.json"):
            pretrain_encoder(dataclasses.replace(small_study, resume=resume))
    assert (folder / "state.pt").read_bytes() == before


def _poison(monkeypatch: pytest.MonkeyPatch, attribute: str = "learning_rate", least: object = 1e-3) -> None:
    """Make the loss NaN from step 13 on, unless the settings are what the message asks for."""
    draw = training.Trainer.draw

    def poisoned(self: training.Trainer) -> tuple[torch.Tensor, torch.Tensor]:
        drawn, noise = draw(self)
        bad = self.step == 12 and getattr(self.config, attribute) in (least, 0.1)
        return drawn, noise * (float("nan") if bad else 1)

    monkeypatch.setattr(training.Trainer, "draw", poisoned)


def test_a_lower_learning_rate_goes_on_from_the_last_good_state(
    small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _poison(monkeypatch)
    config = dataclasses.replace(small_study, learning_rate=1e-3)
    with pytest.raises(
        NonFiniteLossError, match=r"its encoder is exported.*learning_rate \(--learning-rate\) below 0.001$"
    ):
        pretrain_encoder(config)
    folder = config.run_folder()
    assert load_encoder(folder).spec.objective["steps"] == 10
    with pytest.raises(ValueError, match="code_size: 10 there, 5 asked for"):
        pretrain_encoder(dataclasses.replace(config, resume=True, code_size=5))
    with pytest.raises(ValueError, match=r"learning_rate: 0\.001 there, 0\.0001 asked for"):
        pretrain_encoder(dataclasses.replace(config, learning_rate=1e-4))  # never without being asked to resume
    cured = dataclasses.replace(config, resume=True, learning_rate=1e-4)
    pretrain_encoder(cured)
    described = json.loads((folder / "config.json").read_text())
    assert described["learning_rate"] == 1e-4
    assert described["earlier_settings"] == [{"until_step": 10, "learning_rate": 1e-3}]
    assert "not_finite_by_step" not in described
    state = _state(folder)
    assert state["step"] == 20
    assert state["objective"]["optimiser"]["param_groups"][0]["lr"] == 1e-4  # type: ignore[index]
    with pytest.raises(ValueError, match=r"learning_rate: 0\.0001 there, 0\.001 asked for"):
        pretrain_encoder(dataclasses.replace(config, resume=True))  # what was well may not change
    pretrain_encoder(dataclasses.replace(cured, steps=21))
    assert json.loads((folder / "config.json").read_text())["earlier_settings"] == described["earlier_settings"]


def test_float32_cures_too(small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    _poison(monkeypatch, "precision", "bf16")
    config = dataclasses.replace(small_study, precision="bf16")
    with pytest.raises(NonFiniteLossError, match=r"below 0\.0005 or precision float32 \(--precision float32\)$"):
        pretrain_encoder(config)
    pretrain_encoder(dataclasses.replace(config, resume=True, precision="float32"))
    described = json.loads((config.run_folder() / "config.json").read_text())
    assert described["earlier_settings"] == [{"until_step": 10, "precision": "bf16"}]


def test_a_state_whose_codes_are_not_finite_is_not_exported(small_study: PretrainConfig) -> None:
    config = dataclasses.replace(small_study, learning_rate=1.0, save_every=1)
    advice = (
        r"but the codes of step 1 are NaN or infinite .*: start in another folder \(--run-dir\) with a learning_rate"
    )
    with pytest.raises(NonFiniteLossError, match=advice):
        pretrain_encoder(config)
    assert not (config.run_folder() / "encoder.safetensors").exists()
    elsewhere = dataclasses.replace(config, run_dir=f"{config.run_dir}-elsewhere", learning_rate=5e-4)
    assert load_encoder(pretrain_encoder(elsewhere)).spec.objective["steps"] == 20


def test_weights_that_are_not_finite_are_never_saved(
    small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = training.Trainer.train_step

    def ruined(self: training.Trainer, *rest: object) -> object:
        terms = step(self, *rest)  # type: ignore[arg-type]
        if self.step == 20:  # the last step: no loss will show it
            with torch.no_grad():
                next(self.objective.vae.parameters()).view(-1)[3] = float("inf")
        return terms

    monkeypatch.setattr(training.Trainer, "train_step", ruined)
    with pytest.raises(NonFiniteLossError, match="the weights became NaN or infinite by step 20; the last good state"):
        pretrain_encoder(small_study)
    assert _state(small_study.run_folder())["step"] == 10
    assert load_encoder(small_study.run_folder()).spec.objective["steps"] == 10


def test_the_command_ends_with_1_and_its_advice_works(
    small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _poison(monkeypatch)
    assert main(_words(small_study, "--learning-rate", "0.001")) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: the loss became NaN or infinite at step 13; ")
    assert said.count("\n") == 1
    assert main(_words(small_study, "--learning-rate", "0.0002", "--resume")) == 0
