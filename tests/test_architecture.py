"""The plan of the house: which folders there are, which way imports go, and nothing heavy on `import sparse_repr`."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests import ROOT

HOUSES = ("sparse_repr", "rl", "envs", "experiments")
ALLOWED = {
    "sparse_repr": {"sparse_repr"},
    "rl": {"rl", "sparse_repr"},
    "envs": {"envs", "sparse_repr"},
    "experiments": set(HOUSES),
}
# from the ground up: a folder imports from lower lines and from its own, never from a higher one
FLOORS = {
    "sparse_repr": (
        {"registry", "files", "devices", "artefact", "figures", "command_line"},
        {"data", "models", "metrics"},
        {"objectives"},
        {"perceptual", "encoder"},
        {"pretrain"},
        {"evaluate", "explore"},
        {"__init__", "__main__"},
    ),
    "experiments": (
        {"measure"},
        {"pages", "study", "film"},
        {"benchmark", "time_to_quality", "agents", "paper"},
        {
            "gpu",
            "compare_agents",
            "compare_objectives",
            "demo",
            "pixels_to_agent",
            "quickstart",
            "readme_tables",
            "reference_codes",
            "reproduce_paper",
        },
    ),
}
# version 0.1 had 45 rooms with 154 arrows between them, and 37 with 71; gpu, which measures with what there is, has 5
# the list of commands, __main__, is an entry too, and asks registry for close matches; charts have one style, so
# perceptual, which draws one, goes to figures; explore is a command as evaluate is, and reads as much of a run;
# encoder is a command too, which lists what comes with the package; demo is the first command of who tries it
MOST_ENTRIES = {"sparse_repr": 17, "experiments": 20}
MOST_ARROWS = {"sparse_repr": 63, "experiments": 37}
IMPORT_NAMES = {
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "PIL": "pillow",
    "ale_py": "ale-py",
    "sb3_contrib": "sb3-contrib",
    "stable_baselines3": "stable-baselines3",
}


def _modules(house: str) -> list[Path]:
    return sorted((ROOT / house).rglob("*.py"))


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("house", HOUSES)
def test_import_arrows(house: str) -> None:
    assert _modules(house)
    for path in _modules(house):
        forbidden = (_imports(path) & set(HOUSES)) - ALLOWED[house]
        assert not forbidden, f"{path.relative_to(ROOT)} imports {sorted(forbidden)}"


def _rooms(house: str) -> dict[str, Path]:
    """Modules and packages at the top of a house; a marker such as py.typed and pages are none."""
    inside = sorted((ROOT / house).iterdir())
    return {path.stem: path for path in inside if path.suffix == ".py" or (path / "__init__.py").is_file()}


def _arrows(house: str) -> Counter[tuple[str, str]]:
    """Imports from one room of a house to another: (from, to) -> how many import statements."""
    arrows: Counter[tuple[str, str]] = Counter()
    rooms = _rooms(house)
    for path in _modules(house):
        room = path.relative_to(ROOT / house).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] != house:
                continue
            below = (node.module or "").split(".")[1:]
            names = below[:1] or [alias.name if alias.name in rooms else "__init__" for alias in node.names]
            arrows.update((room, name) for name in names if name != room)
    return arrows


@pytest.mark.parametrize("house", FLOORS)
def test_rooms_stand_on_floors(house: str) -> None:
    floors = {room: floor for floor, rooms in enumerate(FLOORS[house]) for room in rooms}
    rooms = set(_rooms(house)) - ({"__init__"} - set(floors))
    assert rooms == set(floors), "a new room needs its floor here"
    arrows = _arrows(house)
    print(f"{house}: {len(_modules(house))} modules in {len(rooms)} rooms, {len(arrows)} arrows between rooms")
    for (start, end), count in sorted(arrows.items()):
        print(f"  {start} -> {end}: {count}")
        assert floors[end] <= floors[start], f"{house}.{start} imports from {house}.{end}, which is above it"
        assert (end, start) not in arrows, f"{house}.{start} and {house}.{end} import each other"
    entries = [path for path in (ROOT / house).iterdir() if path.name not in ("__pycache__", "py.typed")]
    assert len(entries) <= MOST_ENTRIES[house]
    assert len(arrows) <= MOST_ARROWS[house]


def test_every_import_of_version_0_1_is_where_the_table_says() -> None:
    page = (ROOT / "MOVED.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \|$", page, flags=re.MULTILINE))
    imports = json.loads((ROOT / "tests/written_by_0_1/imports.json").read_text(encoding="utf-8"))
    assert len(imports) > 800
    missing = []
    for name in imports:
        words = name.split(".")
        known = next((".".join(words[:k]) for k in range(len(words), 0, -1) if ".".join(words[:k]) in table), None)
        target = name if known is None else table[known] + name[len(known) :]
        if target == "deleted" or target.startswith("deleted."):
            continue
        module, _, attribute = target.rpartition(".")
        try:
            found = hasattr(importlib.import_module(module), attribute)
        except ImportError:
            found = False
        if not found:
            try:
                importlib.import_module(target)
            except ImportError:
                missing.append(f"{name} -> {target}")
    assert not missing, "MOVED.md does not say where these are:\n" + "\n".join(missing)


def test_import_sparse_repr_is_light() -> None:
    heavy = ("stable_baselines3", "gymnasium", "matplotlib", "sklearn", "skimage")
    code = f"import sys, sparse_repr; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_every_imported_package_is_declared() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    declared = set(re.findall(r'"([A-Za-z0-9_-]+)\s*(?:>=|==|<)', text))
    for house in HOUSES:
        for path in _modules(house):
            for name in _imports(path) - set(sys.stdlib_module_names) - set(HOUSES):
                assert IMPORT_NAMES.get(name, name) in declared, f"{path.relative_to(ROOT)} imports {name}"


def test_no_vague_module_names() -> None:
    for house in HOUSES:
        assert not {path.stem for path in _modules(house)} & {"utils", "helpers", "common", "misc"}


def test_public_names_are_importable() -> None:
    code = """
from sparse_repr import PretrainConfig, pretrain_encoder, load_encoder, save_encoder, FrozenEncoder
from sparse_repr.data import DATASETS, load_dataset, FactorDataset
from sparse_repr.data.dsprites import render_sprites
from sparse_repr.metrics import METRICS, mutual_information_matrix, mig_score, aam_score, mig_histogram_score
from sparse_repr.metrics import beta_vae_score, factor_vae_score, dci_scores, sap_score, modularity_score
from sparse_repr.metrics import explicitness_score, irs_score, infomec_scores, udr_scores
from sparse_repr.metrics import psnr, ssim, active_units, hoyer_sparsity
from rl import LatentExtractor, LatentObservation, VecLatentObservation
"""
    exec(compile(code, "public names", "exec"), {})
