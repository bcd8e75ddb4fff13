from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments.pages.report import replace_between
from experiments.reference_codes import (
    MARK,
    PAGE,
    ReferenceConfig,
    chosen_families,
    reference_codes,
    reference_table,
    run_reference_codes,
)
from sparse_repr.metrics import METRICS
from tests import ROOT

RESULTS = ROOT / "experiments/results/reference_codes"
CODES = ("perfect", "permuted", "rotated", "duplicated", "noise", "constant")


def test_the_page_shows_the_committed_numbers() -> None:
    results = {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in CODES}
    for result in results.values():
        assert result["scores"].keys() == {"mig", "aam", *METRICS}
        assert result["command"].startswith("python -m experiments.reference_codes")
    table = reference_table(results)
    assert (RESULTS / "table.md").read_text() == table
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert replace_between(page, MARK, table) == page


def test_families_are_computed_again_beside_the_others(tmp_path: Path) -> None:
    out, page = str(tmp_path), None
    with pytest.raises(FileNotFoundError, match="to compute families again beside: leave --families out"):
        run_reference_codes(ReferenceConfig(samples=200, families="irs", out=out, page=page))
    shutil.copytree(RESULTS, tmp_path, dirs_exist_ok=True)
    run_reference_codes(ReferenceConfig(samples=200, families="irs, sap", out=out, page=page))
    for name in CODES:
        before, after = (json.loads((folder / f"{name}.json").read_text()) for folder in (RESULTS, tmp_path))
        assert {key for key in before["scores"] if after["scores"][key] != before["scores"][key]} <= {"irs", "sap"}
        assert after["computed_again"][-1]["command"].endswith(
            "--samples 200 --slow-samples 1500 --seed 0 --families irs,sap"
        )
        assert after["command"] == before["command"]
    assert json.loads((tmp_path / "noise.json").read_text())["scores"]["irs"] != pytest.approx(0.379, abs=0.01)
    with pytest.raises(ValueError, match="unknown family 'dci_forrest'. Did you mean 'dci_forest'"):
        chosen_families("dci_forrest")


def test_every_score_has_a_section_on_the_page() -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    for name in ("mig", "aam", *METRICS, "psnr", "ssim", "lpips", "udr", "hoyer_sparsity"):
        assert f"`{name}`" in page, name


def test_codes_are_what_their_names_say() -> None:
    factors = np.stack(np.unravel_index(np.random.default_rng(0).choice(737_280, 500), (3, 6, 40, 32, 32)), axis=1)
    codes = reference_codes(factors, 0)
    assert tuple(codes) == CODES
    perfect, rotated = codes["perfect"], codes["rotated"]
    np.testing.assert_allclose(np.sort(codes["permuted"].sum(1)), np.sort(perfect.sum(1)))
    np.testing.assert_allclose((rotated**2).sum(1), (perfect**2).sum(1))
    np.testing.assert_allclose(rotated[:, 3], (perfect[:, 3] + perfect[:, 4]) / np.sqrt(2))
    assert codes["duplicated"].shape == (500, 10)
    assert not codes["constant"].any()


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    page = "a\n<!-- t: begin -->\nold\n<!-- t: end -->\nb"
    assert replace_between(page, "t", "new\n") == "a\n<!-- t: begin -->\nnew\n<!-- t: end -->\nb"
    with pytest.raises(ValueError, match="the page needs the marks <!-- t: begin -->"):
        replace_between("a", "t", "new")
