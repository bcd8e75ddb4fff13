"""A data set on the device in the form it is stored in, where batches are gathered and unpacked.

Tested on the CPU; what it gains on a GPU was not measured.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sparse_repr.data import FactorDataset
from sparse_repr.data.base import HeldImages, IntArray, StoredForm

DATA_PLACES = ("auto", "always", "never")
"""Whether a data set is put on the device: see `is_resident`."""

# The most of the device's free memory that a data set may take; the rest is for the networks and the batches.
_SHARE = 0.5
# Bytes copied to the device at a time: a memory-mapped file never has to be in memory as a whole.
_SLAB_BYTES = 64 * 1024**2
# Images that are read from a new copy and from its source, and have to be the same.
_PROVEN = 64


class ResidentImages:
    """Images on a device, one row of stored bytes each; reading a batch never leaves the device."""

    def __init__(self, stored: StoredForm, image_shape: tuple[int, int, int], device: torch.device) -> None:
        """Copy `stored` to `device`; `image_shape` is (C, H, W)."""
        self.image_shape = image_shape
        self.proven = False
        """Whether images of it have been compared with their source."""
        self._layout = stored.layout
        rows = stored.rows
        self._rows = torch.empty(rows.shape, dtype=torch.uint8, device=device)
        slab = max(1, _SLAB_BYTES // max(1, rows[:1].nbytes))
        for start in range(0, len(rows), slab):
            # a copy, because torch takes no read-only memory
            self._rows[start : start + slab] = torch.from_numpy(np.array(rows[start : start + slab]))
        # numpy.packbits puts the first pixel into the highest bit
        self._shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=device)

    def __call__(self, items: Tensor) -> Tensor:
        """Images at `items`, int64 (n,) in 0..N-1 on the device -> uint8 (n, C, H, W), 0..255."""
        rows = self._rows.index_select(0, items)
        if self._layout == "bits":
            pixels = (rows[:, :, None] >> self._shifts) & 1  # (n, H * W / 8, 8)
            return (pixels * 255).view(-1, *self.image_shape)
        return rows.permute(0, 3, 1, 2) if self._layout == "channels_last" else rows


_Copies = weakref.WeakValueDictionary[torch.device, ResidentImages]
_resident: weakref.WeakKeyDictionary[FactorDataset, _Copies] = weakref.WeakKeyDictionary()


def why_not_resident(data: FactorDataset, device: torch.device | None = None) -> str | None:
    """Why a data set cannot be put on a device; None where it can.

    With a CUDA device, whether it fits into half of the memory that is free there is asked too; what torch holds there
    and does not use counts as free, although the device calls it taken.
    """
    if not isinstance(data.store, HeldImages):
        return f"{type(data.store).__name__} makes or streams its images at every read"
    if device is not None and device.type == "cuda" and device not in _resident.get(data, {}):
        free, _ = torch.cuda.mem_get_info(device)
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        needed = data.store.stored().rows.nbytes
        if needed > _SHARE * free:
            return f"its {needed / 1e9:.1f} GB are more than half of the {free / 1e9:.1f} GB that are free on {device}"
    return None


def is_resident(data: FactorDataset, device: torch.device, place: str = "auto") -> bool:
    """Whether a data set is to be put on a device.

    Args:
        data: the data set.
        device: where its images are needed.
        place: ``"always"``, ``"never"`` (what is read is copied), or ``"auto"``: on a GPU, where it is held in a form
            that can be put there, and fits.

    Raises:
        ValueError: an unknown place, or ``"always"`` for data that is drawn, decoded or streamed at every read.
    """
    if place not in DATA_PLACES:
        raise ValueError(f"data_on_device needs one of {', '.join(DATA_PLACES)}, got {place!r}")
    if place == "always" and not isinstance(data.store, HeldImages):
        raise ValueError(f"data_on_device 'always' cannot be had for data set {data.name!r}: {why_not_resident(data)}")
    return place == "always" or (place == "auto" and device.type == "cuda" and why_not_resident(data, device) is None)


def image_reader(data: FactorDataset, device: torch.device, place: str = "auto") -> Callable[[IntArray], Tensor]:
    """How to read images onto a device, by the quickest way there is: items (n,) -> uint8 (n, C, H, W) there.

    Arguments and errors as `is_resident`.
    """
    images = proven_images(data, device, place)
    if images is not None:
        return lambda items: images(torch.from_numpy(items).to(device))
    return lambda items: torch.from_numpy(data.images(items)).to(device)


def proven_images(data: FactorDataset, device: torch.device, place: str = "auto") -> ResidentImages | None:
    """`data` on `device` where it is to be there and reads as it is; None where what is read is to be copied.

    64 images, from the first to the last, are read from every new copy and from its source.

    Args:
        data: the data set.
        device: where its images are needed.
        place: as in `is_resident`.

    Raises:
        ValueError: as `is_resident`.
        RuntimeError: ``"always"``, and it does not fit or reads otherwise.

    Warns:
        UserWarning: ``"auto"``, and it does not fit or reads otherwise.
    """
    if not is_resident(data, device, place):
        return None
    try:
        images = resident_images(data, device)
        if not images.proven:
            _prove(images, data, device)
    except RuntimeError as error:  # torch's, for want of memory among them
        if place == "always":
            raise
        reason = f"{error}".strip().splitlines()[0]
        warnings.warn(f"data set {data.name!r} is not put on {device}, batches are copied: {reason}", stacklevel=2)
        return None
    return images


def _prove(images: ResidentImages, data: FactorDataset, device: torch.device) -> None:
    items = np.unique(np.linspace(0, len(data) - 1, min(_PROVEN, len(data))).astype(np.int64))
    found = images(torch.from_numpy(items).to(device)).cpu().numpy()
    different = (found != data.images(items)).any((1, 2, 3))
    if different.any():
        raise RuntimeError(f"image {items[different][0]} of it reads otherwise there")
    images.proven = True


def resident_images(data: FactorDataset, device: torch.device) -> ResidentImages:
    """`data` on `device`; those who use it at the same time, such as models trained side by side, share one copy.

    Raises:
        TypeError: its images are drawn, decoded or streamed at every read, see `why_not_resident`.
    """
    if not isinstance(data.store, HeldImages):
        raise TypeError(f"resident_images needs images that are held somewhere: {why_not_resident(data)}")
    copies = _resident.setdefault(data, weakref.WeakValueDictionary())
    found = copies.get(device)
    if found is None:
        found = copies[device] = ResidentImages(data.store.stored(), data.image_shape, device)
    return found
