"""MPI3D: 1,036,800 pictures of objects on a robot arm, real, realistic or toy, from the user's npz file.

Gondal et al., "On the Transfer of Inductive Bias from Simulation to the Real World: a New Disentanglement Dataset"
(NeurIPS 2019).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sparse_repr.data.base import FactorDataset, ImageStore, full_grid
from sparse_repr.data.storage.locate import locate
from sparse_repr.data.storage.npz_files import NpzFile
from sparse_repr.data.storage.npz_images import npz_images

__all__ = ["load_mpi3d"]

FACTOR_NAMES = (
    "object_color",
    "object_shape",
    "object_size",
    "camera_height",
    "background_color",
    "horizontal_axis",
    "vertical_axis",
)
FACTOR_SIZES = (6, 6, 2, 3, 3, 40, 40)

_SIDE = 64
_ADVICE = (
    "Download mpi3d_real.npz, mpi3d_realistic.npz or mpi3d_toy.npz (see "
    "https://github.com/rr-learning/disentanglement_dataset) and name the file, or the folder that holds it, as the "
    "data path (--data-path), or put it into the folder named by SPARSE_REPR_DATA"
)


def load_mpi3d(
    path: Path | None = None, *, progress: bool = True, sizes: tuple[int, ...] = FACTOR_SIZES
) -> FactorDataset:
    """MPI3D: objects on a robot arm, 1,036,800 colour images, the full grid of seven factors.

    An npz file that holds the pixels uncompressed is read where it is; otherwise they are inflated once into the cache
    (12.7 GB), slab by slab, and read from there.

    Args:
        path: the npz file or a folder that holds one (real before realistic before toy). Without it the folder named by
            ``SPARSE_REPR_DATA`` is searched.
        progress: show a progress bar on the first use.
        sizes: numbers of values of the seven factors that the file must hold; other than the official ones only for
            smaller files of the same layout.

    Returns:
        Images uint8 (3, 64, 64); `factor_values` equal `factors`, for the data set states no units.

    Raises:
        FileNotFoundError: no copy found; the message says what to download.
        ValueError: the file is not MPI3D; the message names the file, what was expected and what was found.
        OSError: no room for the cached copy.
    """
    names = ("mpi3d_real.npz", "mpi3d_realistic.npz", "mpi3d_toy.npz")
    file = locate("mpi3d", path, names, advice=_ADVICE)
    factors = full_grid(sizes)
    return FactorDataset(
        name="mpi3d",
        store=_open(file, len(factors), progress),
        source=str(file),
        factor_names=FACTOR_NAMES,
        factor_sizes=sizes,
        factors=factors,
        factor_values=factors.astype(np.float32),
        nominal_factors=("object_color", "object_shape", "background_color"),
    )


def _open(path: Path, items: int, progress: bool) -> ImageStore:
    shape = (items, _SIDE, _SIDE, 3)
    file = NpzFile(path, _unreadable)
    header = file.header("images")
    if header != (shape, False, np.dtype(np.uint8)):
        raise ValueError(
            f"{path}: images needs shape {shape} and dtype uint8 in C order, found {header.shape} and {header.dtype}"
            f"{' in Fortran order' if header.fortran_order else ''}; is this an MPI3D file?"
        )
    return npz_images(file, "images", shape, dataset="mpi3d", channels_last=True, progress=progress)


def _unreadable(path: Path, error: object) -> ValueError:
    return ValueError(f"{path}: not a readable MPI3D file ({error}); download it again")
