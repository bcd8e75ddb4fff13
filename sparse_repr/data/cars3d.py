"""Cars3D: 183 car models seen from 24 x 4 directions, from the user's folder of MATLAB files.

Made from the CAD models of Fidler, Dickinson and Urtasun (NIPS 2012) for Reed, Zhang, Zhang and Lee, "Deep Visual
Analogy-Making" (NIPS 2015).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sparse_repr.data.base import FactorDataset, full_grid
from sparse_repr.data.storage.decoding import resize_images
from sparse_repr.data.storage.image_cache import CacheKey, ImageStream, Slab, cached_images
from sparse_repr.data.storage.locate import locate
from sparse_repr.data.storage.pictures import fingerprint
from sparse_repr.files.kinds import refuse_foreign

__all__ = ["load_cars3d"]

FACTOR_NAMES = ("model", "azimuth", "elevation")
MODELS, AZIMUTHS, ELEVATIONS = 183, 24, 4

_STORED_SHAPE = (128, 128, 3, AZIMUTHS, ELEVATIONS)
_ADVICE = (
    "Download nips2015-analogy-data.tar.gz (Reed et al. 2015), unpack it, and name its folder data/cars as the data "
    "path (--data-path), or put that folder, called cars, into the folder named by SPARSE_REPR_DATA"
)


def load_cars3d(
    path: Path | None = None, *, image_size: int = 64, progress: bool = True, models: int = MODELS
) -> FactorDataset:
    """Cars3D: 183 cars on white seen from 24 azimuths and 4 elevations, 17,568 colour images, the full grid.

    `factor_values` are the model's number in order of its file name, the azimuth in degrees (15 apart) and the number
    of the elevation, whose angles the data set does not state.

    Args:
        path: the folder of `.mat` files, or a folder that holds it as ``cars``. Without it the folder named by
            ``SPARSE_REPR_DATA`` is searched.
        image_size: height and width of the images in pixels; the files hold 128.
        progress: show a progress bar on the first use, while images are resized into the cache.
        models: number of files there must be; other than 183 only for smaller folders of the same layout.

    Returns:
        Images uint8 (3, image_size, image_size).

    Raises:
        FileNotFoundError: no copy found; the message says what to download.
        ValueError: a file is missing, damaged or of another shape or type; the message names it.
        OSError: no room for the cached copy.
    """
    folder = locate("cars3d", path, ("cars",), advice=_ADVICE, folder_itself=True)
    files = sorted(folder.glob("*.mat")) if folder.is_dir() else []
    if len(files) != models:
        raise ValueError(f"{folder}: expected a folder of {models} .mat files, one for each car, found {len(files)}")
    key = CacheKey("cars3d", folder, fingerprint(folder, {".mat"}), {"image_size": image_size})
    sizes = (models, AZIMUTHS, ELEVATIONS)
    factors = full_grid(sizes)
    images = cached_images(
        key, lambda: ImageStream(len(factors), (3, image_size, image_size), _slabs(files, image_size, progress))
    )
    return FactorDataset(
        name="cars3d",
        store=images.store,
        source=str(folder),
        factor_names=FACTOR_NAMES,
        factor_sizes=sizes,
        factors=factors,
        factor_values=(factors * np.array([1, 360 / AZIMUTHS, 1])).astype(np.float32),
        nominal_factors=("model",),
    )


def _slabs(files: Sequence[Path], image_size: int, progress: bool) -> Generator[Slab, None, None]:
    for file in tqdm(files, desc="resizing Cars3D", unit="car", disable=not progress):
        views = _read_views(file)  # (128, 128, 3, azimuth, elevation)
        yield Slab(resize_images(views.transpose(3, 4, 0, 1, 2).reshape(-1, 128, 128, 3), image_size))


def _read_views(path: Path) -> np.ndarray:
    refuse_foreign(path, "a MATLAB 5 file")
    import scipy.io  # here: it takes longer to import than all other data sets together

    # whosmat reads names, shapes and classes alone: cell arrays, objects and functions are refused before any is built
    expected = ("im", _STORED_SHAPE, "uint8")
    try:
        entries = scipy.io.whosmat(path)
        found = next((entry for entry in entries if entry[0] == "im"), None)
        if found == expected:
            views = scipy.io.loadmat(path, variable_names=["im"])["im"]
    except Exception as error:  # scipy raises nearly anything on a damaged file
        raise ValueError(f"{path}: not a readable MATLAB 5 file ({error}); unpack the archive again") from error
    if found != expected:
        raise ValueError(
            f"{path}: needs an entry im of shape {_STORED_SHAPE} and class uint8, found {found or entries}"
        )
    if not isinstance(views, np.ndarray) or views.dtype != np.uint8 or views.shape != _STORED_SHAPE:
        raise ValueError(f"{path}: im needs uint8 {_STORED_SHAPE}, found {type(views).__name__}")
    return views
