"""The parts of a film's frames, and GIFs that stay small without losing the colour of a small thing."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from sparse_repr.files import atomic_path

SIDE = 128
"""Height of the panels in pixels."""
MARGIN = 4
"""Between panels."""
LINE = 15
"""Height of a line of text."""
BACKGROUND, INK, ACCENT = (250, 250, 250), (60, 60, 60), (31, 119, 180)
# Shades look smooth; 24 colours save a fifth of the bytes, and panels half as high again cost more than half of them.
_COLORS = 64
_NAMES, _ROW = 88, 14


def image_panel(pixels: npt.NDArray[np.uint8], side: int = SIDE) -> Image.Image:
    """uint8 (H, W, C), scaled to the height `side` with square pixels."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("RGB")
    return image.resize((max(1, round(side * image.width / image.height)), side), Image.Resampling.NEAREST)


def value_panel(values: npt.NDArray[np.float32], limits: npt.NDArray[np.float32]) -> Image.Image:
    """Values (B,) as columns where there is room for them, else as cells."""
    return column_panel(values, limits) if len(values) <= SIDE // 2 else cell_panel(values, limits)


def cell_panel(values: npt.NDArray[np.float32], limits: npt.NDArray[np.float32]) -> Image.Image:
    """Values (B,) as square cells row by row, the larger the darker, whatever their sign; as many down as across."""
    across = math.ceil(math.sqrt(len(values)))
    strength = np.zeros(across**2, np.float32)
    strength[: len(values)] = np.clip(np.abs(values / limits), 0, 1)
    paper, ink = (np.array(colour, np.float32) for colour in (BACKGROUND, ACCENT))
    cells = paper + strength.reshape(across, across, 1) * (ink - paper)
    return Image.fromarray(cells.round().astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def column_panel(values: npt.NDArray[np.float32], limits: npt.NDArray[np.float32]) -> Image.Image:
    """Values (B,) as bars up and down from zero, those at their limit reaching the edge."""
    image = Image.new("RGB", (SIDE, SIDE), BACKGROUND)
    draw = ImageDraw.Draw(image)
    middle, width = SIDE // 2, SIDE / len(values)
    for unit, value in enumerate(np.clip(values / limits, -1, 1)):
        top, bottom = sorted((middle, middle - value * (middle - 2)))
        draw.rectangle((unit * width + 1, top, (unit + 1) * width - 1, bottom), fill=ACCENT)
    draw.line((0, middle, SIDE, middle), fill=INK)
    return image


def named_panel(values: npt.NDArray[np.float32], limits: npt.NDArray[np.float32], names: Sequence[str]) -> Image.Image:
    """Values (B,) as rows with their names, each bar from zero to the right; values at their limit fill the row."""
    height = max(SIDE, _ROW * len(values))
    image = Image.new("RGB", (_NAMES + SIDE, height), BACKGROUND)
    draw, font, row_height = ImageDraw.Draw(image), text_font(), height / len(values)
    for row, (name, value) in enumerate(zip(names, np.clip(values / limits, 0, 1), strict=True)):
        middle = (row + 0.5) * row_height
        draw.text((_NAMES - 4, middle), name, fill=INK, font=font, anchor="rm")
        if value > 0:
            reach = _ROW / 2 - 1
            draw.rectangle((_NAMES, middle - reach, _NAMES + value * (SIDE - 2), middle + reach), fill=ACCENT)
    draw.line((_NAMES, 0, _NAMES, height), fill=INK)
    return image


@functools.cache
def text_font() -> ImageFont.FreeTypeFont:
    """The font of matplotlib's figures: Pillow's own has no Greek letters, and "β-VAE" needs one."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", 10)


def with_titles(
    panels: Sequence[Image.Image], titles: Sequence[str], left: str, right: str, *, longest: str | None = None
) -> Image.Image:
    """Panels in a row with their titles, above them a line of text that starts at the left and ends at the right.

    `longest` is the longest that stands at the right in any frame of the film: all frames have room for it, and so one
    size.
    """
    width = sum(panel.width for panel in panels) + MARGIN * (len(panels) - 1)
    height = max(panel.height for panel in panels)
    font = text_font()
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    lengths = [round(measure.textlength(text, font)) for text in (left, right if longest is None else longest)]
    # a film that shows the frame alone is narrow: the two texts get a line each where one does not hold them
    lines = 1 if sum(lengths) + 12 <= width else 2
    width = max(width, lengths[0] + 4, 0 if lines == 1 else lengths[1] + 4)
    top = (lines + 1) * LINE
    image = Image.new("RGB", (width, top + height), BACKGROUND)
    draw = ImageDraw.Draw(image)
    draw.text((2, LINE / 2), left, fill=INK, font=font, anchor="lm")
    if lines == 1:
        draw.text((width - 2, LINE / 2), right, fill=INK, font=font, anchor="rm")
    else:
        draw.text((2, LINE * 1.5), right, fill=INK, font=font, anchor="lm")
    across = 0
    for panel, title in zip(panels, titles, strict=True):
        draw.text((across + panel.width / 2, top - LINE / 2), title, fill=INK, font=font, anchor="mm")
        image.paste(panel, (across, top))
        across += panel.width + MARGIN
    return image


def write_gif(frames: Sequence[Image.Image], path: Path, fps: int) -> Path:
    """Write RGB frames of one size as an endless GIF with one palette and no dithering, which would double its size."""
    colors = palette_of(frames)
    holder = Image.new("P", (1, 1))
    holder.putpalette(colors.tobytes())
    indexed = [frame.quantize(palette=holder, dither=Image.Dither.NONE) for frame in frames]
    with atomic_path(path) as temporary:
        indexed[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=indexed[1:],
            duration=1000 // fps,
            loop=0,
            optimize=True,
            disposal=1,
        )
    return path


def palette_of(frames: Sequence[Image.Image], count: int = _COLORS) -> npt.NDArray[np.uint8]:
    """Colours that are as far from one another as can be, uint8 (at most `count`, 3), out of those that occur.

    Each next one is the colour that is furthest from all before it (Gonzalez 1985), so that the few pixels of a sprite
    keep theirs: chosen by how often they occur, most colours would be shades of the reconstructions.
    """
    pixels = np.concatenate([_packed(frame) for frame in frames])
    packed, times = np.unique(pixels, return_counts=True)
    known = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1).astype(np.int64)
    chosen = [int(times.argmax())]
    distance = ((known - known[chosen[0]]) ** 2).sum(1)
    while len(chosen) < count and distance.max() > 0:
        chosen.append(int(distance.argmax()))
        np.minimum(distance, ((known - known[chosen[-1]]) ** 2).sum(1), out=distance)
    return known[chosen].astype(np.uint8)


def _packed(frame: Image.Image) -> npt.NDArray[np.uint32]:
    """The colours of a frame, uint32 (n,) of 0xRRGGBB, each once."""
    pixels = np.asarray(frame).reshape(-1, 3).astype(np.uint32)
    return np.unique(pixels[:, 0] << 16 | pixels[:, 1] << 8 | pixels[:, 2])
