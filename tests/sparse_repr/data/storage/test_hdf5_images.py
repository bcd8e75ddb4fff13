from __future__ import annotations

import os
import pickle
import signal
import tracemalloc
import types
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sparse_repr.data import ArrayImages, FileImages, load_dataset
from sparse_repr.data.recorded import load_recorded
from sparse_repr.data.storage import image_cache
from sparse_repr.data.storage.hdf5_images import ChunkedImages, hdf5_slabs
from sparse_repr.pretrain.batches import BatchOrder
from sparse_repr.pretrain.schedules import BatchSizes

LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (7, 1, 8, 8)},
    "gzip": {"chunks": (7, 3, 8, 8), "compression": "gzip"},
    "one chunk": {"chunks": (100, 3, 8, 8), "compression": "gzip"},
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SPARSE_REPR_CACHE", str(folder))
    return folder


def noise(count: int = 100) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)


def write(path: Path, images: np.ndarray, *, userblock: int = 0, **layout: Any) -> Path:
    with h5py.File(path, "w", userblock_size=userblock) as file:
        file.create_dataset("images", data=images, **layout)
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("options", [{"in_memory": True}, {"in_memory": False}, {"in_memory": False, "unpack": False}])
def test_every_layout_trains_on_the_same_images_in_the_same_order(
    tmp_path: Path, layout: str, options: dict[str, bool]
) -> None:
    images = noise()
    data = load_recorded(write(tmp_path / "a.h5", images, **LAYOUTS[layout]), progress=False, **options)
    order = BatchOrder(data.split[0], BatchSizes(16), seed=3)
    again = BatchOrder(np.arange(90), BatchSizes(16), seed=3)
    for step in range(12):  # over the end of an epoch too
        np.testing.assert_array_equal(data.images(order(step)), images[again(step)])
    assert data.image_shape == (3, 8, 8)
    assert len(data) == 100
    in_pieces = layout != "contiguous" and not options["in_memory"] and not options.get("unpack", True)
    kind = ArrayImages if options["in_memory"] else ChunkedImages if in_pieces else FileImages
    assert isinstance(data.store, kind)


def test_small_files_are_held_and_leave_no_cache(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for layout in ("contiguous", "gzip"):
        data = load_dataset("h5", write(tmp_path / "a.h5", noise(), **LAYOUTS[layout]))
        assert isinstance(data.store, ArrayImages)
    assert not cache.exists()
    monkeypatch.setattr("sparse_repr.data.storage.image_cache.IN_MEMORY_BYTES", 100 * 3 * 64 - 1)
    assert isinstance(load_dataset("h5", tmp_path / "a.h5").store, FileImages)
    assert len(list(cache.iterdir())) == 1


def test_a_changed_file_is_unpacked_again(tmp_path: Path, cache: Path) -> None:
    for count in (100, 60):
        path = write(tmp_path / "a.h5", noise()[-count:], **LAYOUTS["gzip"])
        data = load_recorded(path, progress=False, in_memory=False)
        np.testing.assert_array_equal(data.images(np.arange(count)), noise()[-count:])
    assert len(list(cache.iterdir())) == 1


def test_images_behind_a_user_block_are_found(tmp_path: Path) -> None:
    data = load_recorded(write(tmp_path / "a.h5", noise(), userblock=1024), in_memory=False)
    np.testing.assert_array_equal(data.images([99, 0]), noise()[[99, 0]])


def test_images_that_were_never_written_are_black(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", (9, 1, 8, 8), np.uint8)
    for unpack in (True, False):
        with pytest.warns(UserWarning, match=r"a\.h5: the brightest pixel of 9 images is 0"):
            data = load_recorded(tmp_path / "a.h5", progress=False, in_memory=False, unpack=unpack)
        assert data.images(np.arange(9)).max() == 0


def test_without_room_for_a_copy_a_warning_says_that_reading_is_slower(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.h5", noise(), **LAYOUTS["gzip"])
    monkeypatch.setattr("shutil.disk_usage", lambda _: types.SimpleNamespace(free=1000))
    with pytest.warns(UserWarning, match=r"a\.h5: its images are unpacked at every read, .*decoded h5 .*0 MB are free"):
        data = load_recorded(path, progress=False, in_memory=False)
    np.testing.assert_array_equal(data.images([5, 99, 5]), noise()[[5, 99, 5]])
    assert list(cache.iterdir()) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(load_recorded(path, in_memory=False, unpack=False).store, ChunkedImages)


def test_a_chunk_is_unpacked_once_for_a_batch(tmp_path: Path) -> None:
    store = ChunkedImages(write(tmp_path / "a.h5", noise(), **LAYOUTS["gzip"]))
    images, spans = store._images, []

    class Counting:
        shape, chunks = images.shape, images.chunks

        def __getitem__(self, span: slice) -> np.ndarray:
            spans.append((span.start, span.stop))
            return images[span]

    store._images = Counting()
    index = np.array([13, 1, 7, 98, 1])
    np.testing.assert_array_equal(store.read(index), noise()[index])
    assert spans == [(1, 2), (7, 14), (98, 99)]
    assert store.read(np.array([], dtype=np.int64)).shape == (0, 3, 8, 8)


def test_a_pickled_store_opens_its_file_again(tmp_path: Path) -> None:
    store = ChunkedImages(write(tmp_path / "a.h5", noise(), **LAYOUTS["gzip"]))
    packed = pickle.dumps(store)
    assert len(packed) < 1000
    np.testing.assert_array_equal(pickle.loads(packed).read(np.array([42])), noise()[[42]])


def damaged(path: Path) -> Path:
    write(path, noise(), **LAYOUTS["gzip"])
    with h5py.File(path) as file:
        place = file["images"].id.get_chunk_info(8)
    content = bytearray(path.read_bytes())
    content[place.byte_offset + 20 : place.byte_offset + 60] = bytes(40)
    path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_damaged_chunk_is_the_files_fault_and_leaves_no_cache(tmp_path: Path, cache: Path, in_memory: bool) -> None:
    path = damaged(tmp_path / "a.h5")
    with pytest.raises(ValueError, match=r"a\.h5: not a readable HDF5 file \("):
        load_recorded(path, progress=False, in_memory=in_memory)
    assert not cache.exists() or list(cache.iterdir()) == []


def test_a_damaged_chunk_read_on_its_own_is_named(tmp_path: Path) -> None:
    data = load_recorded(damaged(tmp_path / "a.h5"), in_memory=False, unpack=False)
    data.images(np.arange(56))
    with pytest.raises(OSError, match=r"a\.h5: images 57\.\.60 cannot be read .*get it again"):
        data.images([60, 57])


@pytest.mark.parametrize("layout", ["contiguous", "gzip"])
def test_a_cut_off_file_is_refused(tmp_path: Path, layout: str) -> None:
    path = write(tmp_path / "a.h5", noise(), **LAYOUTS[layout])
    os.truncate(path, path.stat().st_size - 1000)
    with pytest.raises(ValueError, match=r"a\.h5: not a readable HDF5 file \(.*truncated"):
        load_recorded(path, in_memory=False)


def test_unpacking_holds_some_chunks_and_never_all_images(tmp_path: Path) -> None:
    count = 40_000
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", (count, 1, 32, 32), np.uint8, chunks=(100, 1, 32, 32), compression="lzf")
        file["images"][count - 1] = 7
        file["images"][0] = 255
    tracemalloc.start()  # sees the memory of numpy's arrays, h5py's among them
    try:
        data = load_recorded(tmp_path / "a.h5", progress=False, in_memory=False)
        order = BatchOrder(data.split[0], BatchSizes(64), seed=0)
        for step in range(30):
            data.images(order(step))
        assert data.images([-1]).min() == 7
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # two slabs of 12 MB, one of which is being written, of 41 MB; and three numbers of 8 bytes for an image's place in
    # the order
    assert peak < 2.1 * 12 * 1024**2 + 40_000 * 24


@pytest.mark.parametrize("rows", [1, 7, 200])
def test_slabs_are_whole_chunks(tmp_path: Path, rows: int) -> None:
    path = write(tmp_path / "a.h5", noise(), chunks=(min(rows, 100), 3, 8, 8))
    found = hdf5_slabs(
        path, progress=False, unreadable=lambda *_: ValueError(), slab_bytes=10 * 3 * 64, most_bytes=30 * 3 * 64
    )
    slabs = [slab.images for slab in found]
    assert {len(slab) for slab in slabs[:-1]} == {{1: 10, 7: 14, 200: 30}[rows]}
    np.testing.assert_array_equal(np.concatenate(slabs), noise())


# Python 3.12 warns of forking beside other threads, for locks that they may hold; the child here waits for none
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_killed_unpacking_leaves_nothing_that_is_taken_for_whole(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.h5", noise(), **LAYOUTS["gzip"])
    child = os.fork()
    if child == 0:
        append = image_cache.write_array
        monkeypatch.setattr(
            image_cache, "write_array", lambda *arguments: (append(*arguments), os.kill(os.getpid(), signal.SIGKILL))
        )
        load_recorded(path, progress=False, in_memory=False)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (leftover,) = cache.glob(".*.partial")
    data = load_recorded(path, progress=False, in_memory=False)
    np.testing.assert_array_equal(data.images(np.arange(100)), noise())
    assert not leftover.exists()
    assert [file.suffix for file in cache.iterdir()] == [".h5"]
