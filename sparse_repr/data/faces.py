"""faces: a drawn stand-in for photographs of faces, in colour, with every factor known.

A cartoon head in front of a background. Everything on it is drawn from formulas on an ellipsoid, so turning it shifts
and shortens each feature as it should. The full grid has 31,104 images; its cached copy takes 382 MB.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sparse_repr.data.base import FactorDataset, ImageArray
from sparse_repr.data.drawing.face_features import paint_eyes, paint_glasses, paint_mouth, paint_nose, paint_skin
from sparse_repr.data.drawing.face_hair import (
    HAIR_STYLES,
    paint_curly_hair,
    paint_long_hair,
    paint_long_hair_behind,
    paint_short_hair,
)
from sparse_repr.data.drawing.face_head import (
    BACKGROUNDS,
    HAIR_COLOURS,
    IMAGE_SIZE,
    Faces,
    Head,
    paint_ears,
    paint_near_ear,
    paint_neck,
    scenery,
)
from sparse_repr.data.drawing.patches import Floats, Integers
from sparse_repr.data.drawn import DrawnFactor, categorical, check_arguments, load_drawn_grid

__all__ = ["FACTORS", "FACTOR_NAMES", "FACTOR_SIZES", "load_faces", "render_faces"]

FACTORS = (
    DrawnFactor("azimuth", (-40.0, -30.0, -20.0, -10.0, 0.0, 10.0, 20.0, 30.0, 40.0), -45.0, 45.0),
    DrawnFactor("smile", (-1.0, -1 / 3, 1 / 3, 1.0), -1.0, 1.0),
    categorical("hair_style", *HAIR_STYLES),
    categorical("hair_colour", *HAIR_COLOURS),
    DrawnFactor("skin_tone", (0.1, 0.5, 0.9), 0.0, 1.0),
    DrawnFactor("age_lines", (0.0, 0.5, 1.0), 0.0, 1.0),
    categorical("glasses", "without", "with"),
    categorical("background", *BACKGROUNDS),
)
FACTOR_NAMES = tuple(factor.name for factor in FACTORS)
FACTOR_SIZES = tuple(len(factor.values) for factor in FACTORS)

# Part of the cache's file name: raise it whenever a drawn pixel changes.
_GEOMETRY_VERSION = 1
# Images drawn together: fewer would spend their time in calls, more would spill out of the processor's caches.
_CHUNK = 64


def render_faces(
    azimuth: npt.ArrayLike,
    smile: npt.ArrayLike,
    hair_style: npt.ArrayLike,
    hair_colour: npt.ArrayLike,
    skin_tone: npt.ArrayLike,
    age_lines: npt.ArrayLike,
    glasses: npt.ArrayLike,
    background: npt.ArrayLike,
) -> ImageArray:
    """Draw one face per set of factor values; all but the whole-numbered ones may be continuous.

    Args:
        azimuth: (n,) or scalar in -45..45 degrees; 0 looks at the viewer, positive turns to the right of the picture.
        smile: (n,) or scalar in -1..1, from a frown to a laugh.
        hair_style: (n,) or scalar; 0 bald, 1 short, 2 long, 3 curly.
        hair_colour: (n,) or scalar; 0 black, 1 brown, 2 blond, 3 red. The brows have it too, also those of a bald head.
        skin_tone: (n,) or scalar in 0..1, from light to dark.
        age_lines: (n,) or scalar in 0..1, from none to deep wrinkles.
        glasses: (n,) or scalar; 0 without, 1 with.
        background: (n,) or scalar; 0 studio, 1 sunset, 2 garden.

    Returns:
        uint8 (n, 3, 64, 64), RGB; n is 1 when every argument is a scalar.

    Raises:
        ValueError: a value outside its range (the message names the argument), or lengths that do not broadcast.
    """
    columns = check_arguments(
        "render_faces",
        FACTORS,
        (azimuth, smile, hair_style, hair_colour, skin_tone, age_lines, glasses, background),
    )
    count = len(columns[0])
    images = np.empty((count, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        canvas = _paint(Faces(*(column[part].astype(np.float32) for column in columns)))
        canvas += np.float32(0.5)
        images[part] = np.clip(canvas, 0, 255, out=canvas)
    return images


def _paint(faces: Faces) -> Floats:
    """Paint each face, back to front: float32 (n, 3, 64, 64)."""
    canvas = scenery()[faces.background.astype(np.int64)]
    everyone = np.arange(len(canvas))
    head = Head(faces, everyone)
    bald, short, long, curly = (faces.hair_style == style for style in range(len(HAIR_STYLES)))

    def paint_where(wanted: npt.NDArray[np.bool_], *painters: Callable[[Floats, Integers, Head], None]) -> None:
        rows = np.flatnonzero(wanted)
        if len(rows):
            some = Head(faces, rows)
            for paint in painters:
                paint(canvas, rows, some)

    paint_where(long, paint_long_hair_behind)
    for paint in (paint_neck, paint_ears, paint_skin, paint_eyes, paint_nose, paint_mouth):
        paint(canvas, everyone, head)
    paint_where(short, paint_short_hair)
    paint_where(bald | short, paint_near_ear)  # other styles cover the ears
    paint_where(long, paint_long_hair)
    paint_where(curly, paint_curly_hair)
    paint_where(faces.glasses == 1, paint_glasses)
    return canvas


def load_faces(path: Path | None = None, *, progress: bool = True, cached: bool = True) -> FactorDataset:
    """The full grid of faces: 31,104 colour images of 64x64.

    Args:
        path: must be None: the images are drawn.
        progress: show a progress bar on the first use, while the cache is drawn.
        cached: draw the grid once into the cache folder (382 MB, about 10 s) and map it into memory, which reads
            faster than a network trains. Without it nothing is written and each read draws its images.

    Raises:
        ValueError: a path was given.
        OSError: no room for the cached copy.
    """
    return load_drawn_grid(
        "faces",
        FACTORS,
        render_faces,
        (3, IMAGE_SIZE, IMAGE_SIZE),
        path=path,
        version=_GEOMETRY_VERSION,
        progress=progress,
        cached=cached,
    )
