"""Command lines: whatever is wrong with the words is one line on stderr and exit code 2."""

from __future__ import annotations

import importlib
import io
import os
import sys
import warnings

import pytest

from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.evaluate.run import EvaluateConfig

HUGE = str(2**70)
REFUSED = {
    "sparse_repr.pretrain.__main__": [
        (["--threads", "0"], "threads needs a whole number in 1..1024, got 0"),
        (["--threads", HUGE], f"threads needs a whole number in 1..1024, got {HUGE}"),
        (["--seed", "-1"], "seed needs a whole number in 0..9223372036854775807, got -1"),
        (["--seed", HUGE], f"seed needs a whole number in 0..9223372036854775807, got {HUGE}"),
        (["--batch-size", HUGE], f"batch_size needs a whole number in 1..1000000, got {HUGE}"),
        (["--code-size", HUGE], f"code_size needs a whole number in 1..100000, got {HUGE}"),
        (["--seeds", "0-99999999999"], "--seeds needs at most 10000 seeds, got '0-99999999999'"),
        (["--run-dir", ""], "run_dir needs the name of a file or folder, got ''"),
        (["--data-path", ""], "data_path needs the name of a file or folder, got ''"),
        (["--objective", "betavae"], "Did you mean 'beta_vae'"),
        (["--preset", "fats"], "unknown preset 'fats'"),
        (["--steps", "many"], "Error parsing --steps"),
        (["--stpes", "3"], "Unrecognized options: --stpes"),
    ],
    "sparse_repr.evaluate.__main__": [
        ([], "evaluate needs at least one run folder, got none"),
        ([""], "run needs the name of a file or folder, got ''"),
        (["r", "--threads", "0"], "threads needs a whole number in 1..1024, got 0"),
        (["r", "--threads", HUGE], f"threads needs a whole number in 1..1024, got {HUGE}"),
        (["r", "--seed", "-1"], "seed needs a whole number in 0..4294967295, got -1"),
        (["r", "--seed", HUGE], f"seed needs a whole number in 0..4294967295, got {HUGE}"),
        (["r", "--n-bootstrap", HUGE], f"n_bootstrap needs 0 or 2..1000000 repetitions, got {HUGE}"),
        (["r", "--n-bootstrap", "-2"], "n_bootstrap needs 0 or 2..1000000 repetitions, got -2"),
        (["r", "--metrics", "migg"], "unknown metric 'migg'. Did you mean 'mig'"),
        (["r", "s", "--out", ""], "out needs the name of a file or folder, got ''"),
        (["r", "--data-path", ""], "data_path needs the name of a file or folder, got ''"),
    ],
    "sparse_repr.perceptual.__main__": [
        ([], "got 'nothing'"),
        (["fecth"], "perceptual fetch or landscape, got 'fecth'"),
    ],
    "sparse_repr.data.__main__": [
        ([], "Missing from python -m sparse_repr.data: NAME"),
        (["chair"], "unknown data set 'chair'. Did you mean 'chairs'"),
        (["dsprites", "--path", ""], "path needs the name of a file or folder, got ''"),
        (["dsprites", "--out", ""], "out needs the name of a file or folder, got ''"),
    ],
    "rl.record": [
        (["e", "--out", ""], "out needs the name of a file, got ''"),
        (["e", "--out", "f", "--envs", HUGE], f"envs needs a whole number in 1..10000, got {HUGE}"),
        (["e", "--out", "f", "--frames", "0"], "frames needs a whole number in 1..1000000000000, got 0"),
        (["e", "--out", "f", "--seed", "-1"], "seed needs a whole number in 0..9223372036854775807, got -1"),
        (["no_such_module:Env-v0", "--out", "f"], "no_such_module"),
    ],
    "experiments.quickstart": [
        (["--environments", "0"], "environments needs a whole number in 1..1024, got 0"),
        (["--seed", "-1"], "seed needs a whole number in 0..4294967295, got -1"),
        (["--out", ""], "out needs the name of a file or folder, got ''"),
        (["--threads", "0"], "threads needs a whole number in 1..1024, got 0"),
    ],
    "experiments.pixels_to_agent": [
        (["e", "--frames", "-5"], "frames needs a whole number in 1..1000000000000, got -5"),
        (
            ["e", "--render", "--key", "k"],
            "take either what is drawn (--render) or an entry (--key k), got both",
        ),
    ],
    "envs.pictures": [(["--our", "f"], "Unrecognized options: --our")],
    "envs.baselines": [
        (["--tasks", "Pog"], "unknown task 'Pog'. Did you mean 'Pong'"),
        (["--episodes", "0"], "episodes needs a whole number in 1..1000000, got 0"),
    ],
    "experiments.readme_tables": [(["README.md"], "Unrecognized options: README.md")],
    "experiments.measure.shape_probe": [([""], "run needs the name of a file or folder, got ''")],
    "experiments.benchmark.__main__": [
        (["encode", "--out", ""], "out needs the name of a file or folder, got ''"),
        (["encoed"], "part needs one of "),
    ],
    "experiments.compare_objectives": [(["vae", "--seed", HUGE], "seed needs a whole number in 0..4294967295")],
    "experiments.benchmark.perceptual": [(["--seeds", "-1"], "seeds needs a whole number in 0..4294967295, got -1")],
    "experiments.time_to_quality.__main__": [
        (["--items", "0"], "items needs a whole number in 1..1000000000000, got 0")
    ],
    "experiments.reference_codes": [(["--samples", "0"], "samples needs a whole number in 1..1000000000000, got 0")],
    "experiments.compare_agents": [
        (["--scale", "cpu", "--processes", "0"], "processes needs a whole number in 1..1024, got 0")
    ],
    "experiments.reproduce_paper": [
        (["--scale", "cpu", "--threads", "-1"], "threads needs a whole number in 1..1024, got -1")
    ],
}


@pytest.mark.parametrize("module", REFUSED)
def test_words_that_cannot_be_used_are_one_line_and_code_2(
    module: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    main = importlib.import_module(module).main
    for words, message in REFUSED[module]:
        assert main(words) == 2, words
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1, said.err
        assert message in said.err


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_path_longer_than_the_terminal_is_not_torn(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))  # tyro draws its box by this
    monkeypatch.setenv("COLUMNS", "40")
    path = "/somewhere" * 15
    with pytest.raises(ValueError, match=path):
        parse_options(EvaluateConfig, ["run", "--image-items", path], program="evaluate", description=None)


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_options(EvaluateConfig, ["--help"], program="evaluate", description="Score runs.")
    said = capsys.readouterr()
    assert stopped.value.code == 0
    assert "Score runs." in said.out
    assert said.err == ""


def test_want_of_memory_is_one_line_and_a_fault_of_ours_is_not_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(error: Exception) -> int:
        raise error

    torch_says = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
    for error in (MemoryError(), RuntimeError(torch_says)):
        assert run_command(lambda: fail(error)) == 2  # noqa: B023
        assert capsys.readouterr().err.startswith("error: not enough memory (")
    with pytest.raises(RuntimeError, match="a fault"):
        run_command(lambda: fail(RuntimeError("a fault")))
    with pytest.raises(KeyError):
        run_command(lambda: fail(KeyError("a fault")))


def test_a_warning_for_the_user_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def warn() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("two\nlines", UserWarning, stacklevel=1)

    assert run_command(warn) == 0
    assert capsys.readouterr().err == "warning: two lines\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_one_line_and_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert run_command(lambda: print("x")) == 2
        assert capsys.readouterr().err == "error: [Errno 28] No space left on device\n"
        full.flush()  # as Python does at its end: what could not be written is not tried again
