"""Batches reach the device unchanged and in the order of `BatchOrder`, whichever way they take."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from sparse_repr import PretrainConfig
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.data.base import ArrayImages, ImageArray, IntArray, MappedImages
from sparse_repr.data.storage import resident
from sparse_repr.data.storage.file_images import stored_images
from sparse_repr.data.storage.resident import image_reader, resident_images, why_not_resident
from sparse_repr.pretrain.batches import BatchOrder, CopiedBatches, ResidentBatches, choose_batches
from sparse_repr.pretrain.schedules import BatchSizes
from sparse_repr.pretrain.trainer import Trainer
from tests.sparse_repr.pretrain.together.test_stacked import SMALL

CPU = torch.device("cpu")


def _pixels(count: int, channels: int, size: int) -> ImageArray:
    return np.random.default_rng(0).integers(0, 256, (count, channels, size, size), dtype=np.uint8)


def _stores(folder: Path) -> dict[str, FactorDataset]:
    """50 images in every form in which a store may hold them beside bits."""
    pixels = _pixels(50, 3, 8)
    pixels.transpose(0, 2, 3, 1).tofile(folder / "last")
    (folder / "first").write_bytes(b"head" + pixels.tobytes())
    read_only = np.asarray(pixels)
    read_only.setflags(write=False)
    stores = {
        "array": ArrayImages(read_only),
        "mapped": MappedImages(folder / "first", 4, (50, 3, 8, 8)),
        "channels_last": MappedImages(folder / "last", 0, (50, 8, 8, 3), channels_last=True),
        "file": stored_images(folder / "last", 0, (50, 8, 8, 3), channels_last=True),
    }
    return {name: FactorDataset(name, store, "drawn") for name, store in stores.items()}


def test_resident_batches_hold_the_images_of_the_order(dsprites: FactorDataset, tmp_path: Path) -> None:
    for data in (dsprites, *_stores(tmp_path).values()):
        chosen = np.arange(3, 40)
        order, expected = BatchOrder(chosen, BatchSizes(16), seed=1), BatchOrder(chosen, BatchSizes(16), seed=1)
        batches = choose_batches(data, order, CPU, "always")
        assert isinstance(batches, ResidentBatches)
        for step in range(7):  # 37 items: most steps span two epochs
            drawn = batches.draw(step)
            assert np.array_equal(drawn.numpy(), expected(step))
            pixels = batches.pixels(drawn)
            assert (pixels.dtype, tuple(pixels.shape)) == (torch.uint8, (16, *data.image_shape))
            assert np.array_equal(pixels.numpy(), data.images(expected(step))), (data.name, step)
        assert torch.equal(batches.draw(2, slice(4, 8)), batches.draw(2)[4:8])
    two_at_once = BatchOrder(np.arange(5), BatchSizes(16), seed=0)
    drawn = choose_batches(dsprites, two_at_once, CPU, "always").draw(1)  # three epochs and more in one batch
    assert np.array_equal(drawn.numpy(), BatchOrder(np.arange(5), BatchSizes(16), seed=0)(1))


def test_drawn_sprites_unpack_to_the_pixels_of_the_store(dsprites: FactorDataset) -> None:
    items = np.random.default_rng(0).integers(0, len(dsprites), 500)
    resident = resident_images(dsprites, CPU)
    assert np.array_equal(resident(torch.from_numpy(items)).numpy(), dsprites.images(items))
    assert resident_images(dsprites, CPU) is resident  # one copy for all who hold it


@pytest.mark.parametrize("place", ["always", "never"])
def test_training_is_the_same_wherever_the_data_is(dsprites: FactorDataset, place: str) -> None:
    config = dataclasses.replace(SMALL, image_size=64)
    losses = []
    for chosen in (place, "auto"):
        trainer = Trainer(dataclasses.replace(config, data_on_device=chosen).resolve(), dsprites)
        losses.append([float(trainer.train_step()["loss"]) for _ in range(3)])
    assert losses[0] == losses[1]


def test_images_are_read_onto_a_device_by_item(dsprites: FactorDataset) -> None:
    items = np.array([5, 737_279, 5, 0])
    for place in ("always", "never"):
        assert np.array_equal(image_reader(dsprites, CPU, place)(items).numpy(), dsprites.images(items))
    with pytest.raises(ValueError, match="data_on_device needs one of auto, always, never, got 'here'"):
        image_reader(dsprites, CPU, "here")


class _Counting:
    """A store that makes its images at every read, and says in which thread."""

    image_shape = (1, 8, 8)

    def __init__(self, count: int = 30, fails_at: int | None = None) -> None:
        self.pixels = _pixels(count, 1, 8)
        self.fails_at = fails_at
        self.reads = 0
        self.threads: set[str] = set()

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: IntArray) -> ImageArray:
        if self.reads == self.fails_at:
            raise OSError("the disk is gone")
        self.reads += 1
        self.threads.add(threading.current_thread().name)
        return self.pixels[indices]


def test_images_that_wait_for_a_disk_are_read_ahead(tmp_path: Path, dsprites: FactorDataset) -> None:
    stores = {"bits": dsprites, **_stores(tmp_path)}
    ahead = {}
    for name, data in stores.items():
        batches = choose_batches(data, BatchOrder(np.arange(40), BatchSizes(8), seed=0), CPU)
        before = threading.active_count()
        batches.draw(0)
        ahead[name] = threading.active_count() > before
        batches.close()
    assert ahead == {"bits": False, "array": False, "mapped": True, "channels_last": True, "file": True}


def test_batches_read_ahead_are_those_of_their_steps() -> None:
    store = _Counting()
    data = FactorDataset("counting", store, "drawn")
    order, expected = BatchOrder(np.arange(30), BatchSizes(8), seed=4), BatchOrder(np.arange(30), BatchSizes(8), seed=4)
    batches = choose_batches(data, order, CPU)
    for step in (
        0,
        1,
        2,
        3,
        4,
        0,
        1,
        9,
        10,
    ):  # the run of a denoising autoencoder goes before, a resumed run starts late
        assert np.array_equal(batches.pixels(batches.draw(step)).numpy(), store.pixels[expected(step)]), step
    assert all(name.startswith("batches") for name in store.threads)
    batches.close()
    assert not any(thread.name.startswith("batches") for thread in threading.enumerate())
    assert np.array_equal(batches.draw(11).numpy(), store.pixels[expected(11)])  # closing is not the end
    batches.close()
    assert 9 + 1 <= store.reads <= 3 * 5 + 9  # at most two more than asked for after each start


def test_what_reading_raises_reaches_the_step_that_needs_it() -> None:
    data = FactorDataset("counting", _Counting(fails_at=2), "drawn")
    batches = choose_batches(data, BatchOrder(np.arange(30), BatchSizes(8), seed=4), CPU)
    batches.draw(0)
    batches.draw(1)
    with pytest.raises(OSError, match="the disk is gone"):
        batches.draw(2)
    assert not any(thread.name.startswith("batches") for thread in threading.enumerate())


def test_held_images_need_no_thread_on_a_cpu(dsprites: FactorDataset) -> None:
    batches = choose_batches(dsprites, BatchOrder(np.arange(30), BatchSizes(8), seed=4), CPU)
    assert isinstance(batches, CopiedBatches)
    batches.draw(0)
    assert not any(thread.name.startswith("batches") for thread in threading.enumerate())


def test_where_data_cannot_be_is_said(dsprites: FactorDataset) -> None:
    order = BatchOrder(np.arange(30), BatchSizes(8), seed=4)
    noisy = load_dataset("dsprites_noise")
    assert why_not_resident(dsprites) is None
    assert "makes or streams its images at every read" in str(why_not_resident(noisy))
    with pytest.raises(ValueError, match="'always' cannot be had for data set 'dsprites_noise': NoisySprites makes"):
        choose_batches(noisy, order, CPU, "always")
    with pytest.raises(TypeError, match="images that are held somewhere"):
        resident_images(noisy, CPU)
    with pytest.raises(ValueError, match="unknown data_on_device 'alway'. Did you mean 'always'"):
        PretrainConfig(data_on_device="alway")


@pytest.mark.parametrize("fault", ["one pixel", "memory"])
def test_a_copy_on_the_device_that_is_none_is_not_used(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (30, 3, 4, 4)).astype(np.uint8)
    data = FactorDataset("held", ArrayImages(pixels), "drawn")
    read = resident.ResidentImages.__call__

    def faulty(images: resident.ResidentImages, items: torch.Tensor) -> torch.Tensor:
        found = read(images, items).clone()
        if fault == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmore of it")
        found[len(found) // 2, 1, 2, 3] += 1
        return found

    monkeypatch.setattr(resident.ResidentImages, "__call__", faulty)
    monkeypatch.setattr(resident, "why_not_resident", lambda *_: None)
    order, card = BatchOrder(np.arange(30), BatchSizes(8), seed=4), torch.device("cpu")
    told = "CUDA out of memory. Tried to allocate$" if fault == "memory" else "image 15 of it reads otherwise there"
    with pytest.raises(RuntimeError, match=told.rstrip("$")):
        choose_batches(data, order, card, "always")
    monkeypatch.setattr(resident, "is_resident", lambda *_: True)  # as "auto" on a card
    with pytest.warns(UserWarning, match=f"data set 'held' is not put on cpu, batches are copied: {told}"):
        batches = choose_batches(data, order, card)
    assert isinstance(batches, CopiedBatches)
    assert np.array_equal(batches.draw(0).numpy(), pixels[order(0)])
    monkeypatch.setattr(resident.ResidentImages, "__call__", read)
    assert isinstance(choose_batches(data, order, card), ResidentBatches)


def test_a_data_set_that_does_not_fit_stays_in_host_memory(
    dsprites: FactorDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (700_000_000, 8_000_000_000))
    assert why_not_resident(dsprites, card) == "its 0.4 GB are more than half of the 0.7 GB that are free on cuda"
    # what torch holds for itself is free for it, whatever the device says
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 900_000_000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 800_000_000)
    assert why_not_resident(dsprites, card) is None


def test_pages_are_locked_for_the_device_of_the_run(dsprites: FactorDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    within: list[int] = []
    locked: list[list[int]] = []

    @contextlib.contextmanager
    def device(index: int) -> Iterator[None]:
        within.append(index)
        yield
        within.pop()

    def pin_memory(pixels: torch.Tensor) -> torch.Tensor:
        locked.append([*within])
        return pixels

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    order = BatchOrder(np.arange(30), BatchSizes(8), seed=4)
    for name in ("cuda:1", "cuda"):
        CopiedBatches(dsprites, order, torch.device(name), ahead=True)._read(0, slice(None))
    assert locked == [[1], [3]]
