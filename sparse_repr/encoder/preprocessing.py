"""From a uint8 observation to the network's input: the only place where pixels are cropped, resized and scaled."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sparse_repr.files.json_reader import TEXT, Shape, many, optional, require, whole

_SIZE = many(whole(1), 2)
_HEADER: dict[str, Shape] = {
    "channels": whole(1),
    "source_size": _SIZE,
    "network_size": _SIZE,
    "crop_size": optional(_SIZE),
    "resize": TEXT,
    "value_range": many(whole(), 2),
}


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The contract between an encoder and its images; it travels inside the artefact.

    An image of `source_size` is centre-cropped to `crop_size` and resized to `network_size` with antialiased bilinear
    weights; an image that already has `network_size` is only scaled to 0..1. Channels are never converted.
    """

    channels: int
    """C, 1 or 3."""
    source_size: tuple[int, int]
    """(H, W) of the images the encoder was trained on."""
    network_size: tuple[int, int]
    """(H, W) of the network's input."""
    crop_size: tuple[int, int] | None = None
    """(H, W) of the centre crop taken from the source before resizing; None takes the whole picture."""

    @classmethod
    def from_header(cls, header: dict[str, Any]) -> Preprocessing:
        """Rebuild from `to_header`.

        Raises:
            ValueError: a contract that this version does not know, or none at all.
        """
        remedy = "a newer sparse-repr may read it"
        require(header, _HEADER, "the preprocessing", remedy=remedy)
        known = set(header) == set(_HEADER)
        if not known or header["resize"] != "bilinear-antialias" or header["value_range"] != [0, 255]:
            raise ValueError(f"unknown preprocessing contract {header}; {remedy}")
        source, network, crop = header["source_size"], header["network_size"], header["crop_size"]
        if crop is not None and (crop[0] > source[0] or crop[1] > source[1]):
            raise ValueError(f"the preprocessing needs a crop within {source}, found {crop}")
        return cls(
            channels=header["channels"],
            source_size=(source[0], source[1]),
            network_size=(network[0], network[1]),
            crop_size=None if crop is None else (crop[0], crop[1]),
        )

    def to_header(self) -> dict[str, Any]:
        """Plain JSON values that describe the contract."""
        return {
            "channels": self.channels,
            "source_size": list(self.source_size),
            "network_size": list(self.network_size),
            "crop_size": None if self.crop_size is None else list(self.crop_size),
            "resize": "bilinear-antialias",
            "value_range": [0, 255],
        }

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """The (H, W) that are accepted."""
        return tuple(dict.fromkeys((self.source_size, self.network_size)))

    def describe(self) -> str:
        """What is accepted, in words for an error message."""
        sizes = " or ".join(f"{height}x{width}" for height, width in self.sizes)
        return f"uint8 images with {self.channels} channel{'s' if self.channels > 1 else ''} of {sizes}"

    def find_layout(self, shape: tuple[int, ...]) -> str | None:
        """``"CHW"`` or ``"HWC"`` for the shape of one image; None where neither fits."""
        if len(shape) == 3:
            if shape[0] == self.channels and shape[1:] in self.sizes:
                return "CHW"
            if shape[2] == self.channels and shape[:2] in self.sizes:
                return "HWC"
        return None

    def layout_of(self, shape: tuple[int, ...]) -> str:
        """``"CHW"`` or ``"HWC"`` for the shape of one image in an array.

        Raises:
            ValueError: neither layout fits; the message says what was expected and what to do.
        """
        found = self.find_layout(shape)
        if found is None:
            raise ValueError(f"{self.mismatch(shape)}.{self._remedy(shape)}")
        return found

    def mismatch(self, shape: tuple[int, ...]) -> str:
        """What was expected and what was found, where the images are not what the encoder takes."""
        return f"the encoder needs {self.describe()}, got images of shape {tuple(shape)}"

    def _remedy(self, shape: tuple[int, ...]) -> str:
        if len(shape) != 3:
            return " Give every image by itself, as (N, C, H, W) or (N, H, W, C)."
        planes = {shape[0], shape[2]}
        if self.channels == 1 and 3 in planes:
            return " Convert to grey first, as the training images were."
        if self.channels == 3 and 1 in planes:
            return " The encoder was trained on colour images; pretrain one on grey images instead."
        if self.channels in planes:
            height, width = self.source_size
            return f" Resize to {height}x{width} first, or pretrain on images of your size."
        return " Of stacked frames give every frame by itself."

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) of an accepted size -> float32 (B, C, h, w) in 0..1 at the network's size."""
        scaled = images.to(torch.float32).div_(255)
        if tuple(images.shape[-2:]) == self.network_size:
            return scaled
        if self.crop_size is not None:
            top = (self.source_size[0] - self.crop_size[0]) // 2
            left = (self.source_size[1] - self.crop_size[1]) // 2
            scaled = scaled[..., top : top + self.crop_size[0], left : left + self.crop_size[1]]
        return F.interpolate(scaled, size=self.network_size, mode="bilinear", antialias=True, align_corners=False)
