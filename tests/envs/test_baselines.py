"""The table of envs/public.md: what chance and the scripted policy return."""

from __future__ import annotations

import re

import pytest

import envs  # noqa: F401 (registers the environments)
from envs.baselines import TASKS, main
from tests import ROOT
from tests.envs.public_tasks import needs


def test_a_row_tells_returns_successes_and_speed(capsys: pytest.CaptureFixture[str]) -> None:
    needs("VizDoomBasic")
    assert main(["--tasks", "VizDoomBasic", "--episodes", "3"]) == 0
    cells = [cell.strip() for cell in capsys.readouterr().out.splitlines()[-1].strip("|").split("|")]
    assert cells[0] == "`VizDoomBasic`"
    assert float(cells[1].replace(",", "")) > 0
    random, scripted = (re.fullmatch(r"(-?[\d.]+) ± [\d.]+, (\d+)%", cell) for cell in cells[2:])
    assert random is not None
    assert scripted is not None
    assert float(random[1]) < float(scripted[1])
    assert int(scripted[2]) == 100


def test_the_page_shows_the_table_and_describes_every_task() -> None:
    page = (ROOT / "envs/public.md").read_text(encoding="utf-8")
    measured = re.findall(r"^\| `([\w-]+)` \| [\d,]+ \| ", page, flags=re.MULTILINE)
    assert measured == list(TASKS)
    assert set(re.findall(r"^\| `SparseRepr/([\w-]+)-v0` \|", page, flags=re.MULTILINE)) == set(TASKS)
    for name in TASKS:
        assert re.search(rf"^## .*\b{name.partition('-')[0]}\b", page, flags=re.MULTILINE), name
