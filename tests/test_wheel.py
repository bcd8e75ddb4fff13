"""The wheel holds what the package needs and nothing else, and does what the README says without the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests import ROOT
from tests.test_architecture import HOUSES
from tests.test_snippets import shorten

_ABSENT = shutil.ignore_patterns("results", "__pycache__", "*.egg-info")
_DATA = (".html", ".js", ".css", ".safetensors", ".yml", "py.typed")
"""Files beside the modules that a running program reads."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for house in HOUSES:
        shutil.copytree(ROOT / house, source / house, ignore=_ABSENT)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    _run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(source / "dist")], source)
    (built,) = (source / "dist").glob("*.whl")
    return built


def _run(command: list[str], folder: Path, **environment: str) -> str:
    hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    known = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**known, **environment}
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def test_the_wheel_holds_every_module_and_file_that_is_read(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    needed = {
        str(path.relative_to(ROOT))
        for house in HOUSES
        for path in (ROOT / house).rglob("*")
        if path.is_file()
        and (path.suffix == ".py" or path.name.endswith(_DATA) or path.parent.name == "shipped_files")
        and not {"results", "__pycache__"} & set(path.parts)
    }
    assert len(needed) > 250
    assert needed <= held
    others = {name for name in held - needed if ".dist-info/" not in name}
    assert not others, "a file that nobody reads, or a kind of file that _DATA does not know"


def test_scripts_of_the_wheel_are_functions_that_exist(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        lines = archive.read(name).decode().splitlines()
    scripts = dict(line.split(" = ") for line in lines if " = " in line)
    assert {"sparse-repr", "sparse-repr-pretrain"} <= set(scripts)
    for target in scripts.values():
        module, _, function = target.partition(":")
        source = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
        assert re.search(rf"^def {function}\(arguments: .* = None\) -> int:", source, flags=re.MULTILINE), target


def test_the_version_is_the_same_everywhere(wheel: Path) -> None:
    version = wheel.name.split("-")[1]
    assert f"## [{version}] - " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


@pytest.mark.slow
def test_an_empty_environment_runs_what_the_readme_begins_with(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel)], tmp_path)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    snippets = re.findall(r"```(bash|python)\n(.*?)```", readme, flags=re.DOTALL)[:3]
    assert [kind for kind, _ in snippets] == ["bash", "python", "python"]
    work = tmp_path / "work"
    work.mkdir()
    for line in shorten(snippets[0][1]).splitlines():
        words = line.partition("#")[0].split()
        assert words[0] == "python"
        _run([str(python), *words[1:]], work)
    # the second and the third share their imports, as in the README
    code = shorten("\n".join(text for _, text in snippets[1:]))
    script = work / "snippets.py"
    script.write_text(f'if __name__ == "__main__":\n{_indented(code)}', encoding="utf-8")
    _run([str(python), str(script)], work)
    listed = _run([str(python.with_name("sparse-repr"))], work)
    assert "python -m sparse_repr.pretrain" in listed
    where = _run([str(python), "-c", "import sparse_repr, rl; print(sparse_repr.__file__, rl.__file__)"], work)
    assert str(ROOT) not in where


def _indented(code: str) -> str:
    return "".join(f"    {line}\n" for line in code.splitlines())
