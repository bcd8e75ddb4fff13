"""The import arrows: experiments -> rl -> sparse_repr <- envs, and nothing heavy on `import sparse_repr`."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
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
IMPORT_NAMES = {
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "PIL": "pillow",
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
