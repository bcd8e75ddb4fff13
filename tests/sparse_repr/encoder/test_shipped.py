"""Encoders that come with the package: each loads, is what it was, is small, and scores what its header says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.study.shipping import code_scores
from rl.record import RecordConfig, record
from sparse_repr import load_encoder
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.data.chairs3d import load_chairs3d
from sparse_repr.data.faces import load_faces
from sparse_repr.encoder.__main__ import main
from sparse_repr.encoder.shipped import FOLDER, SHIPPED, shipped_path

ITEMS = 4_000
"""Images that are encoded again: the scores in the headers are over many more."""
TOLERANCES = {"mig_histogram": 0.04, "linear_r2": 0.06}
TASKS = {"sprite_reach": "SpriteReach-v0", "sprite_chase": "SpriteChase-v0"}


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FactorDataset]:
    """Frames of each task that no encoder has seen."""
    found = {}
    for name, environment in TASKS.items():
        path = tmp_path_factory.mktemp("frames") / "frames.h5"
        config = RecordConfig(
            f"envs:SparseRepr/{environment}",
            str(path),
            frames=ITEMS,
            every=5,
            env_kwargs=json.dumps({"domain": "source"}),
            seed=77,
            progress=False,
        )
        found[name] = load_dataset("h5", record(config))
    return found


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_what_its_header_says(name: str, dsprites: FactorDataset, frames: dict[str, FactorDataset]) -> None:
    encoder = load_encoder(f"shipped:{name}")
    assert encoder.fingerprint == SHIPPED[name]
    told = encoder.spec.objective
    assert {"scores", "command", "licence", "seed", "steps"} <= told.keys()
    assert shipped_path(name).stat().st_size <= 2**20
    kind = name.split("/")[0]
    # drawn image by image: a test has no time for the whole grid
    drawn = {"faces": load_faces, "chairs3d": load_chairs3d}
    data = drawn[kind](cached=False) if kind in drawn else frames.get(kind, dsprites)
    assert encoder.spec.dataset["name"] == ("h5" if kind in TASKS else data.name)
    assert list(encoder.spec.dataset["factor_names"]) == list(data.factor_names)
    assert encoder.image_shape == data.image_shape
    items = np.sort(np.random.default_rng(0).permutation(len(data))[:ITEMS])
    found = code_scores(encoder, data, items)
    assert "mig_histogram" in told["scores"]
    for score in found.keys() & told["scores"].keys():
        assert told["scores"][score] == pytest.approx(found[score], abs=TOLERANCES[score])


@pytest.mark.parametrize("name", SHIPPED)
def test_its_picture_is_small_and_shows_images(name: str) -> None:
    path = shipped_path(name, ".png")
    assert path.stat().st_size <= 2**17
    with Image.open(path) as picture:
        assert min(picture.size) > 200
        assert len(picture.getcolors() or []) > 10


def test_together_they_are_small_and_no_file_is_left_over() -> None:
    files = {shipped_path(name, ending) for name in SHIPPED for ending in (".safetensors", ".png")}
    assert set(FOLDER.iterdir()) == files
    assert sum(file.stat().st_size for file in files) <= 8 * 2**20


def test_unknown_names_and_exchanged_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="unknown shipped encoder 'dsprites/spars'. Did you mean 'dsprites/sparse"):
        load_encoder("shipped:dsprites/spars")
    found = SHIPPED["dsprites/sparse"][:12]
    monkeypatch.setitem(SHIPPED, "dsprites/sparse", "0" * 64)
    with pytest.raises(ValueError, match=f"expected fingerprint 000000000000, found {found}: install the package"):
        load_encoder("shipped:dsprites/sparse")


def test_the_command_lists_them_and_copies_their_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(f"shipped:{name}  D=" in listed for name in SHIPPED)
    assert "mig 0.2600" in listed
    assert "--method sparse_perceptual_opened --seeds 3 (seed 3, 14000 steps)" in listed
    assert main(["sprite_reach/vae", "--pictures", str(tmp_path / "new")]) == 0
    said = capsys.readouterr().out
    assert "shipped:sprite_reach/vae  D=10, 10 active" in said
    assert "dsprites" not in said
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sprite_reach-vae.png"]
    assert f"picture: {tmp_path / 'new' / 'sprite_reach-vae.png'}" in said
    assert main(["train"]) == 2
    assert "unknown shipped encoder 'train'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "come with the package" in " ".join(capsys.readouterr().out.split())
