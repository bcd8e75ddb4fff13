"""Many images of a data set in one picture, to look at."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from sparse_repr.data.base import FactorDataset, ImageArray
from sparse_repr.data.crop import Crop
from sparse_repr.files import write_bytes

_GAP = 2
_GROUND = 128
# Large images get fewer columns and rows, so that a sheet still fits a screen.
_WIDEST, _HIGHEST = 1200, 800


def contact_sheet(
    dataset: FactorDataset, *, columns: int = 12, rows: int = 8, seed: int = 0, crop: Crop | None = None
) -> ImageArray:
    """A random draw of images, in the order of the data set, side by side: uint8 (H, W, 3).

    Args:
        dataset: what to draw from.
        columns: the most images in a row.
        rows: the most rows.
        seed: of the draw.
        crop: what of each image is shown; None shows all.

    Raises:
        ValueError: the crop is not within the images.
    """
    _, *size = dataset.image_shape
    top, left, height, width = shown = Crop(0, 0, *size) if crop is None else crop
    shown.require_within((size[0], size[1]))
    columns = max(1, min(columns, _WIDEST // (width + _GAP)))
    rows = max(1, min(rows, _HIGHEST // (height + _GAP)))
    count = min(columns * rows, len(dataset))
    rows = -(-count // columns)
    chosen = np.sort(np.random.default_rng(seed).choice(len(dataset), count, replace=False))
    # (n, 1 or 3, h, w) -> (n, h, w, 1 or 3), which fits three channels either way
    images = dataset.images(chosen)[..., top : top + height, left : left + width].transpose(0, 2, 3, 1)
    sheet = np.full((_GAP + rows * (height + _GAP), _GAP + columns * (width + _GAP), 3), _GROUND, dtype=np.uint8)
    for position, image in enumerate(images):
        row = _GAP + position // columns * (height + _GAP)
        column = _GAP + position % columns * (width + _GAP)
        sheet[row : row + height, column : column + width] = image
    return sheet


def write_contact_sheet(dataset: FactorDataset, path: Path, *, seed: int = 0, crop: Crop | None = None) -> None:
    """Write `contact_sheet` of a data set to a PNG file, atomically."""
    sheet = Image.fromarray(contact_sheet(dataset, seed=seed, crop=crop))
    content = io.BytesIO()
    sheet.save(content, format="PNG")
    write_bytes(path, content.getvalue())
