"""Encoders that come with the package: each loads, is what it was, is small, and scores what its header says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparse_repr import load_encoder
from sparse_repr.data import FactorDataset
from sparse_repr.encoder.__main__ import main
from sparse_repr.encoder.shipped import SHIPPED, shipped_path
from sparse_repr.metrics import mig_histogram_score


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_what_its_header_says(name: str, dsprites: FactorDataset) -> None:
    encoder = load_encoder(f"shipped:{name}")
    assert encoder.fingerprint == SHIPPED[name]
    told = encoder.spec.objective
    assert {"scores", "command", "licence", "seed", "steps"} <= told.keys()
    assert shipped_path(name).stat().st_size <= 2**20
    assert encoder.spec.dataset["name"] == "dsprites"
    items = np.sort(np.random.default_rng(0).permutation(len(dsprites))[:4_000])
    assert dsprites.factors is not None
    found = mig_histogram_score(encoder.encode(dsprites.images(items)), dsprites.factors[items], samples=4_000)
    assert found == pytest.approx(told["scores"]["mig_histogram"], abs=0.03)


def test_together_they_are_small_and_no_file_is_left_over() -> None:
    files = {shipped_path(name) for name in SHIPPED}
    assert set(shipped_path(next(iter(SHIPPED))).parent.iterdir()) == files
    assert sum(file.stat().st_size for file in files) <= 8 * 2**20


def test_unknown_names_and_exchanged_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="unknown shipped encoder 'dsprites/sparse'. Did you mean 'dsprites/sparse_p"):
        load_encoder("shipped:dsprites/sparse")
    name = next(iter(SHIPPED))
    monkeypatch.setitem(SHIPPED, name, "0" * 64)
    with pytest.raises(ValueError, match="expected fingerprint 000000000000, found 8b8c674fdc4e: install the package"):
        load_encoder(f"shipped:{name}")


def test_the_command_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(f"shipped:{name}  D=" in listed for name in SHIPPED)
    assert "mig 0.2983" in listed
    assert main(["--help"]) == 0
    assert main(["train"]) == 2
    assert "takes no arguments, got 'train'" in capsys.readouterr().err
