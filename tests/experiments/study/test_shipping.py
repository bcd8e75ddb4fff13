"""Shipping a run: its artefact with what it is, its picture, and what is refused."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.study import shipping
from experiments.study.shipping import ShipConfig, code_scores, main
from sparse_repr import load_encoder
from sparse_repr.data import FactorDataset


@pytest.fixture
def run(own_tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the shared run: shipping scores a run, in its folder."""
    return shutil.copytree(own_tiny_run, tmp_path_factory.mktemp("shipped") / "run")


def test_a_run_becomes_a_file_with_its_scores_and_a_picture(
    run: Path, dsprites: FactorDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(run), "dsprites/tiny", "--command", "python -m sparse_repr.pretrain --steps 40"]
    assert main([*arguments, "--sample", "500", "--folder", str(tmp_path)]) == 0
    encoder = load_encoder(tmp_path / "dsprites-tiny.safetensors")
    assert f'"dsprites/tiny": "{encoder.fingerprint}"' in capsys.readouterr().out
    told = encoder.spec.objective
    assert (told["licence"], told["command"]) == ("MIT", "python -m sparse_repr.pretrain --steps 40")
    assert {"psnr_db", "mig", "aam", "mig_histogram", "linear_r2"} == told["scores"].keys()
    images = dsprites.images(np.arange(4))
    assert np.array_equal(encoder.encode(images), load_encoder(run).encode(images))
    with Image.open(tmp_path / "dsprites-tiny.png") as picture:
        assert picture.size == (8 * 65 - 1, 3 * 65 - 1)  # images, reconstructions, and one unit of a run that has none
        top = np.asarray(picture.convert("L"))[:64, :64]
    first = np.random.default_rng(2).permutation(len(dsprites))[0]
    assert np.abs(top.astype(int) - dsprites.images([first])[0, 0]).mean() < 4


def test_scores_are_those_of_the_items(own_tiny_run: Path, dsprites: FactorDataset) -> None:
    encoder = load_encoder(own_tiny_run)
    items = np.sort(np.random.default_rng(1).permutation(len(dsprites))[:400])
    found = code_scores(encoder, dsprites, items)
    assert set(found) == {"mig_histogram", "linear_r2"}
    assert all(0 <= value <= 1 for value in found.values())
    none = {"factors": None, "factor_values": None, "factor_names": (), "factor_sizes": (), "nominal_factors": ()}
    unknown = dataclasses.replace(dsprites, **none)
    with pytest.raises(ValueError, match="which need factors that vary, found none in drawn"):
        code_scores(encoder, unknown, items)


def test_files_above_a_megabyte_are_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shipping, "MOST_BYTES", 1_000)
    config = ShipConfig(str(run), "a/b", command="c", sample=300, folder=str(tmp_path))
    with pytest.raises(ValueError, match=r"an encoder of 0.9\d MB, which is above 1 MB, is not shipped"):
        shipping.ship(config)
    assert not list(tmp_path.iterdir())
    assert main([str(tmp_path), "a/b", "--command", "c"]) == 2
    assert "no encoder at" in capsys.readouterr().err
