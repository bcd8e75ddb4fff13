"""From a uint8 observation to the network's input: the only place where pixels are cropped, resized and scaled."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sparse_repr.data.crop import Crop
from sparse_repr.files.json_reader import TEXT, Shape, many, number, optional, require, whole

RESIZES = {"bilinear-antialias": "bilinear", "bicubic-antialias": "bicubic"}
"""How images are resized -> the mode of torch's `interpolate`, with antialiasing."""
_DEFAULT_RESIZE = "bilinear-antialias"
_SIZE = many(whole(1), 2)
_HEADER: dict[str, Shape] = {
    "channels": whole(1),
    "source_size": _SIZE,
    "network_size": _SIZE,
    "crop_size": optional(_SIZE),
    "resize": TEXT,
    "value_range": many(whole(), 2),
}
# a header without it is that of an encoder that sees the whole picture, or its middle
_CROP: dict[str, Shape] = {"crop": many(whole(0), 4)}
# networks of others; a header without them is that of one of ours
_NORMALISATION: dict[str, Shape] = {"mean": many(number()), "std": many(number(0))}


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The contract between an encoder and its images; it travels inside the artefact.

    An image of `source_size` is cropped, to its middle of `crop_size` or to `crop`, and resized to `network_size` with
    antialiased weights; an image that already has `network_size` is only scaled to 0..1, but where there is a `crop`
    all images have `source_size`. Channels are never converted. Networks of others often want each channel normalised
    after that: (value - mean) / std.
    """

    channels: int
    """C, 1 or 3."""
    source_size: tuple[int, int]
    """(H, W) of the images the encoder was trained on."""
    network_size: tuple[int, int]
    """(H, W) of the network's input."""
    crop_size: tuple[int, int] | None = None
    """(H, W) of the centre crop taken from the source before resizing; None takes the whole picture."""
    resize: str = _DEFAULT_RESIZE
    """One of `RESIZES`. What bicubic weights bring above 1 or below 0 is cut off, as pictures of 8 bits do."""
    mean: tuple[float, ...] | None = None
    """What is taken from each channel of an image in 0..1; None takes nothing."""
    std: tuple[float, ...] | None = None
    """What each channel is divided by after that; None where `mean` is."""
    crop: Crop | None = None
    """(top, left, height, width) of what is taken from the source before resizing, in place of `crop_size`."""

    def __post_init__(self) -> None:
        for name in ("source_size", "network_size", "crop_size", "mean", "std"):  # lists, as JSON has them, do too
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.crop_size is not None:
            self._check_crop(self.crop_size)
        if self.crop is not None:
            object.__setattr__(self, "crop", Crop(*self.crop))
            if self.crop_size is not None:
                raise ValueError(f"Preprocessing needs crop or crop_size, got both: {self.crop} and {self.crop_size}")
            self.crop.require_within(self.source_size)
        if self.resize not in RESIZES:
            raise ValueError(f"Preprocessing: resize needs one of {', '.join(RESIZES)}, got {self.resize!r}")
        if (self.mean is None) != (self.std is None):
            raise ValueError("Preprocessing needs mean and std together, got one of them")
        if self.mean is None or self.std is None:
            return
        for name, values in {"mean": self.mean, "std": self.std}.items():
            if len(values) != self.channels or not all(map(math.isfinite, values)):
                raise ValueError(
                    f"Preprocessing: {name} needs a finite number for each of {self.channels} channels, got {values}"
                )
        if min(self.std) <= 0:
            raise ValueError(f"Preprocessing: std needs numbers above 0, got {self.std}")

    def _check_crop(self, crop: tuple[int, int]) -> None:
        height, width = self.source_size
        if not (1 <= crop[0] <= height and 1 <= crop[1] <= width):
            raise ValueError(f"Preprocessing needs a crop_size within {self.source_size}, got {crop}")
        if self.source_size == self.network_size and crop != self.source_size:
            raise ValueError(
                f"Preprocessing: an image of {height}x{width} could be one to crop or one for the network, which takes "
                f"that size too: crop images to {crop} yourself and give it as source_size, without crop_size"
            )

    @classmethod
    def from_header(cls, header: dict[str, Any]) -> Preprocessing:
        """Rebuild from `to_header`.

        Raises:
            ValueError: a contract that this version does not know, or none at all.
        """
        remedy = "a newer sparse-repr may read it"
        require(header, _HEADER, "the preprocessing", remedy=remedy)
        cropped = set(header) & set(_CROP)
        if cropped:
            require({"crop": header["crop"]}, _CROP, "the preprocessing")
        normalised = set(header) - set(_HEADER) - cropped
        if normalised:
            require(
                header, {name: _NORMALISATION[name] for name in normalised & set(_NORMALISATION)}, "the preprocessing"
            )
        known = normalised in (set(), set(_NORMALISATION))
        if not known or header["resize"] not in RESIZES or header["value_range"] != [0, 255]:
            raise ValueError(f"unknown preprocessing contract {header}; {remedy}")
        source, network, crop = header["source_size"], header["network_size"], header["crop_size"]
        if crop is not None and (crop[0] > source[0] or crop[1] > source[1]):
            raise ValueError(f"the preprocessing needs a crop within {source}, found {crop}")
        return cls(
            channels=header["channels"],
            source_size=(source[0], source[1]),
            network_size=(network[0], network[1]),
            crop_size=None if crop is None else (crop[0], crop[1]),
            resize=header["resize"],
            mean=tuple(header["mean"]) if normalised else None,
            std=tuple(header["std"]) if normalised else None,
            crop=Crop(*header["crop"]) if cropped else None,
        )

    def to_header(self) -> dict[str, Any]:
        """Plain JSON values that describe the contract."""
        normalisation = {} if not self.mean or not self.std else {"mean": list(self.mean), "std": list(self.std)}
        return {
            "channels": self.channels,
            "source_size": list(self.source_size),
            "network_size": list(self.network_size),
            "crop_size": None if self.crop_size is None else list(self.crop_size),
            "resize": self.resize,
            "value_range": [0, 255],
            **normalisation,
            **({} if self.crop is None else {"crop": list(self.crop)}),
        }

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """The (H, W) that are accepted."""
        only_source = self.crop is not None  # of the network's size, it could be cropped already or not
        return (self.source_size,) if only_source else tuple(dict.fromkeys((self.source_size, self.network_size)))

    @property
    def seen(self) -> Crop:
        """What of an image of `source_size` is seen."""
        if self.crop is not None:
            return self.crop
        (height, width), (rows, columns) = self.source_size, self.crop_size or self.source_size
        return Crop((height - rows) // 2, (width - columns) // 2, rows, columns)

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
        """uint8 (B, C, H, W) of an accepted size -> float32 (B, C, h, w) at the network's size.

        In 0..1, or normalised where the contract has a mean.
        """
        scaled = images.to(torch.float32).div_(255)
        if self.crop is not None or tuple(images.shape[-2:]) != self.network_size:
            scaled = self._resized(scaled)
        if self.mean is None:
            return scaled
        mean, std = scaled.new_tensor(self.mean), scaled.new_tensor(self.std)
        return (scaled - mean[:, None, None]) / std[:, None, None]

    def _resized(self, images: Tensor) -> Tensor:
        if self.crop is not None or self.crop_size is not None:
            top, left, height, width = self.seen
            images = images[..., top : top + height, left : left + width]
        mode = RESIZES[self.resize]
        resized = F.interpolate(images, size=self.network_size, mode=mode, antialias=True, align_corners=False)
        return resized.clamp_(0, 1) if mode == "bicubic" else resized
