"""`--plugin`: entries of one's own in every command, and what is said where a file cannot be one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparse_repr.command_line import plugins
from sparse_repr.command_line.plugins import load_plugins, loaded_plugins, plugin_words, take_plugins
from sparse_repr.data import DATASETS
from sparse_repr.data.__main__ import main as show_data
from sparse_repr.evaluate.__main__ import main as evaluate
from sparse_repr.pretrain.__main__ import main as pretrain
from tests import ROOT

DOTS = '''
import numpy as np

from sparse_repr.data import DATASETS, ArrayImages, FactorDataset


def load_dots(path=None):
    """One bright pixel at each of 8 x 8 places."""
    images = np.zeros((64, 1, 32, 32), np.uint8)
    for item in range(64):
        images[item, 0, 4 * (item // 8), 4 * (item % 8)] = 255
    return FactorDataset("dots", ArrayImages(images), source="drawn")


DATASETS["dots"] = load_dots
'''
COMMAND = """
import sys

from sparse_repr.pretrain.__main__ import main

sys.exit(main())
"""
SHORT = (
    "--dataset",
    "dots",
    "--image-size",
    "32",
    "--steps",
    "2",
    "--batch-size",
    "4",
    "--device",
    "cpu",
    "--no-progress",
)


@pytest.fixture
def dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A plug-in that is not loaded yet; afterwards nothing of it is left."""
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.setattr(sys, "argv", ["pytest"])
    script = tmp_path / "dots_of_mine.py"
    script.write_text(DOTS)
    yield script
    DATASETS.pop("dots", None)
    sys.modules.pop("dots_of_mine", None)


def test_words_without_plugins_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert take_plugins(["runs/a", "--metrics", "mig"]) == ["runs/a", "--metrics", "mig"]
    monkeypatch.setattr(sys, "argv", ["evaluate", "runs/b"])
    assert take_plugins(None) == ["runs/b"]


def test_a_plugin_is_loaded_once_and_named_for_the_next_command(dots: Path) -> None:
    assert take_plugins(["--plugin", str(dots), "--steps", "2", f"--plugin={dots}"]) == ["--steps", "2"]
    assert "dots" in DATASETS
    del DATASETS["dots"]
    load_plugins([str(dots)])
    assert "dots" not in DATASETS  # loading it again would register it again
    assert loaded_plugins() == (str(dots),)
    assert plugin_words(is_program=True) == ["--plugin", str(dots)]


def test_a_module_is_a_plugin_too(dots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(dots.parent)
    assert take_plugins(["--plugin", "dots_of_mine"]) == []
    assert "dots" in DATASETS
    assert loaded_plugins() == ("dots_of_mine",)


def test_a_script_that_is_the_command_line_is_named_for_the_next_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_loaded", {})
    for program, words in (
        ("mine.py", ["--plugin", "mine.py"]),
        ("sparse_repr/pretrain/__main__.py", []),
        ("bin/sparse-repr-pretrain", []),
    ):
        monkeypatch.setattr(sys, "argv", [program])
        assert plugin_words(is_program=True) == words
        assert plugin_words(is_program=False) == []  # main([...]) of a script that may do anything else


def test_what_pretrain_prints_next_works(dots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = dots.parent / "run"
    assert pretrain(["--plugin", str(dots), *SHORT, "--run-dir", str(run)]) == 0
    (printed,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("next:"))
    assert printed.split()[1:] == f"python -m sparse_repr.evaluate {run} --plugin {dots}".split()
    assert evaluate([*printed.split()[4:], "--image-items", "8", "--no-progress"]) == 0
    assert show_data(["--plugin", str(dots), "dots", "--out", str(dots.parent / "dots.png")]) == 0


def test_processes_of_their_own_know_the_plugin(dots: Path) -> None:
    words = [*SHORT, "--seeds", "0,1", "--together", "processes", "--run-dir", str(dots.parent / "runs")]
    assert pretrain(["--plugin", str(dots), *words]) == 0
    assert len(list((dots.parent / "runs").glob("*/encoder.safetensors"))) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no file"),
        ("import no_such_module_anywhere", r"ModuleNotFoundError: No module named .* \(line 1\)"),
        ("\n\n1 / 0", r"ZeroDivisionError: division by zero \(line 3\)"),
        ("def (", "SyntaxError"),
        ("raise SystemExit(0)", "it ends the program: put what is to run .* under `if __name__ == '__main__':`"),
        (COMMAND, r"it starts a command itself: put .* under `if __name__ == '__main__':` \(line 6\)"),
    ],
)
def test_what_cannot_be_a_plugin_is_told_in_one_line(
    text: str | None, message: str, dots: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is None:
        dots.unlink()
    else:
        dots.write_text(text)
    with pytest.raises(ValueError, match=f"^--plugin {dots} could not be loaded: .*{message}"):
        take_plugins(["--plugin", str(dots)])
    assert "dots_of_mine" not in sys.modules
    assert evaluate(["runs/a", "--plugin", str(dots)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_plugin_must_not_hide_a_module(dots: Path) -> None:
    renamed = dots.rename(dots.with_name("numpy.py"))
    with pytest.raises(ValueError, match=r"a module numpy is there already, .*rename the file"):
        load_plugins([str(renamed)])


@pytest.mark.parametrize("words", [["--plugin"], ["--plugin="], ["--plugin", "--steps", "2"], ["--plugin=", "runs/a"]])
def test_plugin_without_a_name(words: list[str]) -> None:
    with pytest.raises(ValueError, match="--plugin needs a Python file or a module"):
        take_plugins(["runs/a", *words])


def test_what_lies_beside_a_plugin_is_found_by_it(dots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (dots.parent / "beside_dots.py").write_text("NAME = 'dots'\n")
    dots.write_text("from beside_dots import NAME\n" + DOTS.replace('DATASETS["dots"]', "DATASETS[NAME]"))
    load_plugins([str(dots)])
    assert "dots" in DATASETS


def test_a_line_is_named_however_the_file_is_called(dots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(dots.parent)
    dots.write_text("\n1 / 0")
    with pytest.raises(ValueError, match=r"ZeroDivisionError: division by zero \(line 2\)"):
        load_plugins([f"./{dots.name}"])


def test_who_looks_for_an_entry_of_their_own_is_told_how(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--dataset", "qqq"], ["--objective", "log_sparse"]):  # the second is like one that is known
        assert pretrain(words) == 2
        assert "Your own must be registered first (--plugin FILE.py of pretrain" in capsys.readouterr().err


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_of_it_by_its_processes(dots: Path) -> None:
    dots.write_text(DOTS + COMMAND)
    words = [*SHORT, "--seeds", "0,1", "--together", "processes", "--run-dir", str(dots.parent / "runs")]
    done = subprocess.run(
        [sys.executable, str(dots), *words],
        cwd=dots.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "put what is to run only as a program under `if __name__ == '__main__':`" in done.stderr
    assert "Traceback" not in done.stderr
