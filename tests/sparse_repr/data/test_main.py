from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparse_repr.data import DATASETS, load_dataset
from sparse_repr.data.__main__ import description, main, report
from sparse_repr.data.base import ArrayImages, FactorDataset, full_grid
from sparse_repr.data.contact_sheet import contact_sheet
from sparse_repr.files import cache_folder
from tests import ROOT
from tests.small_pictures import GREEN, encode, plain, write_folder, write_tar, write_zip


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSE_REPR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARSE_REPR_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_every_data_set_has_a_line_of_description(name: str) -> None:
    line = description(name)
    assert line.endswith(".")
    assert 20 < len(line) < 120


def test_it_prints_what_the_data_set_is_and_writes_a_contact_sheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = {
        f"rendered_chairs/m{k}/renders/image_001_p020_t{azimuth:03d}_r096.png": encode(plain(60, 60, GREEN))
        for k in range(10)
        for azimuth in (11, 348)
    }
    place = write_tar(tmp_path / "rendered_chairs.tar", members)
    main(["chairs", "--path", str(place), "--out", "sheets/chairs.png"])
    printed = capsys.readouterr().out
    for line in (
        "chairs: 3D chairs",
        f"source    {place}",
        "images    20 of 64x64 pixels, grey (uint8, 1 x 64 x 64)",
        "split     18 train, 2 held out",
        "factors   3, a full grid",
        "model: 10 values, 0..9",
        "azimuth: 2 values, 11..348",
        "elevation: 1 values, 20..20",
        "wrote     sheets/chairs.png",
    ):
        assert line in printed
    with Image.open("sheets/chairs.png") as sheet:
        assert sheet.mode == "RGB"
        assert sheet.size == (2 + 12 * 66, 2 + 2 * 66)


def test_the_sheet_goes_to_the_current_folder_and_celeba_says_to_keep_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_zip(
        tmp_path / "img_align_celeba.zip", {"img_align_celeba/000001.jpg": encode(plain(218, 178, GREEN), "JPEG")}
    )
    main(["celeba", "--data-path", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "factors   none known" in printed
    assert "must not be redistributed" in printed
    assert (tmp_path / "celeba.png").is_file()


def test_errors_are_one_line_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["chair"], r"error: unknown data set 'chair'\. Did you mean 'chairs'"),
        (["celeba"], r"error: celeba: found no .*Download"),
        (
            ["folder", "--path", str(write_folder(tmp_path / "own", {"a.txt": b"x"}))],
            r"error: .*own: expected pictures",
        ),
    ):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert re.match(message, said)
        assert said.count("\n") == 1


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    write_folder(tmp_path / "own", {"a.png": encode(plain(8, 8, GREEN))})
    package = ROOT
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "sparse_repr.data", "folder", "--path", "own"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)
    assert "images    1 of 8x8 pixels, colour" in done.stdout
    assert (tmp_path / "folder.png").is_file()


def test_a_contact_sheet_shows_each_image_once_in_order() -> None:
    images = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 4, 6), dtype=np.uint8)
    data = FactorDataset("x", ArrayImages(images), "drawn")
    sheet = contact_sheet(data, columns=4, rows=8)
    assert sheet.shape == (2 + 3 * 6, 2 + 4 * 8, 3)
    assert sheet[4::6, 4::8, 0].ravel().tolist() == [*range(10), 128, 128]
    few = contact_sheet(data, columns=2, rows=2, seed=1)[4::6, 4::8, 0].ravel().tolist()
    assert len(set(few)) == 4
    assert few == sorted(few)


def test_large_images_get_fewer_columns() -> None:
    data = FactorDataset("x", ArrayImages(np.zeros((40, 3, 300, 500), dtype=np.uint8)), "drawn")
    height, width, _ = contact_sheet(data).shape
    assert width <= 1300
    assert height <= 900


def test_the_report_says_when_the_grid_is_not_full() -> None:
    store = ArrayImages(np.zeros((5, 1, 2, 2), dtype=np.uint8))
    data = FactorDataset("dsprites", store, "drawn", ("a", "b"), (2, 3), full_grid((2, 3))[:5])
    assert "factors   2, not a full grid\n          a: 2 values\n          b: 3 values" in report(data)


def test_a_crop_shows_that_part_of_each_image(capsys: pytest.CaptureFixture[str]) -> None:
    images = np.zeros((3, 40, 30, 3), np.uint8)
    images[:, 10:15, 20:26] = 255
    np.savez("frames.npz", images=images)
    assert main(["npz", "--path", "frames.npz", "--crop", "10,20,5,6", "--out", "part.png"]) == 0
    with Image.open("part.png") as sheet:
        shown = np.asarray(sheet)
    assert shown.shape == (2 + 5 + 2, 2 + 12 * 8, 3)
    assert (shown[2:7, 2:8] == 255).all()
    assert main(["npz", "--path", "frames.npz", "--crop", "10,20,5,60", "--out", "not.png"]) == 2
    assert "crop needs a rectangle within images of 40x30" in capsys.readouterr().err
    assert not Path("not.png").exists()


def test_a_data_set_is_described_by_the_name_that_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load_rings(_: Path | None) -> FactorDataset:
        """Rings of my own."""
        return FactorDataset("my rings", ArrayImages(np.full((4, 1, 32, 32), 200, np.uint8)), source="drawn")

    monkeypatch.setitem(DATASETS, "rings", load_rings)
    assert main(["rings", "--out", str(tmp_path / "rings.png")]) == 0
    assert "rings: Rings of my own." in capsys.readouterr().out


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    np.savez(tmp_path / "a.npz", images=np.full((4, 8, 8), 200, np.uint8))
    assert len(load_dataset("npz", "~/a.npz")) == 4
    monkeypatch.setenv("SPARSE_REPR_CACHE", "~/scratch")
    assert cache_folder() == tmp_path / "scratch"
