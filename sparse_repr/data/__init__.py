"""Data sets: every loader returns one `FactorDataset`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from sparse_repr.data.base import ArrayImages, FactorDataset, MappedImages, PackedBits
from sparse_repr.data.cars3d import load_cars3d
from sparse_repr.data.celeba import load_celeba
from sparse_repr.data.chairs import load_chairs
from sparse_repr.data.chairs3d import load_chairs3d
from sparse_repr.data.dsprites import load_dsprites
from sparse_repr.data.dsprites_variants import load_dsprites_color, load_dsprites_noise
from sparse_repr.data.faces import load_faces
from sparse_repr.data.file_images import FileImages
from sparse_repr.data.folder import load_folder
from sparse_repr.data.mpi3d import load_mpi3d
from sparse_repr.data.recorded import load_recorded
from sparse_repr.data.shapes3d import load_shapes3d
from sparse_repr.data.smallnorb import load_smallnorb
from sparse_repr.registry import lookup

__all__ = ["DATASETS", "ArrayImages", "FactorDataset", "FileImages", "MappedImages", "PackedBits", "load_dataset"]

DATASETS: dict[str, Callable[[Path | None], FactorDataset]] = {
    "cars3d": load_cars3d,
    "celeba": load_celeba,
    "chairs": load_chairs,
    "chairs3d": load_chairs3d,
    "dsprites": load_dsprites,
    "dsprites_color": load_dsprites_color,
    "dsprites_noise": load_dsprites_noise,
    "faces": load_faces,
    "folder": load_folder,
    "h5": load_recorded,
    "mpi3d": load_mpi3d,
    "shapes3d": load_shapes3d,
    "smallnorb": load_smallnorb,
}


def load_dataset(name: str, path: str | os.PathLike[str] | None = None) -> FactorDataset:
    """Load a data set by its name in `DATASETS`.

    Args:
        name: for example ``"dsprites"``.
        path: the user's own copy, a file or a folder; each loader documents what it takes and what it does without.

    Raises:
        ValueError: unknown name (close matches are suggested), or a file that is not what the loader expects.
        FileNotFoundError: `path` does not exist.
    """
    loader = lookup(DATASETS, name, "data set")
    return loader(None if path is None else Path(path))
