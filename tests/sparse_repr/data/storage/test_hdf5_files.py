"""HDF5 files that point at others or claim what they do not hold are refused by name, by every reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from sparse_repr.data import load_dataset
from sparse_repr.data.dsprites import FACTOR_SIZES, read_official
from sparse_repr.data.shapes3d import load_shapes3d
from sparse_repr.data.storage.hdf5_files import find_dataset, open_hdf5
from sparse_repr.data.storage.hdf5_images import ChunkedImages, hdf5_slabs

SHAPES = (2, 1, 1, 1, 1, 1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSE_REPR_CACHE", str(tmp_path / "cache"))


def _shapes(path: Path) -> None:
    with h5py.File(path, "a") as file:
        if "labels" not in file:
            file["labels"] = np.zeros((2, 6))
    load_shapes3d(path, progress=False, sizes=SHAPES)


def _sprites(path: Path) -> None:
    with h5py.File(path, "a") as file:
        if "imgs" not in file:
            file.move("images", "imgs")
            rows = np.stack(np.unravel_index(np.arange(2), FACTOR_SIZES), axis=1)
            file["latents/classes"] = np.concatenate([np.zeros((2, 1), int), rows], axis=1)
    read_official(path, items=2, progress=False)


READERS: dict[str, tuple[tuple[int, ...], Callable[[Path], object]]] = {
    "h5": ((2, 3, 64, 64), lambda path: load_dataset("h5", path)),
    "shapes3d": ((2, 64, 64, 3), _shapes),
    "dsprites": ((2, 64, 64), _sprites),
    "chunks": ((2, 3, 64, 64), ChunkedImages),
    "slabs": ((2, 3, 64, 64), lambda path: list(hdf5_slabs(path, progress=False))),
}


def secret(tmp_path: Path, shape: tuple[int, ...]) -> Path:
    path = tmp_path / "secret.bin"
    path.write_bytes(b"private!" * (int(np.prod(shape)) // 8))
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["images"] = np.frombuffer(path.read_bytes(), np.uint8).reshape(shape)
    return path


def _external(file: h5py.File, shape: tuple[int, ...], outside: Path) -> None:
    file.create_dataset("images", shape, np.uint8, external=[(str(outside), 0, h5py.h5f.UNLIMITED)])


def _linked(file: h5py.File, shape: tuple[int, ...], outside: Path) -> None:
    file["images"] = h5py.ExternalLink(str(outside.with_suffix(".h5")), "images")


def _soft(file: h5py.File, shape: tuple[int, ...], outside: Path) -> None:
    file["elsewhere"] = h5py.ExternalLink(str(outside.with_suffix(".h5")), "/")
    file["images"] = h5py.SoftLink("/elsewhere/images")


def _virtual(file: h5py.File, shape: tuple[int, ...], outside: Path) -> None:
    layout = h5py.VirtualLayout(shape, np.uint8)
    layout[:] = h5py.VirtualSource(str(outside.with_suffix(".h5")), "images", shape)
    file.create_virtual_dataset("images", layout)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("point", "message"),
    [
        (_external, "has its numbers in another file"),
        (_linked, "is a link"),
        (_soft, "is a link"),
        (_virtual, "is put together from other data sets"),
    ],
)
def test_nothing_outside_the_file_is_read(
    tmp_path: Path, reader: str, point: Callable[[h5py.File, tuple[int, ...], Path], None], message: str
) -> None:
    shape, read = READERS[reader]
    outside = secret(tmp_path, shape)
    with h5py.File(tmp_path / "own.h5", "w") as file:
        point(file, shape, outside)
    with pytest.raises(ValueError, match=rf"own\.h5: (images|imgs) {message}, which is never followed"):
        read(tmp_path / "own.h5")


@pytest.mark.parametrize("entry", ["factors", "factor_values", "factor_bins"])
def test_factors_are_not_taken_from_elsewhere_either(tmp_path: Path, entry: str) -> None:
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["images"] = np.full((2, 1, 8, 8), 255, np.uint8)
        file.attrs["factor_names"] = ["x"]
        if entry == "factor_bins":
            file["factor_values"] = np.zeros((2, 1))
        file[entry] = h5py.ExternalLink("/etc/hostname", "x")
    # an entry that leads nowhere is not a missing one
    with pytest.raises(ValueError, match=rf"own\.h5: {entry}[/x]* is a link"):
        load_dataset("h5", tmp_path / "own.h5")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda file: file.create_group("images"), "images needs to be a data set, found a group"),
        (lambda file: file.create_dataset("images", data=h5py.Empty("u1")), "images holds nothing"),
        (
            lambda file: file.create_dataset("images", (2, 1, 0, 8), "u1"),
            r"none of them 0, .* found uint8 \(2, 1, 0, 8\)",
        ),
        (lambda file: file.create_dataset("images", (2, 1, 8, 8), "i1"), "images needs uint8 .* found int8"),
        (lambda file: file.create_dataset("images", (2, 1, 8, 8), "f4"), "images needs uint8 .* found float32"),
        (
            lambda file: file.create_dataset("images", (2**40, 1, 64, 64), "u1", chunks=(1, 1, 64, 64)),
            "claims .* bytes",
        ),
        (lambda file: file.create_dataset("images", (2**40, 1, 64, 64), "u1"), "claims .* bytes, more than any"),
    ],
)
def test_what_cannot_be_images_is_refused_by_name(tmp_path: Path, make, message: str) -> None:
    with h5py.File(tmp_path / "own.h5", "w") as file:
        make(file)
    with pytest.raises(ValueError, match=rf"own\.h5: .*{message}"):
        load_dataset("h5", tmp_path / "own.h5")


@pytest.mark.parametrize(
    ("entry", "content", "message"),
    [
        ("factors", np.full((2, 1), 0.5), "factors needs whole numbers .*with fractions"),
        ("factors", np.full((2, 1), 7), r"factor 'x' needs indices 0\.\.1, got 7\.\.7"),
        ("factors", np.array([[b"a"], [b"b"]]), "factors needs whole numbers"),
        ("factors", np.zeros((3, 1), int), r"factors needs shape \(2, K\), a row for each image, found \(3, 1\)"),
        ("factor_values", np.full((2, 1), np.inf), r"factor_values needs finite numbers, found \[inf\] in row 0"),
        ("factor_values", np.full((2, 1), 1e300), r"factor_values needs finite numbers"),
        ("factor_names", "x", "factor_names needs K different strings, found 'x'"),
        ("factor_names", [1], "factor_names needs K different strings"),
        ("factor_sizes", [-2], "factor_sizes needs K whole numbers"),
        ("factor_sizes", [2.5], "factor_sizes needs K whole numbers"),
    ],
)
def test_factors_of_other_types_are_refused_by_name(tmp_path: Path, entry: str, content, message: str) -> None:
    attributes = {"factor_names": ["x"], "factor_sizes": [2]}
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["images"] = np.full((2, 1, 8, 8), 255, np.uint8)
        if entry in attributes:
            attributes[entry] = content
        else:
            file[entry] = content
        file.attrs.update(attributes)
    with pytest.raises(ValueError, match=rf"own\.h5: .*{message}"):
        load_dataset("h5", tmp_path / "own.h5")


def test_names_written_as_bytes_are_names(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["images"] = np.full((2, 1, 8, 8), 255, np.uint8)
        file["factors"] = np.array([[0], [1]], np.uint8)
        file.attrs["factor_names"], file.attrs["factor_sizes"] = np.array([b"x"]), [2]
    assert load_dataset("h5", tmp_path / "own.h5").factor_names == ("x",)


def test_a_number_of_images_that_was_changed_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "own.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.full((77, 1, 8, 8), 255, np.uint8)
    content = path.read_bytes()
    # fewer images than there are bytes for, and more
    for other in (76, 78):
        path.write_bytes(content.replace((77).to_bytes(8, "little"), other.to_bytes(8, "little")))
        with pytest.raises(ValueError, match=r"own\.h5: (images claims shape|not a readable HDF5 file)"):
            load_dataset("h5", path)


def test_a_damaged_heap_of_texts_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "own.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.full((2, 1, 8, 8), 255, np.uint8)
        file.attrs["factor_names"] = ["x"]
    content = bytearray(path.read_bytes())
    # the free rest of the heap, with a size of 0: HDF5 would never get past it
    place = content.index(b"GCOL") + 16
    content[place : place + 24] = bytes(24)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"own\.h5: not a readable HDF5 file \(the texts at byte \d+ are damaged\)"):
        load_dataset("h5", path)


def test_names_with_slashes_stay_inside_their_group(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["images"], file["inner/deep"] = np.zeros(3), np.ones(2)
    with open_hdf5(tmp_path / "own.h5") as file:
        assert find_dataset(tmp_path / "own.h5", file, "inner/deep")[1] == 1
        assert find_dataset(tmp_path / "own.h5", file, "inner//images") is None
        assert find_dataset(tmp_path / "own.h5", file, "images/deep") is None


def test_indices_are_the_values_where_no_others_are_known(tmp_path: Path) -> None:
    factors = np.arange(40)[:, None] % 4
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = np.full((40, 1, 8, 8), 200, np.uint8)
        file["factors"] = factors
        file.attrs["factor_names"], file.attrs["factor_sizes"] = ["x"], [4]
    data = load_dataset("h5", tmp_path / "a.h5")
    np.testing.assert_array_equal(data.factor_values, factors)
