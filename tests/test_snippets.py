"""Every snippet of the README and the guide runs, in order, in one folder and one namespace; other pages' too."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sparse_repr import FrozenEncoder, load_encoder, save_encoder
from sparse_repr.data import DATASETS, FactorDataset
from sparse_repr.metrics import FAMILIES, METRICS
from sparse_repr.models import ARCHITECTURES
from sparse_repr.objectives import OBJECTIVES
from tests import ROOT

IN_ORDER = (ROOT / "README.md", ROOT / "docs/guide.md")
RL_PAGE = ROOT / "rl/README.md"
# Long runs are shortened by these replacements; a snippet that none of them matches runs as it stands.
SHORTER = (
    (r'(PPO\("MlpPolicy", venv)\)', r"\1, n_steps=16)"),
    (r"\n    env,\n", "\n    env,\n    n_steps=64,\n"),
    (r"policy_kwargs=kwargs\)", "policy_kwargs=kwargs, n_steps=64)"),
    (r"--preset dsprites/sparse/opened", "--dataset dsprites --objective sparse --steps 6"),
    (r"--steps [\d_]+", "--steps 6"),
    (r"steps=[\d_]+", "steps=6"),
    (r"learn\([\d_]+", "learn(64"),
    (r"n_steps=\d+", "n_steps=64"),
    (r"eval_freq=[\d_]+", "eval_freq=8"),
    (r"--seeds 0-15 --sparsity-weight 0,1,4", "--seeds 0-1 --sparsity-weight 1"),
    (r"--frames [\d_]+", "--frames 40"),
    (r"--sample [\d_]+", "--sample 300"),
    (r"(sparse_repr\.evaluate \S+)", r"\1 --image-items 200 --metrics mig"),
    (
        r"pixels_to_agent \S+",
        "pixels_to_agent envs:SparseRepr/SpriteReach-v0 --frames 40 --pretrain-steps 6 --agent-steps 512 "
        "--film-steps 3 --code-scaling none",
    ),
)


def shorten(text: str) -> str:
    for pattern, replacement in SHORTER:
        text = re.sub(pattern, replacement, text)
    return text


def _main_of(module: str) -> Callable[[list[str]], int]:
    """What `python -m` of a module calls; test_readme.py has it called that way."""
    found = importlib.util.find_spec(module)
    assert found is not None, module
    program = importlib.import_module(module if found.submodule_search_locations is None else f"{module}.__main__")
    main: Callable[[list[str]], int] = program.main
    return main


def test_snippets_run_in_order(dsprites: FactorDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    blocks = [
        (page.name, language, text)
        for page in IN_ORDER
        for language, text in re.findall(
            r"```(python|bash)\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL
        )
    ]
    assert len(blocks) >= 9
    for page, language, text in blocks:
        code = shorten(text)
        if language == "python":
            exec(compile(code, page, "exec"), namespace)
            continue
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:2] == ["python", "-m"]:
                assert _main_of(words[2])(words[3:]) == 0, line


def _python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def _other_pages_with_snippets() -> list[Path]:
    folders = ("docs", "envs", "experiments", "rl", "sparse_repr")
    pages = [page for folder in folders for page in (ROOT / folder).rglob("*.md")]
    return sorted(page for page in pages if page not in (*IN_ORDER, RL_PAGE) and _python_blocks(page))


@pytest.fixture
def _registries_as_they_were() -> Iterator[None]:
    """A page may register entries of its own; the next test does not find them."""
    registries: list[dict[str, Any]] = [DATASETS, OBJECTIVES, ARCHITECTURES, METRICS, FAMILIES]
    before = [dict(registry) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)


@pytest.mark.parametrize("page", _other_pages_with_snippets(), ids=lambda page: page.relative_to(ROOT).as_posix())
@pytest.mark.usefixtures("_registries_as_they_were")
def test_the_snippets_of_the_other_pages_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = _python_blocks(page)
    for library in ("sbx", "timm", "torchrl"):
        if any(f"from {library}" in code or f'"{library}:' in code for code in blocks):
            pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for code in blocks:
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
        exec(compile(shorten(code), str(RL_PAGE), "exec"), namespace)
