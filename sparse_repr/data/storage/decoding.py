"""From a compressed picture to an image: orientation, centre crop, colour, size, in this one place."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from sparse_repr.data.base import ImageArray
from sparse_repr.files.kinds import found_instead

# Pillow judges a picture by its content, not its name, and knows formats that start other programs (EPS: Ghostscript).
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
# Levels of 32 bits have no agreed white; of these two formats Pillow's 32-bit mode holds 16 bits.
_SIXTEEN_BIT_FORMATS = ("PNG", "PPM")
_GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16L", "I;16B"})
_ORIENTATION_TAG = 0x0112


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What becomes of every picture of a data set."""

    channels: int
    """1 grey, 3 red-green-blue."""
    height: int
    width: int
    crop: float | None = 1.0
    """Side of the centre square that is cut out, as a share of the picture's shorter side; None keeps the picture as it
    is, which must then have the stated size."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(
                f"an image needs a height and width of at least 1 pixel, got {self.height} and {self.width}"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the result."""
        return self.channels, self.height, self.width


def decode_picture(data: bytes, preparation: Preparation) -> ImageArray:
    """Decode one compressed picture to uint8 (C, H, W).

    Shrinking averages over the pixels it merges (antialiased, triangle filter). Transparent parts become white.

    Raises:
        ValueError: not a JPEG, PNG, BMP, WebP, GIF, TIFF or PPM picture, or one of 32-bit or real levels.
        Exception: Pillow has many ways to say that a picture is damaged.
    """
    with _open(data) as opened:
        picture: Image.Image = opened
        if preparation.crop is not None and opened.format == "JPEG":
            # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size at once; what is left keeps at least twice the
            # pixels needed, so the antialiased resize still makes the result.
            spare = preparation.crop * min(opened.size) / (2 * max(preparation.height, preparation.width))
            if spare >= 2:
                opened.draft(None, (int(opened.width / spare), int(opened.height / spare)))
        if "exif" in opened.info:
            picture = ImageOps.exif_transpose(opened)
        if picture.mode == "F" or (picture.mode == "I" and opened.format not in _SIXTEEN_BIT_FORMATS):
            kind = "real numbers" if picture.mode == "F" else "32-bit numbers"
            raise ValueError(f"its levels are {kind}, of which nothing says how bright they are; save it with 8 bits")
        picture = _flatten(picture, "L" if preparation.channels == 1 else "RGB")
        picture.load()
    if preparation.crop is not None:
        side = max(1, round(preparation.crop * min(picture.size)))
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        # cut first: a resize with a box still mixes in pixels from just outside it
        picture = picture.crop((left, top, left + side, top + side))
        picture = picture.resize((preparation.width, preparation.height), Image.Resampling.BILINEAR)
    elif picture.size != (preparation.width, preparation.height):
        raise ValueError(f"expected {preparation.width}x{preparation.height} pixels, found {picture.size}")
    pixels = np.asarray(picture)
    return pixels[None] if preparation.channels == 1 else pixels.transpose(2, 0, 1)


def picture_kind(data: bytes) -> tuple[int, int, bool]:
    """(height, width, whether it is grey) of a compressed picture, from its header; raises as `decode_picture`."""
    with _open(data) as picture:
        width, height = picture.size
        if "exif" in picture.info and picture.getexif().get(_ORIENTATION_TAG, 1) >= 5:  # lying on its side
            width, height = height, width
        return height, width, picture.mode in _GREY_MODES or _has_grey_palette(picture)


def _has_grey_palette(picture: Image.Image) -> bool:
    """Whether it numbers colours, as every GIF does, that are all grey."""
    palette = picture.getpalette("RGB") if picture.mode in ("P", "PA") else None
    colours = np.array(palette or [], np.uint8).reshape(-1, 3)
    return len(colours) > 0 and bool((colours == colours[:, :1]).all())


def resize_images(images: npt.NDArray[np.uint8], size: int) -> ImageArray:
    """Resize grey (n, H, W) or colour (n, H, W, 3) images to uint8 (n, C, size, size), antialiased."""
    resized = [
        np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
        for image in np.ascontiguousarray(images)
    ]
    batch = np.stack(resized)
    return batch[:, None] if batch.ndim == 3 else np.ascontiguousarray(batch.transpose(0, 3, 1, 2))


def _open(data: bytes) -> Image.Image:
    found = found_instead(data)
    if found is not None:
        raise ValueError(f"expected a picture, found {found}")
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise ValueError(f"expected one of {', '.join(_FORMATS)}, found bytes that start with {data[:16]!r}") from error


def _flatten(picture: Image.Image, mode: str) -> Image.Image:
    """The picture in mode "L" or "RGB": 16-bit greys scaled down, transparency laid over white."""
    if picture.mode.startswith("I"):
        # Pillow's own conversion clips at 255 instead of scaling
        levels = np.asarray(picture).astype(np.int64)
        picture = Image.fromarray((levels.clip(0, 65535) // 257).astype(np.uint8))
    elif picture.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, picture)
    return picture if picture.mode == mode else picture.convert(mode)
