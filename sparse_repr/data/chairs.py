"""3D chairs: 1,393 chair models seen from 62 directions, from the user's own copy.

Aubry, Maturana, Efros, Russell and Sivic, "Seeing 3D chairs: exemplar part-based 2D-3D alignment using a large dataset
of CAD models" (CVPR 2014).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sparse_repr.data.base import FactorDataset
from sparse_repr.data.storage.decoding import Preparation
from sparse_repr.data.storage.locate import locate
from sparse_repr.data.storage.picture_cache import cached_pictures
from sparse_repr.data.storage.pictures import Pictures

__all__ = ["load_chairs"]

FACTOR_NAMES = ("model", "azimuth", "elevation")

# The usual crop of the 600x600 renderings is the centre 400x400; a share of the width, so that copies at another size
# give the same view.
CROP = 400 / 600
# <model>/renders/image_<number>_p<elevation>_t<azimuth>_r<distance>.png
_RENDERING = re.compile(r"(?:^|/)([^/]+)/renders/image_\d+_p(\d{1,9})_t(\d{1,9})_r\d+\.png$")
_ADVICE = (
    "Download rendered_chairs.tar (Aubry et al. 2014, https://www.di.ens.fr/willow/research/seeing3Dchairs/) and name "
    "the file, or the folder that holds it, as the data path (--data-path), or put it into the folder named by "
    "SPARSE_REPR_DATA. Without the files, the data set 'chairs3d' is the drawn stand-in that needs no download"
)


def load_chairs(
    path: Path | None = None,
    *,
    image_size: int = 64,
    grey: bool = True,
    progress: bool = True,
    in_memory: bool | None = None,
) -> FactorDataset:
    """3D chairs from the user's own copy: model, azimuth and elevation, centre-cropped, grey unless asked otherwise.

    The factors are read from the file names; `factor_values` are the model's number in order of its name, and azimuth
    and elevation in degrees. Items are sorted by factors, the last changing fastest. The last 10 % of the models by
    name are held out.

    Args:
        path: ``rendered_chairs.tar``, the folder unpacked from it, or a folder that holds either. Without it the folder
            named by ``SPARSE_REPR_DATA`` is searched.
        image_size: height and width of the images in pixels.
        grey: one channel; otherwise the three of the renderings.
        progress: show a progress bar on the first use, while pictures are decoded.
        in_memory: hold the images in memory (True) or read each batch from the cache (False); None chooses by size.

    Returns:
        Images uint8 (1 or 3, image_size, image_size).

    Raises:
        FileNotFoundError: no copy found; the message says what to download and what stands in.
        ValueError: a damaged archive, no rendering in it, or more than 1 % unreadable pictures; the message names the
            file.
        OSError: no room for the cached copy.
    """
    place = locate("chairs", path, ("rendered_chairs.tar", "rendered_chairs"), advice=_ADVICE, folder_itself=True)
    preparation = Preparation(1 if grey else 3, image_size, image_size, CROP)

    def choose(pictures: Pictures) -> tuple[Sequence[str], Preparation]:
        views = sorted((view, name) for name in pictures.names if (view := _view(name)) is not None)
        if not views:
            raise ValueError(
                f"{place}: expected pictures named <model>/renders/image_###_p0##_t###_r###.png, found none among "
                f"{len(pictures.names)} pictures. {_ADVICE}"
            )
        return [name for _, name in views], preparation

    images = cached_pictures(
        "chairs",
        place,
        {"image_size": image_size, "channels": preparation.channels},
        choose,
        progress=progress,
        in_memory=in_memory,
    )
    views = [view for name in images.names if (view := _view(name)) is not None]
    models, model = np.unique([view[0] for view in views], return_inverse=True)
    azimuths, azimuth = np.unique([view[1] for view in views], return_inverse=True)
    elevations, elevation = np.unique([view[2] for view in views], return_inverse=True)
    return FactorDataset(
        name="chairs",
        store=images.store,
        source=str(place),
        factor_names=FACTOR_NAMES,
        factor_sizes=(len(models), len(azimuths), len(elevations)),
        factors=np.stack([model, azimuth, elevation], axis=1).astype(np.int64),
        factor_values=np.stack([model, azimuths[azimuth], elevations[elevation]], axis=1).astype(np.float32),
        partition=_hold_out_models(model, len(models)),
        nominal_factors=("model",),
    )


def _view(name: str) -> tuple[str, int, int] | None:
    """(model, azimuth, elevation) of a rendering's path, the angles in degrees; None for other pictures."""
    match = _RENDERING.search(name)
    return None if match is None else (match[1], int(match[3]), int(match[2]))


def _hold_out_models(model: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int8]:
    # by model, not by view: another view of a chair that was trained on is not unseen
    return np.where(model >= count - count // 10, 2, 0).astype(np.int8)
