"""`python -m experiments.gpu`: every piece runs, what is there is kept, and whatever cuts it off leaves a page."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.gpu import __main__ as command
from experiments.gpu import own_tests, study, ways
from experiments.gpu.__main__ import PIECES, main
from experiments.gpu.own_tests import files_of_tests, read_report
from experiments.gpu.record import PAGE, RESULTS, Record, Work
from experiments.gpu.sizes import METHOD_ORDER, SIZES
from experiments.gpu.wheels import canonical, declared, wheels
from experiments.paper.cells import METHODS, PAPER_SCALES
from tests import ROOT

MEASURED = "speed,equality,evaluation"


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A command on the CPU, in this process, that writes into temporary folders."""
    return ["--scale", "smoke", "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"), "--here"]


def _pieces(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "out" / RESULTS).read_text(encoding="utf-8"))
    return dict(content["pieces"])


def _page(folder: Path) -> str:
    return (folder / "out" / PAGE).read_text(encoding="utf-8")


def test_the_figures_are_measured_once(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "smoke", dataclasses.replace(SIZES["smoke"], models=(1,)))
    monkeypatch.setattr(ways, "BATCH", 8)
    assert main([*words, "--only", MEASURED]) == 0
    found = _pieces(tmp_path)
    assert list(found) == MEASURED.split(",")
    assert list(found["speed"]) == ["ceilings", "1 none", "1 cuda_graph"]
    assert 0 < found["speed"]["1 none"]["share_of_bandwidth"] < 1
    assert found["equality"]["single, graph, float32"]["parameters"] == 0
    assert found["equality"]["single, stack, float32"]["parameters"] < 1e-3
    assert found["evaluation"]["mutual information"]["difference_nats"] == 0
    page = _page(tmp_path)
    assert "no GPU, " in page
    assert "whose numbers mean nothing" in page
    assert "| 1 | kernel by kernel, " in page
    assert str(tmp_path) not in page + json.dumps(found)
    assert main([*words, "--only", MEASURED]) == 0
    assert _pieces(tmp_path) == found


def test_the_study_is_trained_and_scored(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "METHOD_ORDER", ("vae",))
    assert main([*words, "--only", "study,so far"]) == 0
    assert "**Table 1. Reconstruction of dsprites**" in _page(tmp_path)
    assert "**Table 3. Disentanglement on dsprites**" in _page(tmp_path)
    assert [path.name for path in (tmp_path / "out" / "study" / "cells").iterdir()] == ["dsprites-vae-seed0.json"]


def test_a_run_that_is_cut_off_is_scored_and_goes_on(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "METHOD_ORDER", ("vae",))
    scale = dataclasses.replace(PAPER_SCALES["smoke"], settings={**PAPER_SCALES["smoke"].settings, "log_every": 5})
    monkeypatch.setitem(PAPER_SCALES, "smoke", scale)
    complete = study.PAPER_CELLS.complete
    taken: list[int] = []

    def cut_off(cells: Any, on_steps: Callable[[int], None]) -> None:
        def stop(steps: int) -> None:
            taken.append(steps)
            if len(taken) == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            on_steps(steps)

        complete(cells, stop)

    monkeypatch.setattr(study, "PAPER_CELLS", dataclasses.replace(study.PAPER_CELLS, complete=cut_off))
    assert main([*words, "--only", "study"]) == 0
    assert not (tmp_path / "out" / "study").exists()
    assert main([*words, "--only", "so far"]) == 0
    (name, found), *_ = _pieces(tmp_path)["so far"].items()
    at = int(re.fullmatch(r"dsprites vae at (\d+)", name)[1])  # type: ignore[index]
    assert 0 < at < 20
    assert found["psnr_db"] > 0
    assert f"| dsprites | VAE | {at} of 20 |" in _page(tmp_path)
    taken[:] = [0]
    assert main([*words, "--only", "study"]) == 0
    assert sum(taken) == 20 - at
    record = json.loads((tmp_path / "out/study/cells/dsprites-vae-seed0.json").read_text(encoding="utf-8"))["record"]
    assert record["seconds"]["from_step"] == at
    # what it had come to is no news any more
    assert f"{at} of 20" not in _page(tmp_path)


def _work(folder: Path, ends: float = float("inf")) -> Work:
    return Work(Record(folder / "out", "smoke", "the command"), SIZES["smoke"], folder / "runs", folder / "out", ends)


def test_what_was_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    computed: list[str] = []

    def item(name: str, end: bool = False) -> Callable[[], Mapping[str, Any]]:
        def compute() -> dict[str, Any]:
            if end:
                raise KeyboardInterrupt
            computed.append(name)
            return {"value": float("nan")}

        return compute

    with pytest.raises(KeyboardInterrupt):
        _work(tmp_path).do("piece", {"a": item("a"), "b": item("b", end=True), "c": item("c")})
    assert list(_pieces(tmp_path)["piece"]) == ["a"]
    assert (tmp_path / "out" / PAGE).is_file()
    _work(tmp_path, ends=time.monotonic()).do("piece", {"b": item("b")})
    assert computed == ["a"]
    _work(tmp_path).do("piece", {"a": item("a"), "b": item("b"), "c": item("c")})
    assert computed == ["a", "b", "c"]
    assert _pieces(tmp_path)["piece"]["c"]["value"] is None


def test_what_fails_is_told_and_tried_again_by_the_next_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> dict[str, Any]:
        raise RuntimeError("CUDA error: an illegal memory access\nmore of it")

    work = _work(tmp_path)
    work.do(
        "equality", {"a": fails, "b": lambda: {"models": 1, "steps": 2, "first_loss": 0, "loss": 0, "parameters": 0}}
    )
    assert "a failed: RuntimeError: CUDA error: an illegal memory access" in capsys.readouterr().out
    assert "- a failed: RuntimeError: CUDA error: an illegal memory access" in _page(tmp_path)
    assert "| b | 1 | 2 |" in _page(tmp_path)
    again = _work(tmp_path)
    assert again.record.has("equality", "a")
    again.record.forget_failures()
    assert not again.record.has("equality", "a")
    assert again.record.has("equality", "b")


def test_figures_of_another_card_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _work(tmp_path).record.write()
    monkeypatch.setattr("experiments.gpu.record.machine_facts", lambda: {"gpu": "another", "torch": torch.__version__})
    assert main(["--scale", "smoke", "--here", "--out", str(tmp_path / "out")]) == 2
    assert "holds the figures of another gpu" in capsys.readouterr().err


def test_a_card_is_needed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main([]) == 2
    assert "needs a CUDA device, none is available here; --scale smoke runs on a CPU" in capsys.readouterr().err
    assert main(["--minutes", "0"]) == 2
    assert main(["--only", "sped"]) == 2
    assert "Did you mean 'speed'" in capsys.readouterr().err


def test_a_piece_that_breaks_is_started_again_and_none_outlasts_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[list[str]] = []
    ended: list[str] = []

    class Process:
        def __init__(self, words: list[str]) -> None:
            started.append(words)
            self.piece = words[words.index("--only") + 1]
            self.returncode = 1 if self.piece == "speed" else 0

        def wait(self, seconds: float | None = None) -> None:
            if self.piece == "equality" and self.piece not in ended:
                raise subprocess.TimeoutExpired("it", 1)

        def terminate(self) -> None:
            ended.append(self.piece)

    processes = types.SimpleNamespace(Popen=Process, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(command, "subprocess", processes)
    assert main(["--scale", "smoke", "--out", str(tmp_path / "out"), "--minutes", "1"]) == 0
    pieces = [words[words.index("--only") + 1] for words in started]
    assert pieces == ["tests", *["speed"] * 3, "equality", "evaluation", "study", "so far"]
    assert ended == ["equality"]
    assert all("--here" in words for words in started)
    assert capsys.readouterr().err.count("speed: its process ended with 1") == 3
    minutes = {piece: float(words[-1]) for piece, words in zip(pieces, started, strict=True)}
    assert minutes["speed"] < 0.26
    assert 0.9 < minutes["study"] < 0.93
    assert minutes["so far"] > 0.95


def test_every_method_of_the_study_has_its_place() -> None:
    assert sorted(METHOD_ORDER) == sorted(METHODS)
    assert METHOD_ORDER[:6] == ("vae", "beta_vae", "sparse", "capacity", "beta_tcvae", "factor_vae")
    assert PAPER_SCALES["gpu"].steps == 346_000


def test_perceptual_cells_without_weights_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, **__: Any) -> None:
        raise AssertionError("it fetches nothing")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", download)
    monkeypatch.setattr("torch.hub.download_url_to_file", download)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    work = dataclasses.replace(_work(tmp_path), sizes=SIZES["gpu"])
    cells, left_out = study.study_cells(work)
    arms = list(dict.fromkeys((cell.dataset, cell.method) for cell in cells))
    assert arms[:6] == [("dsprites", method) for method in METHOD_ORDER[:6]]
    assert ("faces", "sparse") in arms
    assert not any(METHODS[method].perceptual for _, method in arms)
    # four arms on dsprites, the paper's two and the two that start with pixels, and two on faces and chairs3d each
    assert len(left_out) == 8
    assert [cell.seed for cell in cells[:10]] == list(range(10))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "vgg16-397923af.pth").touch()
    cells, left_out = study.study_cells(work)
    assert not left_out
    arms = list(dict.fromkeys((cell.dataset, cell.method) for cell in cells))
    places = [arms.index(arm) for arm in (("dsprites", "factor_vae"), ("dsprites", "perceptual"), ("faces", "vae"))]
    assert places == sorted(places)


def test_reports_of_tests_are_read(tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    path.write_text(
        '<testsuites><testsuite><testcase classname="a" name="b"/><testcase classname="a" name="c"><failure '
        'message="off by 2&#10;more"/></testcase><testcase classname="a" name="d"><skipped/></testcase></testsuite>'
        "</testsuites>"
    )
    assert read_report(path) == {"passed": 1, "skipped": 1, "failures": {"a::c": "off by 2"}}
    names = {file.name for file in files_of_tests(ROOT / "tests")}
    assert {"test_step_graph.py", "test_evaluate.py", "test_information.py"} <= names


def test_wheels_are_those_of_the_project_and_of_what_it_needs() -> None:
    requirements = declared(ROOT / "pyproject.toml")
    listed = wheels(requirements)
    wanted = {canonical(re.split(r"[<>=!\[ ]", requirement)[0]) for requirement in requirements}
    assert "torch" in wanted
    assert wanted - {"torch"} <= listed.keys()
    assert "torch" not in listed
    assert not [name for name in listed if name.startswith("nvidia")]
    assert "markdown" in listed  # of tensorboard

    known: dict[str, tuple[str, list[str]]] = {
        "a-b": ("1", ["C >=2", "torch>1", 'extra-only ; extra == "x"', 'absent ; sys_platform == "win32"']),
        "c": ("2", ["a_b"]),
        "torch": ("9", ["of-torch"]),
        "of-torch": ("1", []),
    }
    assert wheels(["A_b>=1", "torch>=2"], installed=known.get) == {"a-b": "1", "c": "2"}


def test_wheels_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--wheels"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(re.fullmatch(r"#.*|[a-z0-9-]+==\S+", line) for line in lines)
    assert any(line.startswith("pytest==") for line in lines)


@pytest.mark.slow
def test_the_whole_command_on_a_cpu_killed_on_its_way_and_begun_again(tmp_path: Path) -> None:
    words = ["--scale", "smoke", "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"), "--minutes", "60"]
    whole = [sys.executable, "-m", "experiments.gpu", *words]
    results = tmp_path / "out" / RESULTS
    process = subprocess.Popen(whole, cwd=ROOT)
    while not (results.is_file() and "1 none" in _pieces(tmp_path).get("speed", {})):
        assert process.poll() is None
        time.sleep(0.2)
    process.terminate()
    assert process.wait() == 128 + signal.SIGTERM
    before = _pieces(tmp_path)["speed"]
    started = time.perf_counter()
    assert subprocess.run(whole, cwd=ROOT, check=False).returncode == 0
    print(f"the rest of the dry run: {time.perf_counter() - started:.0f} s")
    found = _pieces(tmp_path)
    assert found.keys() >= set(PIECES) - {"so far", "study"}
    assert {name: found["speed"][name] for name in before} == before
    assert found["tests"]["pytest -m gpu"]["failures"] == {}
    assert not [item for piece in found.values() for item in piece.values() if "failed" in item]
    assert len(list((tmp_path / "out" / "study" / "cells").iterdir())) == 5


def test_the_tests_need_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(own_tests, "ROOT", tmp_path)
    work = _work(tmp_path)
    PIECES["tests"][0](work)
    assert "run this in a checkout" in _page(tmp_path)


def test_what_was_left_out_once_is_forgotten_when_it_is_there(tmp_path: Path) -> None:
    record = Record(tmp_path / "out", "smoke", "the command")
    record.add("study", "left out", {"cells": "dsprites-sparse", "reason": "no weights"})
    assert "Left out: dsprites-sparse. no weights." in _page(tmp_path)
    record.forget("study", "left out")
    record.forget("study", "never there")
    record.write()
    assert "Left out" not in _page(tmp_path)
