"""Signals: none interrupts a save, and a command that they end says so in one line."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from sparse_repr import PretrainConfig, pretrain_encoder, pretrain_encoders
from sparse_repr.command_line.interruption import CommandInterrupted, TrainingInterrupted, end_on_signal, stop_on_signal
from sparse_repr.command_line.running import _is_the_program
from sparse_repr.pretrain import trainer as training
from sparse_repr.pretrain.variations import vary
from tests import ROOT
from tests.sparse_repr.pretrain.test_trainer import _state


def _kill(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def test_no_signal_interrupts_what_was_asked_to_stop() -> None:
    with stop_on_signal() as signals:
        _kill(signal.SIGTERM, signal.SIGINT, signal.SIGINT)
    assert signals == [signal.SIGTERM, signal.SIGINT, signal.SIGINT]


def test_the_first_signal_ends_a_command_and_the_others_leave_its_clearing_up_alone() -> None:
    cleared = False
    with pytest.raises(CommandInterrupted, match="stopped by SIGTERM") as stopped, end_on_signal():
        try:
            _kill(signal.SIGTERM)
        finally:
            _kill(signal.SIGINT, signal.SIGTERM)
            cleared = True
    assert (stopped.value.signal_number, cleared) == (signal.SIGTERM, True)


def test_a_signal_that_a_finished_run_did_not_answer_stops_the_next_one() -> None:
    with end_on_signal():
        with stop_on_signal():
            _kill(signal.SIGTERM)
        with stop_on_signal() as signals:
            assert signals == [signal.SIGTERM]
        with pytest.raises(CommandInterrupted):
            _kill(signal.SIGINT)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_of_others_dies_of_the_signal() -> None:
    # such as an environment of AsyncVectorEnv: nobody there would answer the request
    with warnings.catch_warnings(), stop_on_signal() as signals:
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python, where other threads run
        child = os.fork()
        if not child:
            _kill(signal.SIGTERM)
            os._exit(0)
        _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM
    assert signals == []


def test_handlers_are_those_of_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with end_on_signal(), stop_on_signal():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("last", [True, False])
def test_a_process_that_a_signal_ended_hears_no_more_where_nothing_comes_after(last: bool) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with end_on_signal(last=last):
        pass
    assert [signal.getsignal(number) for number in numbers] == before
    try:
        with pytest.raises(CommandInterrupted), end_on_signal(last=last):
            _kill(signal.SIGTERM)
        assert [signal.getsignal(number) for number in numbers] == ([signal.SIG_IGN] * 2 if last else before)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def test_a_module_that_is_run_is_the_program_and_one_that_is_called_is_not(tmp_path: Path) -> None:
    assert not _is_the_program()
    asked = "import sparse_repr.command_line.running as running; print(running._is_the_program())"
    assert _said(["-c", asked]) == "False"
    package = tmp_path / "experiments"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "ask.py").write_text(asked)
    assert _said(["-m", "experiments.ask"], cwd=tmp_path, PYTHONPATH=str(ROOT)) == "True"
    script = tmp_path / "sparse-repr-ask"
    script.write_text(asked)
    assert _said([str(script)], PYTHONPATH=str(ROOT)) == "True"


def _said(words: list[str], cwd: Path | None = None, **environment: str) -> str:
    made = subprocess.run(
        [sys.executable, *words], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return made.stdout.strip()


def test_signals_during_the_save_cost_nothing(small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    step, save = training.Trainer.train_step, training.save_state

    def stop_at_7(self: training.Trainer, *rest: object) -> object:
        terms = step(self, *rest)  # type: ignore[arg-type]
        if self.step == 7:
            _kill(signal.SIGINT, signal.SIGTERM)
        return terms

    def signalled_save(*arguments: object) -> None:
        _kill(signal.SIGTERM, signal.SIGINT)
        save(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training.Trainer, "train_step", stop_at_7)
    monkeypatch.setattr(training, "save_state", signalled_save)
    with pytest.raises(TrainingInterrupted, match="stopped at step 7") as stopped:
        pretrain_encoder(small_study)
    assert stopped.value.signal_number == signal.SIGINT
    assert _state(small_study.run_folder())["step"] == 7


def test_a_signal_at_the_last_step_of_one_run_stops_the_next(
    small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = training.Trainer.train_step

    def stop_at_20(self: training.Trainer, *rest: object) -> object:
        terms = step(self, *rest)  # type: ignore[arg-type]
        if self.step == 20:
            _kill(signal.SIGTERM)
        return terms

    monkeypatch.setattr(training.Trainer, "train_step", stop_at_20)
    configs = vary(small_study, seeds=[0, 1])
    with pytest.raises(TrainingInterrupted):
        pretrain_encoders(configs, together="sequential")
    assert [_state(config.run_folder())["step"] for config in configs] == [20, 1]


@pytest.mark.parametrize(
    ("module", "seam", "words"),
    [
        ("sparse_repr.pretrain.__main__", "pretrain_encoder", ["--steps", "5"]),
        ("sparse_repr.evaluate.__main__", "evaluate_run", ["runs/any"]),
        ("sparse_repr.data.__main__", "load_dataset", ["dsprites"]),
        ("sparse_repr.perceptual.__main__", "fetch_vgg16", ["fetch"]),
    ],
)
@pytest.mark.parametrize(("numbers", "code"), [((signal.SIGINT,), 130), ((signal.SIGTERM, signal.SIGINT), 143)])
def test_a_signalled_command_says_so_in_one_line(
    module: str,
    seam: str,
    words: list[str],
    numbers: tuple[signal.Signals, ...],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = importlib.import_module(module)
    monkeypatch.setattr(command, seam, lambda *_, **__: _kill(*numbers))
    assert command.main(words) == code
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"stopped by {numbers[0].name}; the same command starts again\n")
