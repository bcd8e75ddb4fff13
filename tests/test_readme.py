"""Every snippet of the README runs, in order, in one folder and one namespace, and so do those of the other pages."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.readme_tables import PAGES, fill
from sparse_repr import FrozenEncoder, load_encoder, save_encoder
from sparse_repr.data import FactorDataset
from tests import ROOT

README = ROOT / "README.md"
RL_PAGE = README.parent / "rl/README.md"
# Long runs are shortened by these replacements; a snippet that none of them matches runs as it stands.
SHORTER = (
    (r"--steps [\d_]+", "--steps 6"),
    (r"steps=[\d_]+", "steps=6"),
    (r"learn\([\d_]+", "learn(64"),
    (r"n_steps=\d+", "n_steps=64"),
    (r"eval_freq=[\d_]+", "eval_freq=8"),
    (r"--seeds 0-15 --sparsity-weight 0,1,4", "--seeds 0-1 --sparsity-weight 1"),
    (r"--frames [\d_]+", "--frames 40"),
    (r"--sample [\d_]+", "--sample 300"),
    (r"(sparse_repr\.evaluate \S+)", r"\1 --image-items 200"),
    (
        r"pixels_to_agent \S+",
        "pixels_to_agent envs:SparseRepr/SpriteReach-v0 --frames 40 --pretrain-steps 6 --agent-steps 512 "
        "--film-steps 3 --code-scaling none",
    ),
)


def _shorten(text: str) -> str:
    for pattern, replacement in SHORTER:
        text = re.sub(pattern, replacement, text)
    return text


def test_snippets_run_in_order(dsprites: FactorDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    blocks = re.findall(r"```(python|bash)\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) >= 5
    for language, text in blocks:
        code = _shorten(text)
        if language == "python":
            exec(compile(code, "README.md", "exec"), namespace)
            continue
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:2] == ["python", "-m"]:
                environment = {**os.environ, "PYTHONPATH": str(README.parent), "OMP_NUM_THREADS": "1"}
                run = subprocess.run([sys.executable, *words[1:]], env=environment, capture_output=True, text=True)
                assert run.returncode == 0, f"{line}\n{run.stderr}"


def _python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def _other_pages_with_snippets() -> list[Path]:
    pages = [page for folder in ("envs", "experiments", "rl", "sparse_repr") for page in (ROOT / folder).rglob("*.md")]
    return sorted(page for page in pages if page != RL_PAGE and _python_blocks(page))


@pytest.mark.parametrize("page", _other_pages_with_snippets(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_snippets_of_the_other_pages_run(page: Path) -> None:
    namespace: dict[str, Any] = {}
    for code in _python_blocks(page):
        exec(compile(code, str(page), "exec"), namespace)


def test_the_snippets_of_the_rl_page_run_in_order(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_run, tmp_path / "runs/sparse")
    # a recoding needs active units, and 40 steps make none
    learned = load_encoder(tiny_run)
    units = dataclasses.replace(learned.spec.units, active=(True,) * learned.code_size)
    spec = dataclasses.replace(learned.spec, units=units)
    save_encoder(FrozenEncoder(spec, learned.network().state_dict()), tmp_path / "runs/sparse/encoder.safetensors")
    monkeypatch.chdir(tmp_path)
    blocks = _python_blocks(RL_PAGE)
    assert len(blocks) >= 5
    namespace: dict[str, Any] = {}
    for code in blocks:
        exec(compile(_shorten(code), str(RL_PAGE), "exec"), namespace)


def test_each_trap_of_the_rl_page_has_the_tests_it_names() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    rows = re.findall(r"^\| (\d+) \|.*\| (`test_.*`) \|$", RL_PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 24))
    for number, names in rows:
        for name in re.findall(r"`(test_\w+)\*?`", names):
            assert f"def {name}" in tests, f"trap {number}: no test is called {name}"


def test_files_in_the_rl_page_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", RL_PAGE.read_text(encoding="utf-8")):
        assert (RL_PAGE.parent / target).exists(), f"{RL_PAGE} links {target}, which does not exist"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.parent.name))
def test_tables_are_those_of_the_committed_results(page: Path) -> None:
    assert fill(page) == page.read_text(encoding="utf-8"), "run python -m experiments.readme_tables"


def test_make_targets_in_the_readme_exist() -> None:
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z-]+)", README.read_text(encoding="utf-8")):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"make {target} does not exist"


def test_files_and_pictures_in_the_readme_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), f"README links {target}, which does not exist"


def test_modules_in_the_readme_answer_help() -> None:
    for module in sorted(set(re.findall(r"python -m ([a-z_.]+)", README.read_text(encoding="utf-8")))):
        run = subprocess.run(
            [sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=README.parent
        )
        assert run.returncode == 0, run.stderr
        assert "usage" in run.stdout
