from __future__ import annotations

import importlib.metadata
import sys

import pytest

from sparse_repr.__main__ import HOUSES, commands, main
from sparse_repr.command_line.running import parse_options
from tests import ROOT


def test_every_command_of_the_first_floor_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    entries = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for house in HOUSES
        for path in (*(ROOT / house).glob("*.py"), *(ROOT / house).glob("*/__main__.py"))
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    } - {"sparse_repr"}
    assert set(commands()) == entries, "a command's docstring begins with `python -m NAME`: and what it does"
    assert main([]) == 0
    said = capsys.readouterr().out
    assert all(f"python -m {name} " in said for name in entries)
    assert importlib.metadata.version("sparse-repr") in said


def test_nothing_heavy_is_imported_for_the_list() -> None:
    # what is listed may need extras that are not installed
    before = set(sys.modules)
    commands()
    assert not {name for name in set(sys.modules) - before if name.startswith(("experiments", "rl."))}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pretrain", "--steps", "3"], "python -m sparse_repr.pretrain --steps 3"),
        (["rl.record"], "python -m rl.record"),
        (["pretain"], "Did you mean 'pretrain'"),
        (["--steps"], "All with what they do: python -m sparse_repr"),
    ],
)
def test_a_command_behind_the_package_is_told_what_to_type(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert not shown.out


def test_the_version_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == importlib.metadata.version("sparse-repr")


def test_completion_is_of_the_script_that_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/sparse-repr-pretrain"])

    def settings(steps: int = 3) -> int:
        return steps

    with pytest.raises(SystemExit) as ended:
        parse_options(settings, ["--tyro-print-completion", "bash"], program="python -m x", description=None)
    assert not ended.value.code
    said = capsys.readouterr().out
    assert "complete -F" in said
    assert "sparse-repr-pretrain" in said
    assert "python -m" not in said
