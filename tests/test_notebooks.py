"""The notebooks of the site: they run from top to bottom, and what is committed of their output is whole and clean."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sparse_repr.data import FactorDataset
from tests import ROOT

FOLDER = ROOT / "docs/notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# what takes minutes is done for a moment
SHORTER = (
    ("steps = 4_000", "steps = 7"),
    ("5_000, replace", "600, replace"),
    ("sample=20_000", "sample=300"),
    ("image_items=2_000", "image_items=100"),
    ("learn(40_000)", "learn(64)"),
    ("n_steps=256, batch_size=256", "n_steps=8, batch_size=16"),
    ("n_eval_episodes=100", "n_eval_episodes=1"),
    ("n_eval_episodes=20", "n_eval_episodes=1"),
    ("n_envs=8", "n_envs=2"),
    ("steps=60", "steps=3"),
    ("from IPython.display import Image", "Image = dict  # only a notebook displays"),
)


def _cells(path: Path, kind: str) -> list[dict[str, Any]]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == kind]


def _name(path: Path) -> str:
    return path.stem


def test_every_replacement_is_of_a_notebook() -> None:
    code = "".join("".join(cell["source"]) for path in NOTEBOOKS for cell in _cells(path, "code"))
    assert len(NOTEBOOKS) == 2
    for long, _ in SHORTER:
        assert long in code


@pytest.mark.parametrize("path", NOTEBOOKS, ids=_name)
@pytest.mark.filterwarnings("ignore:.* is not active in its statistics:UserWarning")
def test_a_notebook_runs_from_top_to_bottom(
    path: Path, dsprites: FactorDataset, short_episodes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for cell in _cells(path, "code"):
        code = "".join(cell["source"])
        for long, short in SHORTER:
            code = code.replace(long, short)
        exec(compile(code, path.name, "exec"), namespace)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=_name)
def test_what_is_committed_ran_in_order_and_says_nothing_of_the_machine(path: Path) -> None:
    cells = _cells(path, "code")
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), "run make notebooks"
    shown = [output for cell in cells for output in cell["outputs"]]
    assert len(shown) >= 4
    for output in shown:
        assert output["output_type"] in ("stream", "execute_result", "display_data"), output
        assert output.get("name") != "stderr", output["text"]
        text = json.dumps({kind: data for kind, data in output.get("data", {}).items() if not kind.startswith("image")})
        assert not re.search(r"/(root|home|tmp|Users|work)/", text + "".join(output.get("text", [])))
    assert path.stat().st_size < 1_500_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=_name)
def test_links_of_a_notebook_lead_somewhere(path: Path) -> None:
    for cell in _cells(path, "markdown"):
        for link in re.findall(r"\]\(([^)#\s]+)", "".join(cell["source"])):
            assert (FOLDER / link).resolve().exists(), link
