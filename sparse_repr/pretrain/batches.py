"""Where the images of a training step come from: which items, and how they reach the device."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sparse_repr.data import FactorDataset
from sparse_repr.data.base import HeldImages
from sparse_repr.data.storage.resident import ResidentImages, proven_images
from sparse_repr.pretrain.schedules import BatchSizes

# Batches made ahead: one waits while the next is being made, whatever the speed of either side.
_AHEAD = 2
EVERYTHING = slice(None)
"""The part of a batch that is all of it."""


class BatchOrder:
    """Which items each step trains on: an endless row of seeded permutations, a function of (seed, step) alone."""

    def __init__(self, indices: npt.NDArray[np.int64], sizes: BatchSizes, seed: int) -> None:
        self._indices = indices
        self._sizes = sizes
        self._seed = seed
        self._epoch = -1
        self._order = indices

    def __call__(self, step: int) -> npt.NDArray[np.int64]:
        """Item indices of step `step` (counted from 0), int64 (`sizes.size(step)`,)."""
        parts = [self.permutation(epoch)[rows] for epoch, rows in self.pieces(step)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def pieces(self, step: int) -> Iterator[tuple[int, slice]]:
        """What a step takes of which epochs' permutations, in order: one piece, or more where an epoch ends in it."""
        count = len(self._indices)
        position, missing = self._sizes.position(step), self._sizes.size(step)
        while missing:
            epoch, offset = divmod(position, count)
            taken = min(missing, count - offset)
            yield epoch, slice(offset, offset + taken)
            position += taken
            missing -= taken

    def permutation(self, epoch: int) -> npt.NDArray[np.int64]:
        """All item indices in the order of an epoch, int64 (N,); the last one asked for is kept."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = self._indices[np.random.default_rng((self._seed, epoch)).permutation(len(self._indices))]
        return self._order


class Batches(Protocol):
    """The batches of a run on its device, by step.

    `draw` is what the host does for a step and `pixels` what the device does: the latter alone can be part of a graph.
    """

    def draw(self, step: int, part: slice = EVERYTHING) -> Tensor:
        """What identifies `part` of a step's images, a tensor on the device with one row for each of them."""

    def pixels(self, drawn: Tensor) -> Tensor:
        """What `draw` returned -> images, uint8 (n, C, H, W) on the device; rows of several draws can be joined."""

    def close(self) -> None:
        """Stop what runs in the background; batches can be drawn again after it."""


class CopiedBatches:
    """Batches that the host reads and copies to the device: `draw` returns the pixels themselves.

    With `ahead` a background thread reads the next batches while the present step is computed. They depend on the step
    alone, so that the thread changes nothing but the time; what it raises is raised by the `draw` of that step.
    """

    def __init__(self, data: FactorDataset, order: BatchOrder, device: torch.device, *, ahead: bool) -> None:
        """Read `data`, in the background where `ahead` says so."""
        self._data = data
        self._order = order
        self._device = device
        # the thread that reads ahead has a current device of its own, and would open a context on the first one
        self._place = contextlib.nullcontext if device.type != "cuda" else partial(torch.cuda.device, _index(device))
        self._ahead = ahead
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[int, slice, Future[Tensor]]] = deque()

    def _read(self, step: int, part: slice) -> Tensor:
        pixels = torch.from_numpy(self._data.images(self._order(step)[part]))
        with self._place():
            # only from locked pages does a copy go on while the host does something else
            return pixels.pin_memory() if self._device.type == "cuda" else pixels

    def draw(self, step: int, part: slice = EVERYTHING) -> Tensor:
        pixels = self._read_ahead(step, part) if self._ahead else self._read(step, part)
        return pixels.to(self._device, non_blocking=True)

    def pixels(self, drawn: Tensor) -> Tensor:
        return drawn

    def _read_ahead(self, step: int, part: slice) -> Tensor:
        if self._waiting and self._waiting[0][:2] != (step, part):
            self.close()  # another step than the one after the last: a new start
        if self._thread is None:
            # one thread, so that no two batches are read at a time and the order is asked by that thread alone
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        first = self._waiting[-1][0] + 1 if self._waiting else step
        for following in range(first, step + _AHEAD + 1):
            self._waiting.append((following, part, self._thread.submit(self._read, following, part)))
        try:
            return self._waiting.popleft()[2].result()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
        self._thread = None
        self._waiting.clear()


def _index(device: torch.device) -> int:
    """Number of a CUDA device; the current one of this thread where it has none."""
    return torch.cuda.current_device() if device.index is None else device.index


class ResidentBatches:
    """Batches of a data set that is on the device as it is stored: `draw` returns the items, int64.

    The permutation of an epoch is copied to the device once; a step takes a slice of it there.
    """

    def __init__(self, images: ResidentImages, order: BatchOrder, device: torch.device) -> None:
        """Gather from `images`."""
        self._images = images
        self._order = order
        self._device = device
        self._epoch = -1
        self._permutation = torch.empty(0, dtype=torch.int64, device=device)

    def draw(self, step: int, part: slice = EVERYTHING) -> Tensor:
        parts = [self._on_device(epoch)[rows] for epoch, rows in self._order.pieces(step)]
        return (parts[0] if len(parts) == 1 else torch.cat(parts))[part]

    def pixels(self, drawn: Tensor) -> Tensor:
        return self._images(drawn)

    def close(self) -> None:
        """Nothing runs in the background."""

    def _on_device(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            self._epoch = epoch
            self._permutation = torch.from_numpy(self._order.permutation(epoch)).to(self._device)
        return self._permutation


def choose_batches(data: FactorDataset, order: BatchOrder, device: torch.device, place: str = "auto") -> Batches:
    """How the batches of a run reach its device.

    Args:
        data: the data set.
        order: the items of each step.
        device: where they go.
        place: where the data set is, see `is_resident`.

    Raises:
        ValueError, RuntimeError: as `proven_images`, which also warns.
    """
    images = proven_images(data, device, place)
    if images is not None:
        return ResidentBatches(images, order, device)
    # beside a CPU's own computation, what is held in memory is copied faster than a thread is asked for it
    in_memory = isinstance(data.store, HeldImages) and data.store.in_memory
    return CopiedBatches(data, order, device, ahead=device.type == "cuda" or not in_memory)
