from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from sparse_repr.data import MappedImages
from sparse_repr.data.storage.file_images import FileImages, stored_images

pytestmark = pytest.mark.skipif(not hasattr(os, "preadv"), reason="the system cannot read files by position")


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (50, 3, 4, 5), dtype=np.uint8)


@pytest.fixture
def store(tmp_path: Path, pixels: np.ndarray) -> FileImages:
    (tmp_path / "raw").write_bytes(b"head" + pixels.tobytes() + b"tail")
    return FileImages(tmp_path / "raw", 4, (50, 3, 4, 5))


@pytest.mark.parametrize(
    "indices", [[], [0], [49], [7, 8, 9], [9, 8, 7], [3, 3, 4, 4, 5], [0, 1, 2, 49, 10, 11, 0], range(50)]
)
def test_any_choice_of_images_is_what_an_array_gives(store: FileImages, pixels: np.ndarray, indices: list[int]) -> None:
    index = np.array(indices, dtype=np.int64)
    batch = store.read(index)
    np.testing.assert_array_equal(batch, pixels[index])
    assert batch.dtype == np.uint8
    batch[:] = 0  # the caller's own: nothing read later changes
    np.testing.assert_array_equal(store.read(index), pixels[index])


def test_images_in_a_row_come_by_one_call(store: FileImages, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, preadv = [], os.preadv
    monkeypatch.setattr(os, "preadv", lambda *arguments: calls.append(arguments) or preadv(*arguments))
    store.read(np.array([5, 6, 7, 20, 30, 31]))
    assert [arguments[2] for arguments in calls] == [4 + 60 * 5, 4 + 60 * 20, 4 + 60 * 30]


def test_a_read_that_stops_short_is_continued(
    store: FileImages, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, views, position: preadv(file, [views[0][:7]], position))
    np.testing.assert_array_equal(store.read(np.array([2, 3, 9])), pixels[[2, 3, 9]])


def test_indices_outside_are_refused(store: FileImages) -> None:
    for wrong in (-1, 50):
        with pytest.raises(IndexError, match=rf"raw: needs indices 0\.\.49, got .*{wrong}"):
            store.read(np.array([3, wrong]))


def test_a_file_cut_off_later_is_an_error_that_names_it(tmp_path: Path, store: FileImages) -> None:
    os.truncate(tmp_path / "raw", 4 + 60 * 10 + 30)
    store.read(np.arange(10))
    with pytest.raises(OSError, match=r"raw: was cut off at byte 634 while it was read"):
        store.read(np.array([0, 10]))


def test_the_stored_form_is_that_of_the_file_that_was_opened(
    tmp_path: Path, store: FileImages, pixels: np.ndarray
) -> None:
    (tmp_path / "newer").write_bytes(bytes(len(pixels.tobytes()) + 8))
    (tmp_path / "newer").replace(tmp_path / "raw")
    rows, layout = store.stored()
    assert layout == "channels_first"
    np.testing.assert_array_equal(rows, pixels)


def test_the_file_is_closed_with_the_store(store: FileImages) -> None:
    other = pickle.loads(pickle.dumps(store))
    descriptor = other._descriptor
    os.fstat(descriptor)
    del other
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


# Python 3.12 warns of forking beside other threads, for locks that they may hold; the child here takes none
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the system cannot fork")
def test_threads_and_forked_processes_do_not_disturb_each_other(store: FileImages, pixels: np.ndarray) -> None:
    def read(seed: int) -> bool:
        generator = np.random.default_rng(seed)
        chosen = [generator.integers(0, 50, 64) for _ in range(50)]
        return all(np.array_equal(store.read(index), pixels[index]) for index in chosen)

    child = os.fork()
    if child == 0:
        os._exit(0 if read(100) else 1)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(4)))
    assert os.waitpid(child, 0)[1] == 0


def test_systems_that_cannot_read_by_position_map_the_file(
    store: FileImages, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(stored_images(**store._arguments), FileImages)  # type: ignore[arg-type]
    monkeypatch.delattr(os, "preadv")
    mapped = stored_images(**store._arguments)  # type: ignore[arg-type]
    assert isinstance(mapped, MappedImages)
    np.testing.assert_array_equal(mapped.read(np.array([3, 1])), pixels[[3, 1]])


def _memory_kb(kind: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:"))


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the system does not tell a process's memory")
def test_reading_every_image_takes_no_memory(tmp_path: Path) -> None:
    path, count = tmp_path / "large", 10_000  # 41 MB
    with path.open("wb") as file:
        for _ in range(count // 1000):
            file.write(np.ones((1000, 64, 64), np.uint8).data)
    order = np.random.default_rng(0).permutation(count)

    def growth_mb(store: FileImages | MappedImages) -> float:
        before = _memory_kb("VmRSS")
        for start in range(0, count, 64):
            store.read(order[start : start + 64])
        return (_memory_kb("VmRSS") - before) / 1000

    assert growth_mb(FileImages(path, 0, (count, 1, 64, 64))) < 5
    assert growth_mb(MappedImages(path, 0, (count, 1, 64, 64))) > 30  # what the measurement would not miss
