"""chairs3d: a drawn stand-in for the 3D chairs renders, with every factor known.

One parametric chair under true perspective, shaded grey on white, in the spirit of Aubry et al., "Seeing 3D chairs"
(2014), whose 31 azimuths and elevations of 20 and 30 degrees it shares. The full grid has 35,712 images; its cached
copy takes 146 MB.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from sparse_repr.data.base import FactorDataset, ImageArray
from sparse_repr.data.drawing.chair_geometry import IMAGE_SIZE, LEG_STYLES, Camera, paint_chairs
from sparse_repr.data.drawing.chair_parts import Chairs
from sparse_repr.data.drawn import DrawnFactor, categorical, check_arguments, load_drawn_grid

__all__ = ["FACTORS", "FACTOR_NAMES", "FACTOR_SIZES", "load_chairs3d", "render_chairs"]

FACTORS = (
    DrawnFactor("azimuth", tuple(360 * index / 31 for index in range(31))),
    DrawnFactor("elevation", (20.0, 30.0, 40.0), 10.0, 45.0),
    DrawnFactor("back_height", (0.27, 0.36, 0.45, 0.54), 0.25, 0.6),
    DrawnFactor("seat_width", (0.38, 0.46, 0.54, 0.62), 0.35, 0.65),
    DrawnFactor("leg_length", (0.27, 0.34, 0.41, 0.48), 0.25, 0.5),
    categorical("leg_style", *LEG_STYLES),
    categorical("armrests", "without", "with"),
)
FACTOR_NAMES = tuple(factor.name for factor in FACTORS)
FACTOR_SIZES = tuple(len(factor.values) for factor in FACTORS)

# Part of the cache's file name: raise it whenever a drawn pixel changes.
_GEOMETRY_VERSION = 1
# Images drawn together: more would only spill out of the processor's caches.
_CHUNK = 256


def render_chairs(
    azimuth: npt.ArrayLike,
    elevation: npt.ArrayLike,
    back_height: npt.ArrayLike,
    seat_width: npt.ArrayLike,
    leg_length: npt.ArrayLike,
    leg_style: npt.ArrayLike,
    armrests: npt.ArrayLike,
) -> ImageArray:
    """Draw one chair per set of factor values; all but the leg style and the armrests may be continuous.

    Args:
        azimuth: (n,) or scalar in degrees, any finite value; 0 is seen from the front, positive moves the camera
            towards the sitter's left.
        elevation: (n,) or scalar in 10..45 degrees above the horizon.
        back_height: (n,) or scalar in 0.25..0.6 metres above the seat.
        seat_width: (n,) or scalar in 0.35..0.65 metres.
        leg_length: (n,) or scalar in 0.25..0.5 metres from the floor to the seat.
        leg_style: (n,) or scalar; 0 four legs, 1 pedestal, 2 sled.
        armrests: (n,) or scalar; 0 without, 1 with.

    Returns:
        uint8 (n, 1, 64, 64), grey on white (255); n is 1 when every argument is a scalar.

    Raises:
        ValueError: a value outside its range (the message names the argument), or lengths that do not broadcast.
    """
    columns = check_arguments(
        "render_chairs", FACTORS, (azimuth, elevation, back_height, seat_width, leg_length, leg_style, armrests)
    )
    columns[0] = columns[0] % 360  # in float64: whole turns then make no difference at all
    count = len(columns[0])
    images = np.empty((count, 1, IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        turn, lift, *shape = (column[part].astype(np.float32) for column in columns)
        canvas = paint_chairs(Chairs(*shape), Camera.around(turn, lift))
        canvas += np.float32(0.5)
        images[part] = canvas
    return images


def load_chairs3d(path: Path | None = None, *, progress: bool = True, cached: bool = True) -> FactorDataset:
    """The full grid of chairs: 35,712 grey images of 64x64.

    Args:
        path: must be None: the images are drawn.
        progress: show a progress bar on the first use, while the cache is drawn.
        cached: draw the grid once into the cache folder (146 MB, about 10 s) and map it into memory, which reads
            faster than a network trains. Without it nothing is written and each read draws its images.

    Raises:
        ValueError: a path was given.
        OSError: no room for the cached copy.
    """
    return load_drawn_grid(
        "chairs3d",
        FACTORS,
        render_chairs,
        (1, IMAGE_SIZE, IMAGE_SIZE),
        path=path,
        version=_GEOMETRY_VERSION,
        progress=progress,
        cached=cached,
    )
