"""The study's runner: nothing is computed twice, whatever is killed goes on, and several processes share a folder."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments import reproduce_paper
from experiments.paper import runs as cell_runs
from experiments.paper.cells import PAPER_SCALES, Cell, Stop
from experiments.paper.runs import PAPER_CELLS, complete_cells, describe, finished_cells, is_finished, steps_taken
from experiments.reproduce_paper import StudyConfig, main
from experiments.study.procedure import claimed
from experiments.study.running import Agenda, Throttled, run_study
from sparse_repr import PretrainConfig, load_encoder, pretrain_encoder
from sparse_repr.command_line.interruption import TrainingInterrupted
from sparse_repr.data import FactorDataset
from sparse_repr.pretrain.term_sums import NonFiniteLossError
from tests import ROOT
from tests.finished_cells import finished
from tests.sparse_repr.pretrain.test_trainer import _same, _state

STOPS = (Stop(10, "mig_histogram", None, 8), Stop(20, "mig_histogram", None, 8))


def small_cells(small_study: PretrainConfig, count: int = 1) -> list[Cell]:
    """Cells of 20 steps, evaluated at 10 too."""
    out = Path(str(small_study.run_dir))
    return [
        Cell(
            "folder",
            "sparse",
            dataclasses.replace(small_study, seed=seed, run_dir=str(out / f"folder-sparse-seed{seed}")),
            STOPS,
        )
        for seed in range(count)
    ]


@pytest.fixture
def cells(small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    # the pictures cost more than the run; that of the command has them
    monkeypatch.setattr("sparse_repr.evaluate.run.draw_run", lambda *_, **__: None)
    return small_cells(small_study, 2)


def agenda_of(cells: list[Cell], **options: Any) -> Agenda:
    return Agenda(cells, **{"procedure": PAPER_CELLS, "progress": False, "poll_s": 0.1, **options})


def out_of(cells: list[Cell]) -> Path:
    return cells[0].folder.parent


def forbid_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_runs, "pretrain_encoder", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(cell_runs, "evaluate_run", lambda *_, **__: pytest.fail("evaluated again"))


def test_a_cell_leaves_its_run_and_its_evaluations(cells: list[Cell], monkeypatch: pytest.MonkeyPatch) -> None:
    agenda = agenda_of(cells[:1])
    run_study(agenda, out_of(cells))
    assert agenda.failures == {}
    assert agenda.steps == agenda.bar.total == 20
    early, last = finished_cells(out_of(cells))
    assert [entry.record["steps"] for entry in (early, last)] == [10, 20]
    assert [entry.report["trained_steps"] for entry in (early, last)] == [10, 20]
    assert (early.folder, last.folder) == (cells[0].folder / "at-10", cells[0].folder)
    assert last.record["training"]["sparsity_target"] == "mean"
    assert last.record["machine"]["threads"] == 1
    # stopping on the way changes no bit
    straight = dataclasses.replace(cells[0].training, run_dir=str(out_of(cells) / "straight"))
    assert _same(_state(cells[0].folder), _state(pretrain_encoder(straight)))

    forbid_training(monkeypatch)
    again = agenda_of(cells[:1])
    assert again.steps == 20
    run_study(again, out_of(cells))
    complete_cells(cells[:1], lambda _: None)
    assert again.failures == {}


def test_a_lost_evaluation_is_made_without_training(cells: list[Cell], monkeypatch: pytest.MonkeyPatch) -> None:
    complete_cells(cells[:1], lambda _: None)
    (cells[0].folder / "at-10" / "cell.json").unlink()
    monkeypatch.setattr(cell_runs, "pretrain_encoder", lambda *_, **__: pytest.fail("trained again"))
    assert not is_finished(cells[0])
    complete_cells(cells[:1], lambda _: None)
    assert is_finished(cells[0])
    wider = dataclasses.replace(cells[0], stops=(STOPS[0], dataclasses.replace(STOPS[1], image_items=4)))
    assert not is_finished(wider)  # asked for otherwise, it is evaluated anew


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send SIGTERM to this process after the first training step `step`."""
    from sparse_repr.pretrain.trainer import Trainer

    train_step, sent = Trainer.train_step, []

    def stepped(self: Trainer) -> Any:
        terms = train_step(self)
        if self.step == step and not sent:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
        return terms

    monkeypatch.setattr(Trainer, "train_step", stepped)


@pytest.mark.parametrize("step", [7, 13])
def test_a_stopped_study_goes_on_where_it_was(cells: list[Cell], monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    interrupt_at(step, monkeypatch)
    with pytest.raises(TrainingInterrupted, match="the states are in the folders in .*study") as stopped:
        run_study(agenda_of(cells[:1]), out_of(cells))
    assert stopped.value.signal_number == signal.SIGTERM
    assert steps_taken(cells[0]) == step
    agenda = agenda_of(cells[:1])
    assert agenda.steps == step
    run_study(agenda, out_of(cells))
    assert is_finished(cells[0])
    assert agenda.steps == 20
    straight = dataclasses.replace(cells[0].training, run_dir=str(out_of(cells) / "straight"))
    assert _same(_state(cells[0].folder), _state(pretrain_encoder(straight)))


def test_changed_settings_are_refused_before_anything_is_computed(
    cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    complete_cells(cells[:1], lambda _: None)
    forbid_training(monkeypatch)
    changed = [dataclasses.replace(cell, training=dataclasses.replace(cell.training, beta=2.0)) for cell in cells]
    with pytest.raises(ValueError, match=r"seed0 was computed with other settings \(beta: 1.0 there, 2.0 asked for\)"):
        agenda_of(changed)
    shorter = dataclasses.replace(cells[0], training=dataclasses.replace(cells[0].training, steps=15))
    with pytest.raises(ValueError, match="already has 20 steps, 15 were asked for"):
        agenda_of([shorter])
    cells[1].folder.write_text("")
    with pytest.raises(ValueError, match="seed1 is a file where a cell's folder should be"):
        agenda_of(cells)


def test_a_claimed_cell_is_left_and_looked_at_again(cells: list[Cell]) -> None:
    held, released = threading.Event(), threading.Event()

    def hold() -> None:
        with claimed(cells[:1]) as mine:
            assert mine == cells[:1]
            held.set()
            released.wait(60)

    # flock tells file handles apart, not processes: a thread with its own handle is another holder
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    agenda = agenda_of(cells)
    group = agenda.next()
    assert group is not None
    assert group.cells == cells[1:]
    complete_cells(cells, lambda _: None)  # a worker that finds one held does the other
    agenda.ended(group)
    assert agenda.next() is None
    assert agenda
    assert [is_finished(cell) for cell in cells] == [False, True]
    released.set()
    holder.join()
    run_study(agenda, out_of(cells))
    assert is_finished(cells[0])
    assert agenda.steps == 40
    assert not list(out_of(cells).glob("*/.claim"))


def test_a_failure_leaves_the_others_alone(cells: list[Cell]) -> None:
    def failing(some: list[Cell], on_steps: Callable[[int], None]) -> None:
        if some[0].seed == 0:
            raise NonFiniteLossError("NaN at step 3")
        complete_cells(some, on_steps)

    agenda = agenda_of(cells, procedure=dataclasses.replace(PAPER_CELLS, complete=failing))
    run_study(agenda, out_of(cells))
    assert agenda.failures == {str(cells[0].folder): "NaN at step 3"}
    assert [is_finished(cell) for cell in cells] == [False, True]


def test_a_report_that_fails_fails_no_cell(cells: list[Cell], capsys: pytest.CaptureFixture[str]) -> None:
    calls = []

    def report() -> None:
        calls.append([is_finished(cell) for cell in cells])
        raise ZeroDivisionError("no report")

    agenda = Agenda(cells, PAPER_CELLS, poll_s=0.1, on_finished=report)
    run_study(agenda, out_of(cells))
    assert agenda.failures == {}
    assert calls == [[True, False], [True, True]]  # after each finished cell
    assert capsys.readouterr().out.count("not reported: no report") == 2
    run_study(agenda_of(cells, on_finished=report), out_of(cells))
    assert len(calls) == 2  # nothing new


def test_seeds_of_a_method_train_together_where_that_is_asked_for(
    cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def together(configs: list[PretrainConfig], **options: Any) -> Any:
        asked.append([config.steps for config in configs])
        return cell_runs_pretrain(configs, together="vectorized", **options)

    cell_runs_pretrain = cell_runs.pretrain_encoders
    monkeypatch.setattr(cell_runs, "pretrain_encoders", together)
    agenda = agenda_of(cells, together=True)
    run_study(agenda, out_of(cells))
    assert asked == [[10, 10], [20, 20]]
    assert all(is_finished(cell) for cell in cells)
    assert agenda.steps == 40


_SCRIPT = """
import pickle, sys
from experiments.paper.runs import PAPER_CELLS
from experiments.study.running import Agenda, run_study
from pathlib import Path
if __name__ == "__main__":
    cells = pickle.loads(Path(sys.argv[1]).read_bytes())
    agenda = Agenda(cells, PAPER_CELLS, progress=False, poll_s=0.2)
    run_study(agenda, cells[0].folder.parent, processes=int(sys.argv[2]))
    assert not agenda.failures, agenda.failures
"""


def start(cells: list[Cell], tmp_path: Path, processes: int) -> subprocess.Popen[bytes]:
    """A study in a process of its own."""
    import pickle

    (tmp_path / "cells.pickle").write_bytes(pickle.dumps(cells))
    (tmp_path / "script.py").write_text(_SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "cells.pickle"), str(processes)]
    return subprocess.Popen(command, env=environment)


@pytest.mark.slow  # the processes of one study, and a cell that is held elsewhere, are tested without
def test_two_studies_in_one_folder_compute_each_cell_once(small_study: PretrainConfig, tmp_path: Path) -> None:
    cells = small_cells(small_study, 3)
    other = start(cells, tmp_path, 1)
    own = agenda_of(cells)
    run_study(own, out_of(cells))
    assert other.wait(600) == 0
    assert own.failures == {}
    assert all(is_finished(cell) for cell in cells)
    for cell in cells:
        # a second computation would have resumed at 20 and logged its purge, or written a second file of events
        assert len(list(cell.folder.glob("events*"))) == len(STOPS)


def test_a_killed_study_of_processes_goes_on(small_study: PretrainConfig, tmp_path: Path) -> None:
    longer = dataclasses.replace(small_study, steps=1_000_000, save_every=5, log_every=5, picture_every=10**6)
    endless = dataclasses.replace(small_cells(longer)[0], stops=(dataclasses.replace(STOPS[0], steps=longer.steps),))
    running = start([endless], tmp_path, 2)
    state = endless.folder / "state.pt"
    deadline = time.monotonic() + 600
    while not state.exists() and time.monotonic() < deadline:
        assert running.poll() is None, "the study ended before its first save"
        time.sleep(0.1)
    running.kill()
    running.wait(60)
    while time.monotonic() < deadline:  # the worker sees its parent's end, and saves
        with claimed([endless]) as free:
            if free:
                break
        time.sleep(0.1)
    taken = steps_taken(endless)
    assert taken >= 5
    ended = dataclasses.replace(
        endless,
        training=dataclasses.replace(longer, steps=taken + 3, run_dir=str(endless.folder)),
        stops=(dataclasses.replace(STOPS[0], steps=taken + 3),),
    )
    agenda = agenda_of([ended])
    assert agenda.steps == taken
    run_study(agenda, out_of([ended]))
    assert json.loads((ended.folder / "cell.json").read_text())["seconds"]["from_step"] == taken


def test_processes_of_one_study_share_its_cells(cells: list[Cell]) -> None:
    broken = dataclasses.replace(cells[1], training=dataclasses.replace(cells[1].training, data_path="/nowhere"))
    good = dataclasses.replace(cells[0], stops=STOPS[1:])
    agenda = agenda_of([good, broken])
    run_study(agenda, out_of(cells), processes=2)
    assert list(agenda.failures) == [str(broken.folder)]
    assert "no such folder: /nowhere" in agenda.failures[str(broken.folder)]
    assert agenda.steps == 40  # what failed will not be trained
    assert is_finished(good)
    # a second computation would have written one more
    assert len(list(good.folder.glob("events*"))) == 1


def test_the_line_of_a_finished_cell_names_its_scores(cells: list[Cell], tmp_path: Path) -> None:
    cells[0].folder.mkdir(parents=True)
    report = finished(psnr_db=21.94, ssim=0.9312, mig=0.1, aam=0.25).report
    (cells[0].folder / "metrics.json").write_text(json.dumps(report))
    assert describe(cells[0]) == ("folder-sparse-seed0: PSNR 21.94 dB, SSIM 0.931 (in sample), MIG 0.100, AAM 0.250")


def test_the_smoke_scale_runs_from_its_command(
    dsprites: FactorDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    smoke = dataclasses.replace(PAPER_SCALES["smoke"], sample=300, image_items=16)
    monkeypatch.setitem(PAPER_SCALES, "smoke", smoke)
    command = ["--scale", "smoke", "--only", "table1,table3", "--method", "sparse_perceptual"]
    command += ["--out", str(tmp_path / "study")]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "dsprites-sparse_perceptual-seed0: PSNR " in said.out
    assert said.err.count("LPIPS is left out of all that is scored now: the weights of VGG16 are not here") == 1
    found = finished_cells(tmp_path / "study")
    assert [entry.record["method"] for entry in found] == ["sparse_perceptual"]
    assert found[0].report["disentanglement"]["over"] == "random items of a full grid"
    assert load_encoder(found[0].folder).code_size == 10
    assert (found[0].folder / "figures" / "traversals.png").is_file()
    page = (tmp_path / "study" / "report.html").read_text(encoding="utf-8")
    assert "Figure 3. Traversals of dsprites: sparse + perceptual" in page
    assert "Not drawn" not in page
    publishing = ["--scale", "smoke", "--out", str(tmp_path / "study"), "--results", str(tmp_path / "results")]
    assert main([*publishing, "--publish"]) == 0
    assert f"1 evaluations are published in {tmp_path / 'results' / 'smoke'}" in capsys.readouterr().out
    assert (tmp_path / "results" / "smoke" / "fig1-dsprites.png").is_file()
    with pytest.raises(ValueError, match="give one of --budget, --report and --publish, got --report and --publish"):
        StudyConfig("smoke", report=True, publish=True)
    monkeypatch.setattr(reproduce_paper, "write_study_report", lambda *_, **__: "drawn before")
    assert main([*command, "--no-progress"]) == 0
    said = capsys.readouterr()
    assert "PSNR" not in said.out
    assert "LPIPS" not in said.err  # nothing is scored
    assert main([*command, "--threads", "2"]) == 2
    assert "(threads: 1 there, 2 asked for)" in capsys.readouterr().err


def test_reports_on_the_way_take_a_small_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    written: list[float] = []

    def write() -> None:
        written.append(now[0])
        now[0] += 3.0

    throttled = Throttled(write, share=0.02)
    for second in range(0, 400, 10):
        now[0] = max(now[0], float(second))
        throttled()
    # first after a minute, then 3 s / 0.02 after the end of the one before
    assert written == [60.0, 220.0, 380.0]
