from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparse_repr import PretrainConfig, pretrain_encoder
from sparse_repr.data import load_dataset
from sparse_repr.data.__main__ import main as show_data
from sparse_repr.data.folder import load_folder
from sparse_repr.data.storage.pictures import _walk
from tests.small_pictures import BLUE, GREEN, RED, bordered, encode, noise, plain, write_folder, write_zip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSE_REPR_CACHE", str(tmp_path / "cache"))


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_pictures_of_one_size_keep_it_and_are_sorted_by_path(tmp_path: Path) -> None:
    pixels = [noise(20, 30, k) for k in range(4)]
    members = {
        "b/2.bmp": encode(pixels[2], "BMP"),
        "b/3.webp": encode(pixels[3], "WEBP", lossless=True),
        "a.png": encode(pixels[0]),
        "b/1.PNG": encode(pixels[1]),
        "notes.txt": b"not a picture",
    }
    data = load_dataset("folder", write_folder(tmp_path / "own", members))
    assert data.image_shape == (3, 20, 30)
    np.testing.assert_array_equal(data.images(np.arange(4)), np.stack(pixels).transpose(0, 3, 1, 2))
    assert data.factors is None


def test_different_sizes_are_cut_square_and_resized_to_64(tmp_path: Path) -> None:
    members = {"wide.png": encode(bordered(100, 200, 100)), "high.png": encode(bordered(90, 70, 70))}
    data = load_folder(write_folder(tmp_path / "own", members), progress=False)
    assert data.image_shape == (3, 64, 64)
    green = np.array(GREEN)[:, None, None]
    high, wide = data.images([0, 1])
    np.testing.assert_array_equal(wide, np.broadcast_to(green, wide.shape))
    np.testing.assert_array_equal(high, np.broadcast_to(green, high.shape))


def test_a_size_asked_for_is_given(tmp_path: Path) -> None:
    place = write_folder(tmp_path / "own", {f"{k}.png": encode(noise(20, 30, k)) for k in range(2)})
    assert load_folder(place, image_size=16, progress=False).image_shape == (3, 16, 16)
    assert load_folder(place, progress=False).image_shape == (3, 20, 30)


def test_grey_stays_grey_until_one_picture_has_colour(tmp_path: Path) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    place = write_folder(tmp_path / "own", {"a.png": encode(grey), "b.png": encode(grey[::-1].copy())})
    data = load_folder(place, progress=False)
    assert data.image_shape == (1, 8, 8)
    np.testing.assert_array_equal(data.images([0])[0, 0], grey)
    (place / "c.png").write_bytes(encode(plain(8, 8, RED)))
    data = load_folder(place, progress=False)
    assert data.image_shape == (3, 8, 8)
    np.testing.assert_array_equal(data.images([0])[0], np.stack([grey] * 3))


def test_a_palette_of_greys_is_grey(tmp_path: Path) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    numbers = (63 - np.arange(64, dtype=np.uint8)).reshape(8, 8)
    members = {}
    for name, kind, colours in (
        ("a.gif", "GIF", [(level,) * 3 for level in range(63, -1, -1)]),
        ("b.png", "PNG", [(level,) * 3 for level in range(63, -1, -1)]),
    ):
        picture = Image.fromarray(numbers, "P")
        picture.putpalette([value for colour in colours for value in colour])
        content = io.BytesIO()
        picture.save(content, kind)
        members[name] = content.getvalue()
    data = load_dataset("folder", write_folder(tmp_path / "own", members))
    assert data.image_shape == (1, 8, 8)
    np.testing.assert_array_equal(data.images([0, 1])[:, 0], [grey, grey])


def test_sixteen_bit_greys_are_scaled_and_transparency_is_laid_over_white(tmp_path: Path) -> None:
    deep = (np.arange(4, dtype=np.uint16) * 21845).reshape(2, 2)
    data = load_folder(write_folder(tmp_path / "deep", {"a.png": saved(Image.fromarray(deep))}), progress=False)
    assert data.images([0])[0, 0].tolist() == [[0, 85], [170, 255]]

    clear = np.zeros((2, 2, 4), dtype=np.uint8)
    clear[0] = (0, 0, 255, 255)
    palette = Image.fromarray(plain(2, 2, RED)).convert("P")
    members = {"a.png": saved(Image.fromarray(clear)), "b.png": saved(palette)}
    data = load_folder(write_folder(tmp_path / "clear", members), progress=False)
    first, second = data.images([0, 1])
    assert first[:, 0, 0].tolist() == list(BLUE)
    assert first[:, 1, 0].tolist() == [255, 255, 255]
    assert second[:, 0, 0].tolist() == list(RED)


def test_a_photograph_that_lies_on_its_side_is_turned(tmp_path: Path) -> None:
    pixels = plain(40, 80, BLUE)
    pixels[:, :40] = RED
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright: turn clockwise
    picture = saved(Image.fromarray(pixels), "JPEG", exif=turned, quality=95, subsampling=0)
    data = load_folder(write_folder(tmp_path / "own", {"a.jpg": picture}), progress=False)
    assert data.image_shape == (3, 80, 40)
    image = data.images([0])[0].astype(int)
    assert image[0, 10, 20] > 200
    assert image[2, 70, 20] > 200


def test_a_large_jpeg_decoded_at_part_of_its_size_gives_the_same_picture(tmp_path: Path) -> None:
    # a smooth picture: the short cut may differ in grain, not in place or colour
    ramp = np.linspace(0, 255, 1600)
    pixels = np.stack(np.broadcast_arrays(ramp[None, :], ramp[:, None], 255 - ramp[None, :]), axis=2).astype(np.uint8)
    members = {"a.jpg": encode(pixels, "JPEG"), "b.png": encode(pixels)}
    data = load_folder(write_folder(tmp_path / "own", members), image_size=64, progress=False)
    short, full = data.images([0, 1]).astype(int)
    assert abs(short - full).max() <= 3


def test_a_zip_of_pictures_will_do(tmp_path: Path) -> None:
    place = write_zip(tmp_path / "own.zip", {f"{k}.png": encode(noise(8, 8, k)) for k in range(3)})
    assert len(load_folder(place, progress=False)) == 3


def test_what_is_no_folder_of_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'folder' needs a path"):
        load_dataset("folder")
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*missing"):
        load_folder(tmp_path / "missing")
    place = write_folder(tmp_path / "own", {"notes.txt": b"x"})
    with pytest.raises(ValueError, match=r"own: expected pictures \(.*\.png.*found none in it or below"):
        load_folder(place, progress=False)
    (place / "a.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="own: none of its 1 pictures can be read"):
        load_folder(place, progress=False)


@pytest.mark.parametrize("last", ["colour", "large"])
def test_the_last_of_many_pictures_counts_for_what_becomes_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    monkeypatch.setattr("sparse_repr.data.folder._NAMES_AT_ONCE", 3)
    grey = encode(np.arange(64, dtype=np.uint8).reshape(8, 8))
    different = encode(plain(8, 8, RED)) if last == "colour" else encode(np.zeros((9, 9), np.uint8))
    place = write_folder(tmp_path / "own", {**{f"{k}.png": grey for k in range(6)}, "6.png": different})
    assert load_folder(place, progress=False).image_shape == ((3, 8, 8) if last == "colour" else (1, 64, 64))


def test_labels_by_order_need_numbers_of_as_many_digits(tmp_path: Path) -> None:
    pixels = [noise(8, 8, k) for k in range(12)]
    short = write_folder(tmp_path / "short", {f"{k}.png": encode(pixels[k], "PNG") for k in range(12)})
    with pytest.raises(ValueError, match=r"in which 11\.png comes before 2\.png: write all numbers with as many"):
        load_dataset("folder", short, factor_sizes="3,4")
    assert len(load_dataset("folder", short)) == 12
    words = write_folder(tmp_path / "words", {f"a{k}.png": encode(pixels[0], "PNG") for k in ("", "0", "1b", "1c")})
    assert len(load_dataset("folder", words, factor_sizes="4")) == 4
    padded = write_zip(tmp_path / "padded.zip", {f"b1/{k:02}.png": encode(pixels[k], "PNG") for k in range(12)})
    data = load_dataset("folder", padded, factor_sizes="3,4")
    assert data.factors is not None
    assert data.factors[5].tolist() == [1, 1]


def test_labels_by_order_need_every_picture(tmp_path: Path) -> None:
    pictures = {f"{k:03}.png": encode(noise(8, 8, k), "PNG") for k in range(201)}
    pictures["007.png"] = b"not a picture"
    place = write_folder(tmp_path / "own", pictures)
    with (
        pytest.warns(UserWarning, match="skipped 1 of 201 pictures"),
        pytest.raises(ValueError, match="only 200 of 201 can be read, so that labels would be those of others"),
    ):
        load_dataset("folder", place, factor_sizes="4,50")


def test_linked_folders_count_once_and_pictures_of_runs_do_not(tmp_path: Path) -> None:
    place = write_folder(tmp_path / "own", {f"{k}.png": encode(noise(20, 30, k)) for k in range(2)})
    elsewhere = write_folder(tmp_path / "elsewhere", {"3.png": encode(noise(20, 30, 3))})
    (place / "linked").symlink_to(elsewhere)
    (place / "round").symlink_to(place)
    write_folder(place / "runs", {"a/figures/traversal.png": encode(noise(64, 64, 4))})
    for name in ("config.json", "encoder.safetensors"):
        (place / "runs" / "a" / name).write_text("")
    data = load_folder(place, progress=False)
    assert (len(data), data.image_shape) == (3, (3, 20, 30))


def test_pictures_have_their_names_from_the_folder_itself_before_a_link(tmp_path: Path) -> None:
    place = write_folder(tmp_path / "own", {"m/1.png": encode(noise(20, 30, 1))})
    for name in ("a", "z"):
        (place / name).symlink_to(place / "m")
    pictures, more = (write_folder(tmp_path / name, {"1.png": encode(noise(20, 30, 2))}) for name in ("x", "y"))
    for name, target in (("d", pictures), ("c", pictures), ("b", more)):
        (place / name).symlink_to(target)
    assert sorted(name for name, _, _ in _walk(place, frozenset({".png"}))) == ["b/1.png", "c/1.png", "m/1.png"]


def test_neither_a_run_nor_a_sheet_is_put_among_the_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = write_folder(tmp_path / "own", {f"{k}.png": encode(noise(32, 32, k)) for k in range(4)})
    monkeypatch.chdir(place)
    assert show_data(["folder", "--path", "."]) == 2
    assert "the contact sheet folder.png would become one of the pictures in ." in capsys.readouterr().err
    assert show_data(["folder", "--path", ".", "--out", str(tmp_path / "sheet.png")]) == 0
    config = PretrainConfig(dataset="folder", data_path=".", image_size=32, steps=1, batch_size=2, progress=False)
    with pytest.raises(ValueError, match="is in the folder of pictures"):
        pretrain_encoder(config)
    assert sorted(path.name for path in place.iterdir()) == ["0.png", "1.png", "2.png", "3.png"]
