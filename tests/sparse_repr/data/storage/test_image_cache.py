from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import multiprocessing
import os
import pickle
import shutil
import subprocess
import tarfile
import types
from collections.abc import Generator
from pathlib import Path

import h5py
import numpy as np
import pytest

from sparse_repr.data.base import ArrayImages, FactorDataset, MappedImages, full_grid
from sparse_repr.data.storage import image_cache
from sparse_repr.data.storage.decoding import Preparation
from sparse_repr.data.storage.file_images import FileImages
from sparse_repr.data.storage.image_cache import CachedImages, CacheKey, ImageStream, Slab, cached_images
from sparse_repr.data.storage.picture_cache import cached_pictures
from sparse_repr.data.storage.pictures import fingerprint, open_pictures
from sparse_repr.files import held_lock
from tests.small_pictures import encode, noise, plain, write_folder, write_tar, write_zip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SPARSE_REPR_CACHE", str(folder))
    return folder


def pictures_of(count: int) -> dict[str, bytes]:
    return {f"img/{k:03d}.png": encode(noise(8, 8, k)) for k in range(count)}


def load(place: Path, *, size: int = 8, in_memory: bool | None = None) -> CachedImages:
    return cached_pictures(
        "test",
        place,
        {"image_size": size},
        lambda pictures: (pictures.names, Preparation(3, size, size)),
        progress=False,
        in_memory=in_memory,
    )


def read_all(images: CachedImages) -> np.ndarray:
    return images.store.read(np.arange(len(images.store)))


def expected(count: int) -> np.ndarray:
    return np.stack([noise(8, 8, k).transpose(2, 0, 1) for k in range(count)])


@pytest.mark.parametrize("write", [write_zip, write_tar, write_folder])
def test_zip_tar_and_folder_give_the_same_images_in_order_of_name(tmp_path: Path, write) -> None:
    members = dict(reversed(list(pictures_of(30).items())))
    place = write(tmp_path / {write_zip: "a.zip", write_tar: "a.tar", write_folder: "a"}[write], members)
    images = load(place)
    assert images.names == tuple(sorted(members))
    np.testing.assert_array_equal(read_all(images), expected(30))


def test_memory_and_file_agree_and_a_pickled_store_opens_the_file_again(tmp_path: Path) -> None:
    place = write_zip(tmp_path / "a.zip", pictures_of(5))
    held, streamed = load(place, in_memory=True).store, load(place, in_memory=False).store
    assert isinstance(held, ArrayImages)
    assert isinstance(streamed, FileImages)
    assert streamed.image_shape == (3, 8, 8)
    indices = np.array([4, 0, 0, 2])
    np.testing.assert_array_equal(streamed.read(indices), held.read(indices))
    packed = pickle.dumps(streamed)
    assert len(packed) < 1000
    np.testing.assert_array_equal(pickle.loads(packed).read(indices), held.read(indices))


def test_large_data_sets_are_read_from_the_file_unless_asked_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = write_zip(tmp_path / "a.zip", pictures_of(5))
    assert isinstance(load(place).store, ArrayImages)
    monkeypatch.setattr(image_cache, "IN_MEMORY_BYTES", 100)
    assert isinstance(load(place).store, FileImages)
    assert isinstance(load(place, in_memory=True).store, ArrayImages)


def test_a_valid_cache_is_used_without_opening_the_source(cache: Path, tmp_path: Path) -> None:
    place = write_zip(tmp_path / "a.zip", pictures_of(5))
    load(place)
    (file,) = cache.glob("*.h5")
    before = file.stat().st_mtime_ns
    # same size and time, but no longer a zip: only opening it would show
    stat = place.stat()
    place.write_bytes(b"x" * stat.st_size)
    os.utime(place, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    np.testing.assert_array_equal(read_all(load(place)), expected(5))
    assert file.stat().st_mtime_ns == before


def test_a_changed_source_replaces_its_cache_and_other_settings_get_their_own(cache: Path, tmp_path: Path) -> None:
    place = write_zip(tmp_path / "a.zip", pictures_of(5))
    load(place)
    write_zip(place, pictures_of(7))
    assert len(load(place).store) == 7
    assert len(list(cache.glob("*.h5"))) == 1
    load(place, size=4)
    assert len(list(cache.glob("*.h5"))) == 2


def test_a_changed_picture_in_a_folder_is_seen_and_a_text_file_beside_it_is_not(tmp_path: Path) -> None:
    place = write_folder(tmp_path / "a", pictures_of(3))
    first = fingerprint(place)
    (place / "notes.txt").write_text("x")
    assert fingerprint(place) == first
    (place / "img/001.png").write_bytes(encode(plain(8, 8, (1, 2, 3))))
    second = fingerprint(place)
    assert second != first
    (place / "img/002.png").unlink()
    assert fingerprint(place) not in (first, second)


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_a_damaged_cache_is_built_again(cache: Path, tmp_path: Path, damage: str) -> None:
    place = write_zip(tmp_path / "a.zip", pictures_of(20))
    load(place)
    (file,) = cache.glob("*.h5")
    if damage == "cut":
        os.truncate(file, file.stat().st_size // 2)
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        with h5py.File(file, "w") as other:
            other["something"] = 1
    np.testing.assert_array_equal(read_all(load(place)), expected(20))


def test_an_open_store_keeps_its_pixels_when_the_cache_is_replaced(tmp_path: Path) -> None:
    place = write_zip(tmp_path / "a.zip", pictures_of(5))
    images = load(place, in_memory=False)
    write_zip(place, {f"img/{k:03d}.png": encode(plain(8, 8, (0, 0, 0))) for k in range(9)})
    assert load(place).store.read(np.arange(9)).max() == 0
    np.testing.assert_array_equal(read_all(images), expected(5))


def test_one_unreadable_picture_in_a_hundred_is_skipped_counted_and_named(tmp_path: Path) -> None:
    members = pictures_of(200)
    members["img/007.png"] = members["img/007.png"][:60]
    jpeg = encode(noise(64, 64, 0), "JPEG")
    members["img/100.jpg"] = jpeg[: len(jpeg) // 2]
    place = write_zip(tmp_path / "a.zip", members)
    with pytest.warns(UserWarning, match=r"a\.zip: skipped 2 of 201 pictures .* img/007\.png \("):
        images = load(place)
    assert len(images.store) == len(images.names) == 199
    assert not {"img/007.png", "img/100.jpg"} & set(images.names)
    kept = [k for k in range(200) if k != 7]
    np.testing.assert_array_equal(read_all(images), expected(200)[kept])
    # whoever loads the cached copy later is told too
    with pytest.warns(UserWarning, match=r"a\.zip: skipped 2 of 201 pictures .* img/007\.png \("):
        np.testing.assert_array_equal(read_all(load(place)), expected(200)[kept])


def test_more_than_one_unreadable_picture_in_a_hundred_is_an_error(cache: Path, tmp_path: Path) -> None:
    members = pictures_of(100)
    members["img/003.png"] = members["img/005.png"] = b"not a picture"
    place = write_zip(tmp_path / "a.zip", members)
    with pytest.raises(ValueError, match=r"a\.zip: 2 of 100 pictures could not be read.*img/003\.png"):
        load(place)
    assert list(cache.iterdir()) == []


def test_a_damaged_member_of_a_zip_counts_as_unreadable(tmp_path: Path) -> None:
    members = pictures_of(120)
    place = write_zip(tmp_path / "a.zip", members)
    content = bytearray(place.read_bytes())
    content[content.index(members["img/002.png"]) + 20] ^= 0xFF
    place.write_bytes(bytes(content))
    with pytest.warns(UserWarning, match=r"skipped 1 of 120 .*img/002.png .*CRC"):
        assert len(load(place).store) == 119


def test_cut_off_archives_are_refused_by_name(cache: Path, tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", pictures_of(5))
    os.truncate(archive, archive.stat().st_size - 30)
    with pytest.raises(ValueError, match=r"a\.zip: damaged or cut-off archive .*download it again"):
        load(archive)
    tape = write_tar(tmp_path / "a.tar", pictures_of(5))
    with tarfile.open(tape) as opened:
        last = opened.getmembers()[-1]
    whole = tape.read_bytes()
    # inside the last picture, and exactly behind it
    for length in (last.offset_data + 10, last.offset_data + -(-last.size // 512) * 512):
        tape.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.tar: damaged or cut-off archive .*download it again"):
            load(tape)
    assert not cache.exists() or list(cache.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil.png", "img/../../evil.png", "/tmp/evil.png", "..\\evil.png", "C:\\evil.png"])
@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_members_that_point_outside_the_archive_are_refused(tmp_path: Path, write, name: str) -> None:
    place = write(tmp_path / ("a.zip" if write is write_zip else "a.tar"), {**pictures_of(1), name: b"x"})
    with pytest.raises(ValueError, match=r"a\.(zip|tar): member .*evil\.png' points outside the archive"):
        load(place)


def test_links_in_a_tar_are_refused(tmp_path: Path) -> None:
    place = tmp_path / "a.tar"
    with tarfile.open(place, "w") as archive:
        link = tarfile.TarInfo("img/000.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    with pytest.raises(ValueError, match=r"a\.tar: member 'img/000\.png' is a link"):
        load(place)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "a.rar"
    place.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a\.rar: expected a folder, a \.zip or an uncompressed \.tar"):
        load(place)


def test_hidden_files_and_mac_resource_forks_are_no_pictures(tmp_path: Path) -> None:
    members = {"a.png": b"1", "__MACOSX/._a.png": b"2", ".b.png": b"3", "c.txt": b"4", "./d/e.JPG": b"5"}
    for place in (write_zip(tmp_path / "a.zip", members), write_tar(tmp_path / "a.tar", members)):
        with open_pictures(place) as pictures:
            assert sorted(name.lstrip("./") for name in pictures.names) == ["a.png", "d/e.JPG"]


def test_a_full_disk_leaves_nothing_behind(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = write_zip(tmp_path / "a.zip", pictures_of(300))
    append, calls = image_cache.write_array, []

    def fails_at_the_second(file, images) -> None:
        calls.append(len(images))
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(file, images)

    with monkeypatch.context() as patch:
        patch.setattr(image_cache, "write_array", fails_at_the_second)
        with pytest.raises(OSError, match=r"cache of decoded test images .*No space left on device.*nothing was left"):
            load(place)
    assert len(calls) == 2
    assert list(cache.iterdir()) == []
    np.testing.assert_array_equal(read_all(load(place)), expected(300))


def test_a_real_limit_on_file_size_leaves_nothing_behind(cache: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    place = write_zip(tmp_path / "a.zip", pictures_of(200))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"cache of decoded test images .*nothing was left"):
            load(place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(cache.iterdir()) == []
    np.testing.assert_array_equal(read_all(load(place)), expected(200))


def test_too_little_space_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = write_zip(tmp_path / "a.zip", pictures_of(5))
    monkeypatch.setattr("shutil.disk_usage", lambda _: types.SimpleNamespace(free=1000))

    def slabs() -> Generator[Slab, None, None]:
        pytest.fail("started to write")
        yield

    key = CacheKey("test", place, "", {})
    with pytest.raises(OSError, match=r"cache of decoded test images .*needs 1 MB.*0 MB are free"):
        cached_images(key, lambda: ImageStream(5, (1, 8, 8), slabs()))


def test_leftovers_of_killed_builds_are_removed_but_not_those_of_living_ones(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = write_zip(tmp_path / "a.zip", pictures_of(5))
    load(place)
    (file,) = cache.glob("*.h5")
    file.unlink()
    dead, living = cache / f".{file.name}.aa.partial", cache / f".{file.name}.bb.partial"
    dead.write_bytes(b"x")
    living.write_bytes(b"x")
    os.utime(living, (0, 0))  # as a machine whose clock is hours behind leaves it
    # the room is measured when they are gone: they may be what fills the disk
    left = []
    monkeypatch.setattr(image_cache, "require_space", lambda folder, *_: left.extend(folder.glob(".*.partial")))
    with held_lock(cache / f"{living.name}.lock"):
        load(place)
        assert left == [living]
        assert {path.name for path in cache.iterdir()} == {file.name, living.name, f"{living.name}.lock"}


def test_a_disk_that_fills_at_the_end_leaves_nothing_behind(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    place = write_zip(tmp_path / "a.zip", pictures_of(200))
    before, lowered = resource.getrlimit(resource.RLIMIT_FSIZE), []
    write = image_cache.write_array

    def leaves_no_room(file, images) -> None:
        write(file, images)
        lowered.append(len(images))
        if sum(lowered) == 200:
            size = os.fstat(file.fileno()).st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    monkeypatch.setattr(image_cache, "write_array", leaves_no_room)
    try:
        with pytest.raises(OSError, match=r"cache of decoded test images .*File too large.*nothing was left"):
            load(place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(cache.iterdir()) == []


def _build(place: str, cache: str, barrier, results) -> None:
    os.environ["SPARSE_REPR_CACHE"] = cache
    barrier.wait()
    images = load(Path(place))
    results.put(int(read_all(images).astype(np.int64).sum()))


def test_two_processes_may_build_the_same_cache_at_once(cache: Path, tmp_path: Path) -> None:
    place = write_zip(tmp_path / "a.zip", pictures_of(400))
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_build, args=(str(place), str(cache), barrier, results)) for _ in range(2)]
    for process in processes:
        process.start()
    sums = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert sums == [int(expected(400).astype(np.int64).sum())] * 2
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("kind", [MappedImages, FileImages])
def test_channels_last_and_a_file_that_is_too_short(
    tmp_path: Path, kind: type[MappedImages] | type[FileImages]
) -> None:
    pixels = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    path = tmp_path / "raw"
    path.write_bytes(b"head" + pixels.tobytes())
    store = kind(path, 4, (2, 4, 5, 3), channels_last=True)
    assert (len(store), store.image_shape) == (2, (3, 4, 5))
    batch = store.read(np.array([1, 0]))
    np.testing.assert_array_equal(batch, pixels[[1, 0]].transpose(0, 3, 1, 2))
    assert batch.flags.c_contiguous
    with pytest.raises(ValueError, match=r"raw: expected at least 125 bytes .*found 124"):
        kind(path, 5, (2, 4, 5, 3))


def test_a_declared_partition_decides_the_split_and_is_checked() -> None:
    store = ArrayImages(np.zeros((6, 1, 2, 2), dtype=np.uint8))
    partition = np.array([0, 2, 1, 0, 2, 0], dtype=np.int8)
    # a full grid too: the partition goes before
    data = FactorDataset("x", store, "drawn", ("a",), (6,), full_grid((6,)), partition=partition)
    train, held_out = data.split
    assert train.tolist() == [0, 3, 5]
    assert held_out.tolist() == [1, 4]
    with pytest.raises(ValueError, match=r"x: partition needs 6 values 0 .*got shape"):
        FactorDataset("x", store, "drawn", partition=partition[:5])
    with pytest.raises(ValueError, match=r"x: partition needs 6 values 0 .*got shape"):
        FactorDataset("x", store, "drawn", partition=partition + np.int8(1))


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz"])
@pytest.mark.parametrize(
    ("compress", "program"), [(gzip.compress, "gzip"), (bz2.compress, "bzip2"), (lzma.compress, "xz")]
)
def test_what_a_compressed_tar_is_refused_with_unpacks_it(tmp_path: Path, name: str, compress, program: str) -> None:
    whole = write_tar(tmp_path / "whole.tar", pictures_of(2)).read_bytes()
    (tmp_path / name).write_bytes(compress(whole))
    with pytest.raises(ValueError, match=rf"uncompressed \.tar, found a file that {program} compressed") as caught:
        load(tmp_path / name)
    remedy = str(caught.value).split("unpack it: ")[1]
    if shutil.which(program) is not None:
        subprocess.run(remedy, shell=True, check=True, cwd=tmp_path, timeout=60)
        assert (tmp_path / "unpacked.tar").read_bytes() == whole


def test_a_tar_of_links_can_be_stored_whole(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    for name, data in pictures_of(1).items():
        (tmp_path / "own" / Path(name).name).write_bytes(data)
        os.link(tmp_path / "own" / Path(name).name, tmp_path / "own" / "again.png")
        (tmp_path / "own" / "third.png").symlink_to("again.png")
    with tarfile.open(tmp_path / "links.tar", "w") as archive:
        archive.add(tmp_path / "own", "own")
    with pytest.raises(ValueError, match="is a link.*GNU tar: --dereference --hard-dereference") as caught:
        load(tmp_path / "links.tar")
    remedy = str(caught.value).split("GNU tar: ")[1].split(",")[0].split()
    if shutil.which("tar") is None or b"GNU" not in subprocess.run(["tar", "--version"], capture_output=True).stdout:
        pytest.skip("needs GNU tar")
    subprocess.run(["tar", *remedy, "-cf", tmp_path / "own.tar", "own"], check=True, cwd=tmp_path, timeout=60)
    with open_pictures(tmp_path / "own.tar") as stored:
        assert len(stored.names) == 3
