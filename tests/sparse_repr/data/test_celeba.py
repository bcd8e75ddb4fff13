from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparse_repr.data import load_dataset
from sparse_repr.data.celeba import load_celeba
from tests.small_pictures import GREEN, bordered, encode, plain, write_folder, write_zip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSE_REPR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARSE_REPR_DATA", raising=False)


def faces(count: int) -> dict[str, bytes]:
    """Picture k is grey of level 10 k, at the official size."""
    return {f"img_align_celeba/{k + 1:06d}.jpg": encode(plain(218, 178, (10 * k,) * 3), "JPEG") for k in range(count)}


def attributes(count: int) -> str:
    names = " ".join(f"Attribute_{k}" for k in range(40))
    rows = [
        f"{k + 1:06d}.jpg " + " ".join(" 1" if (k + column) % 3 == 0 else "-1" for column in range(40))
        for k in range(count)
    ]
    return "\n".join([str(count), names, *rows]) + "\n"


@pytest.mark.parametrize(("height", "width", "side"), [(218, 178, 148), (109, 89, 74)])
def test_the_centre_square_is_cut_out_in_proportion(tmp_path: Path, height: int, width: int, side: int) -> None:
    picture = encode(bordered(height, width, side), "JPEG", quality=100)
    place = write_zip(tmp_path / "img_align_celeba.zip", {"img_align_celeba/000001.jpg": picture})
    data = load_celeba(place, progress=False)
    assert data.image_shape == (3, 64, 64)
    image = data.images([0])[0].astype(int)
    # nothing of the red around it; the compression itself is good to a few levels
    assert abs(image.transpose(1, 2, 0) - GREEN)[2:-2, 2:-2].max() < 12
    assert image[0].mean() < 20
    assert image[1].mean() > 240


def test_shrinking_averages_instead_of_picking(tmp_path: Path) -> None:
    stripes = np.zeros((218, 178, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    place = write_zip(tmp_path / "img_align_celeba.zip", {"img_align_celeba/000001.jpg": encode(stripes, "JPEG")})
    image = load_celeba(place, progress=False).images([0])[0]
    # picked pixels would still be black and white
    assert image[:, 4:-4, 4:-4].min() > 70
    assert image[:, 4:-4, 4:-4].max() < 185


def test_a_zip_a_folder_and_a_folder_that_holds_either_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = faces(12)
    (tmp_path / "zipped").mkdir()
    archive = write_zip(tmp_path / "zipped/img_align_celeba.zip", members)
    folder = write_folder(tmp_path / "unpacked", members)
    images = [
        load_celeba(place, progress=False).images(np.arange(12))
        for place in (archive, archive.parent, folder, folder / "img_align_celeba")
    ]
    monkeypatch.setenv("SPARSE_REPR_DATA", str(tmp_path / "zipped"))
    data = load_dataset("celeba")
    assert data.source == str(archive)
    images.append(data.images(np.arange(12)))
    for other in images[1:]:
        np.testing.assert_array_equal(other, images[0])
    assert [round(float(image.mean())) for image in images[0]] == [10 * k for k in range(12)]


def test_without_the_tables_there_are_no_factors_and_the_last_tenth_is_held_out(tmp_path: Path) -> None:
    data = load_celeba(write_zip(tmp_path / "img_align_celeba.zip", faces(20)), progress=False)
    assert data.factors is None
    assert data.factor_names == ()
    train, held_out = data.split
    assert train.tolist() == list(range(18))
    assert held_out.tolist() == [18, 19]


@pytest.mark.parametrize("kind", ["txt", "csv"])
def test_attributes_become_factors_and_the_partition_the_split(tmp_path: Path, kind: str) -> None:
    place = write_zip(tmp_path / "img_align_celeba.zip", faces(6))
    table = attributes(6)
    parts = "".join(f"{k + 1:06d}.jpg {part}\n" for k, part in enumerate([0, 0, 1, 2, 0, 2]))
    if kind == "csv":
        lines = table.splitlines()[1:]
        lines[0] = f"image_id {lines[0]}"
        table = "\n".join(",".join(line.split()) for line in lines)
        parts = "image_id,partition\n" + parts.replace(" ", ",")
    (tmp_path / f"list_attr_celeba.{kind}").write_text(table)
    (tmp_path / f"list_eval_partition.{kind}").write_text(parts)
    data = load_celeba(place, progress=False)
    assert data.factor_names == tuple(f"Attribute_{k}" for k in range(40))
    assert data.factor_sizes == (2,) * 40
    expected = (np.add.outer(np.arange(6), np.arange(40)) % 3 == 0).astype(np.int64)
    assert data.factors is not None
    assert data.factors.dtype == np.int64
    np.testing.assert_array_equal(data.factors, expected)
    assert data.factor_values is not None
    assert data.factor_values.dtype == np.float32
    np.testing.assert_array_equal(data.factor_values, expected)
    train, held_out = data.split
    assert train.tolist() == [0, 1, 4]
    assert held_out.tolist() == [3, 5]


def test_tables_follow_the_pictures_that_are_there(tmp_path: Path) -> None:
    members = faces(6)
    del members["img_align_celeba/000002.jpg"]
    folder = write_folder(tmp_path, members)
    (tmp_path / "list_attr_celeba.txt").write_text(attributes(6))
    data = load_celeba(folder, progress=False)
    assert data.factors is not None
    assert data.factors[:, 0].tolist() == [1, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("000003.jpg", "999999.jpg"), "found none for 000003.jpg"),
        (lambda text: text.replace("000003.jpg ", "000003.jpg  1 "), "expected 40 whole numbers"),
        (lambda text: text.replace("-1", "x", 1), "expected 40 whole numbers"),
        (lambda text: text.replace("-1", "0"), r"expected the values \(-1, 1\), found \[0, 1\]"),
        (lambda text: text.replace("Attribute_0 ", "", 1), "expected 39 values after each file name, found 40"),
        (lambda text: "\n".join(line.partition(" ")[0] for line in text.splitlines()), "expected 1 whole numbers"),
        (lambda _: "", "expected a table of the pictures, found an empty file"),
        (lambda text: "\n".join(text.splitlines()[:2]), "found none for 000001.jpg"),
    ],
)
def test_an_attribute_file_that_does_not_fit_is_refused_by_name(tmp_path: Path, change, message: str) -> None:
    place = write_zip(tmp_path / "img_align_celeba.zip", faces(3))
    text = attributes(3)
    assert change(text) != text
    (tmp_path / "list_attr_celeba.txt").write_text(change(text))
    with pytest.raises(ValueError, match=rf"list_attr_celeba\.txt: .*{message}"):
        load_celeba(place, progress=False)


def test_a_partition_with_other_values_is_refused_by_name(tmp_path: Path) -> None:
    place = write_zip(tmp_path / "img_align_celeba.zip", faces(2))
    (tmp_path / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 3\n")
    with pytest.raises(ValueError, match=r"list_eval_partition\.txt: expected the values \(0, 1, 2\), found \[0, 3\]"):
        load_celeba(place, progress=False)


def test_without_files_the_error_says_what_to_download_and_what_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = r"Download img_align_celeba\.zip.*data path.*SPARSE_REPR_DATA.*--dataset faces.* drawn stand-in"
    with pytest.raises(FileNotFoundError, match=message):
        load_dataset("celeba")
    with pytest.raises(FileNotFoundError, match=r"no such file or folder: .*missing.*Download"):
        load_dataset("celeba", tmp_path / "missing")
    monkeypatch.setenv("SPARSE_REPR_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"no img_align_celeba.zip or img_align_celeba in {tmp_path}"):
        load_dataset("celeba")


def test_an_empty_folder_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    with pytest.raises(FileNotFoundError, match=r"found no picture in .*faces\. Download img_align_celeba\.zip"):
        load_celeba(tmp_path / "faces", progress=False)


def test_the_size_is_an_argument(tmp_path: Path) -> None:
    place = write_zip(tmp_path / "img_align_celeba.zip", faces(2))
    assert load_celeba(place, image_size=32, progress=False).image_shape == (3, 32, 32)
    assert load_celeba(place, progress=False).image_shape == (3, 64, 64)
    with pytest.raises(ValueError, match="at least 1 pixel, got 0 and 0"):
        load_celeba(place, image_size=0, progress=False)


@pytest.mark.parametrize("given", ["Img", "Img/img_align_celeba.zip", "."])
def test_the_official_folders_side_by_side_are_found(
    tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Img").mkdir()
    write_zip(tmp_path / "Img" / "img_align_celeba.zip", faces(6))
    for name, content in (
        ("Anno/list_attr_celeba.txt", attributes(6)),
        ("Eval/list_eval_partition.txt", "".join(f"{k + 1:06d}.jpg {part}\n" for k, part in enumerate([0, 2] * 3))),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(content)
    for place in (tmp_path / given, Path(given)):
        data = load_celeba(place, progress=False)
        assert len(data.factor_names) == 40
        assert data.split[1].tolist() == [1, 3, 5]
