"""What is no data is named as what it is, wherever files of users are opened; hostile ones neither hang nor run."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from sparse_repr.data import load_dataset
from sparse_repr.data.cars3d import load_cars3d
from sparse_repr.data.dsprites import read_official
from sparse_repr.data.folder import load_folder
from sparse_repr.data.smallnorb import PARTS, load_smallnorb
from sparse_repr.data.storage.decoding import Preparation, decode_picture, picture_kind
from sparse_repr.data.storage.pictures import open_pictures
from sparse_repr.files.kinds import found_instead
from sparse_repr.metrics.lpips import _load_weights
from sparse_repr.perceptual.vgg_weights import load_vgg16, read_arrays
from tests.small_pictures import GREEN, encode, noise, plain, write_folder, write_tar, write_zip

PAGE = b"\xef\xbb\xbf\n<!-- x --><!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 26214400\n"
FOREIGN = {
    "page": (PAGE, r"found a web page \(HTML\), such as a server sends when its quota is exceeded"),
    "pointer": (POINTER, "found a pointer of git-lfs, .* run git lfs pull"),
    "empty": (b"", "found an empty file; download it again"),
    "message": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "found an XML message"),
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSE_REPR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARSE_REPR_DATA", raising=False)


def _cars(path: Path) -> None:
    load_cars3d(path.parent, progress=False, models=1)


def _norb(path: Path) -> None:
    for part in PARTS:
        for kind in ("dat", "cat", "info"):
            (path.parent / f"smallnorb-{part}-{kind}.mat").touch()
    load_smallnorb(path.parent, progress=False)


def _table(path: Path) -> None:
    write_zip(path.parent / "img_align_celeba.zip", {"1.jpg": encode(plain(218, 178, GREEN), "JPEG")})
    load_dataset("celeba", path.parent)


PLACES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "celeba": ("img_align_celeba.zip", lambda path: load_dataset("celeba", path)),
    "celeba's table": ("list_attr_celeba.txt", _table),
    "celeba's csv": ("list_eval_partition.csv", _table),
    "chairs": ("rendered_chairs.tar", lambda path: load_dataset("chairs", path)),
    "folder": ("own.zip", lambda path: load_dataset("folder", path)),
    "h5": ("own.h5", lambda path: load_dataset("h5", path)),
    "npz": ("own.npz", lambda path: load_dataset("npz", path)),
    "mpi3d": ("mpi3d_toy.npz", lambda path: load_dataset("mpi3d", path)),
    "shapes3d": ("3dshapes.h5", lambda path: load_dataset("shapes3d", path)),
    "dsprites": ("dsprites.npz", lambda path: load_dataset("dsprites", path)),
    "dsprites hdf5": ("dsprites.hdf5", lambda path: load_dataset("dsprites", path)),
    "cars3d": ("car.mat", _cars),
    "smallnorb": (f"smallnorb-{PARTS[0]}-cat.mat", _norb),
    "smallnorb gz": (f"smallnorb-{PARTS[0]}-cat.mat.gz", lambda path: load_smallnorb(_norb_gz(path), progress=False)),
    "vgg": ("vgg.pth", lambda path: load_vgg16(path)),
    "vgg safetensors": ("vgg.safetensors", lambda path: load_vgg16(path)),
    "lpips": ("lpips.safetensors", _load_weights),
}


def _norb_gz(path: Path) -> Path:
    for part in PARTS:
        for kind in ("dat", "cat", "info"):
            target = path.parent / f"smallnorb-{part}-{kind}.mat.gz"
            if not target.exists():
                target.write_bytes(gzip.compress(b"x"))
    return path.parent


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_data_is_named_as_what_it_is(tmp_path: Path, place: str, kind: str) -> None:
    (content, message), (name, load) = FOREIGN[kind], PLACES[place]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name.replace('.', '[.]')}: expected .*{message}"):
        load(path)


@pytest.mark.parametrize("content", [b"\x89HDF\r\n", b"PK\x03\x04", b"\x80\x02}", bytes(5000), b"12\nSmiling\n", b"<"])
def test_data_is_let_through(content: bytes) -> None:
    assert found_instead(content) is None


def test_a_page_of_comments_takes_no_time_to_judge() -> None:
    assert found_instead(b"<!---->" * 600) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes")
@pytest.mark.parametrize("place", ["chairs", "npz", "shapes3d", "mpi3d"])
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path, place: str) -> None:
    name, load = PLACES[place]
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=r"expected .*, found a pipe or device"):
        load(tmp_path / name)


def test_pictures_that_are_no_pictures_say_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none of its 1 pictures can be read; the first was a\.png .*git-lfs"):
        load_folder(write_folder(tmp_path / "own", {"a.png": POINTER}), progress=False)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n0 0 8 8 rectfill\nshowpage\n%%EOF\n"


def test_only_plain_picture_formats_are_decoded_whatever_the_name_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(8, 8, 0)).save(buffer, "PDF")
    for content in (
        EPS,
        buffer.getvalue(),
        b"#define im_width 8\n#define im_height 8\nstatic char im_bits[] = {\n0x00",
    ):
        for read in (picture_kind, lambda data: decode_picture(data, Preparation(1, 8, 8))):
            with pytest.raises(ValueError, match="expected one of JPEG, PNG, .*, found bytes that start with"):
                read(content)
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    members = {f"{k:03d}.png": encode(noise(8, 8, k)) for k in range(100)} | {"100.jpg": EPS}
    for place in (write_zip(tmp_path / "a.zip", members), write_folder(tmp_path / "a", members)):
        with pytest.warns(UserWarning, match=r"skipped 1 of 101 .* 100\.jpg \(ValueError: expected one of JPEG"):
            assert len(load_folder(place, progress=False)) == 100


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_pictures_of_few_and_many_bits_use_the_whole_range(tmp_path: Path, bits: int) -> None:
    row = {1: b"\x80", 2: b"\xc0", 4: b"\xf0"}.get(bits, b"\xff\x00" if bits == 8 else b"\xff\xff\x00\x00")

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 2, bits, 0, 0, 0, 0)
    data = zlib.compress((b"\0" + row) * 2)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    images = load_folder(write_folder(tmp_path / "own", {"a.png": png}), progress=False).images([0])
    assert images[0, 0].tolist() == [[255, 0], [255, 0]]


def test_levels_without_an_agreed_white_are_refused_by_name(tmp_path: Path) -> None:
    for k, levels in enumerate((np.full((8, 8), 0.5, np.float32), np.full((8, 8), 70_000, np.int32))):
        buffer = io.BytesIO()
        Image.fromarray(levels).save(buffer, "TIFF")
        place = write_folder(tmp_path / str(k), {"a.tif": buffer.getvalue()})
        with pytest.raises(ValueError, match=r"a\.tif \(ValueError: its levels are .* numbers, of which nothing says"):
            load_folder(place, progress=False)


@pytest.mark.parametrize("levels", [1, 15])
def test_dark_images_of_every_own_kind_warn(tmp_path: Path, levels: int) -> None:
    images = np.zeros((20, 1, 8, 8), np.uint8)
    images[7, 0, 3, 3] = levels
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = images
    np.savez(tmp_path / "a.npz", images=images)
    twelve_bits = (images[:, 0].astype(np.uint16) * 257).clip(0, 4095)
    members = {}
    for k, picture in enumerate(twelve_bits):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        members[f"{k:02d}.png"] = buffer.getvalue()
    write_folder(tmp_path / "a", members)
    for name, place in (("h5", "a.h5"), ("npz", "a.npz"), ("folder", "a")):
        with pytest.warns(UserWarning, match=rf"{place}: the brightest pixel of 20 images is {levels}, and 255"):
            load_dataset(name, tmp_path / place)
    images[19] = 16
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["images"] = images
    load_dataset("h5", tmp_path / "b.h5")  # warnings are errors here


def header_of(size: bytes, *, kind: bytes = b"0", name: bytes = b"a.png") -> bytes:
    block = bytearray(512)
    block[: len(name)] = name
    block[124:136] = size
    block[156:157] = kind
    block[257:265] = b"ustar  \0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    ("size", "kind", "message"),
    [
        ((2**60).to_bytes(12, "big"), b"0", "damaged or cut-off archive"),
        ((2**80).to_bytes(12, "big"), b"0", "damaged or cut-off archive"),
        ((2**96 - 1024).to_bytes(12, "big"), b"0", "damaged or cut-off archive .*claims -1024 bytes"),
        (b"00000000010\0", b"S", "member 'a.png' is sparse, which no official file holds"),
        (b"00010000000\0", b"x", "damaged or cut-off archive .*a header of 2097152 bytes"),
    ],
)
def test_tar_members_that_cannot_be_are_refused_by_name(tmp_path: Path, size: bytes, kind: bytes, message: str) -> None:
    first = bytearray(size)
    if first[0] != ord("0"):  # not octal digits: the base-256 form
        first[0] |= 0x80
    path = tmp_path / "own.tar"
    whole = write_tar(tmp_path / "whole.tar", {"0.png": encode(noise(8, 8, 0))}).read_bytes()[:1024]
    path.write_bytes(whole + header_of(bytes(first), kind=kind) + bytes(2048))
    with pytest.raises(ValueError, match=rf"own\.tar: .*{message}"):
        load_folder(path, progress=False)


def test_a_sparse_member_of_the_newer_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a.png")
        member.pax_headers = {"GNU.sparse.map": "0,1,1099511627776,1", "GNU.sparse.size": "1099511627777"}
        member.size = 2
        archive.addfile(member, io.BytesIO(b"ab"))
    with pytest.raises(ValueError, match=r"own\.tar: .*sparse"):
        load_folder(path, progress=False)


def test_links_in_circles_are_counted_and_named(tmp_path: Path) -> None:
    place = write_folder(tmp_path / "own", {f"{k:03d}.png": encode(noise(8, 8, k)) for k in range(100)})
    (place / "loop.png").symlink_to("loop.png")
    (place / "inside").symlink_to(".", target_is_directory=True)
    with pytest.warns(UserWarning, match=r"skipped 1 of 101 pictures .*loop\.png \(OSError"):
        assert len(load_folder(place, progress=False)) == 100
    with open_pictures(place) as pictures:
        assert len(pictures.names) == 101


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (64, 64, " + b"(" * 500 + b"64" + b")" * 501 + b", }",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': " + b"-" * 9000 + b"1, }",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (64, -64, 64), }",
        b"{'descr': 7, 'fortran_order': 'no', 'shape': (64, 64, 64), }",
        b"{'descr': '|u1', 'shape': (64, 64, 64)}",
        b"\xff\xfe{",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (64, 64, 64), }" + b" " * 200_000,
    ],
)
@pytest.mark.parametrize(
    "load", [lambda path: read_official(path, items=64, progress=False), lambda path: load_dataset("npz", path)]
)
def test_array_headers_of_any_kind_are_refused_by_name(tmp_path: Path, header: bytes, load) -> None:
    path = tmp_path / "own.npz"
    version = (
        b"\x01\x00" + len(header).to_bytes(2, "little")
        if len(header) < 65536
        else b"\x02\x00" + len(header).to_bytes(4, "little")
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("latents_classes", "imgs", "images"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY" + version + header + bytes(64**3))
    with pytest.raises(ValueError, match=r"own\.npz: (not a readable|latents_classes needs|images needs)"):
        load(path)


def test_pickled_dicts_that_hold_themselves_end(tmp_path: Path) -> None:
    loop: dict[str, object] = {"a": np.zeros(2, np.float32)}
    loop["b"] = loop
    assert set(read_arrays(pickle.dumps(loop), "weights")) == {"a", "b"}
    wide: dict[str, object] = {"a": np.zeros(2, np.float32)}
    for _ in range(40):  # 2^40 paths lead to the array
        wide = {"a": wide, "b": wide}
    assert set(read_arrays(pickle.dumps(wide), "weights")) == {"a", "b"}
