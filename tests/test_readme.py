"""The README and the guides: commands, generated tables and targets are as they say."""

from __future__ import annotations

import re
import runpy
import sys
import warnings
from pathlib import Path

import pytest

from experiments.readme_tables import PAGES, fill
from tests import ROOT

README = ROOT / "README.md"
GUIDES = (README, *sorted((ROOT / "docs").glob("*.md")))
TRAPS_PAGE = ROOT / "rl/traps.md"


def test_each_trap_of_the_page_has_the_tests_it_names() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    rows = re.findall(r"^\| (\d+) \|.*\| (`test_.*`) \|$", TRAPS_PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 24))
    for number, names in rows:
        for name in re.findall(r"`(test_\w+)\*?`", names):
            assert f"def {name}" in tests, f"trap {number}: no test is called {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_are_those_of_the_committed_results(page: Path) -> None:
    assert fill(page) == page.read_text(encoding="utf-8"), "run python -m experiments.readme_tables"


def test_an_arm_on_the_first_page_has_three_seeds_at_least() -> None:
    table = (
        README.read_text(encoding="utf-8").partition("<!-- agents: begin -->")[2].partition("<!-- agents: end -->")[0]
    )
    seeds = re.findall(r"^\| [^|]+ \| (\d+)(?:–(\d+))? \|", table, flags=re.MULTILINE)
    assert len(seeds) >= 8
    assert min(int(last or first) for first, last in seeds) >= 3


def test_make_targets_in_the_readme_exist() -> None:
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z-]+)", README.read_text(encoding="utf-8")):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"make {target} does not exist"


def _modules_in_the_guides() -> list[str]:
    return sorted(
        {module for page in GUIDES for module in re.findall(r"python -m ([a-z_.]+)", page.read_text("utf-8"))}
    )


@pytest.mark.parametrize("module", _modules_in_the_guides())
def test_modules_in_the_guides_answer_help(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["", "--help"])
    with warnings.catch_warnings(), pytest.raises(SystemExit) as end:
        # another test may have imported it
        warnings.filterwarnings("ignore", ".* found in sys.modules after import", RuntimeWarning)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert not end.value.code
    assert f"usage: python -m {module}" in capsys.readouterr().out
