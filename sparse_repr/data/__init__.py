"""Data sets: every loader returns one `FactorDataset`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from sparse_repr.data.base import ArrayImages, FactorDataset, MappedImages, PackedBits
from sparse_repr.data.cars3d import load_cars3d
from sparse_repr.data.celeba import load_celeba
from sparse_repr.data.chairs import load_chairs
from sparse_repr.data.chairs3d import load_chairs3d
from sparse_repr.data.dsprites import load_dsprites
from sparse_repr.data.dsprites_variants import load_dsprites_color, load_dsprites_noise
from sparse_repr.data.episodes import load_minari, load_stable_worldmodel
from sparse_repr.data.faces import load_faces
from sparse_repr.data.folder import load_folder, require_labels_by_order
from sparse_repr.data.mpi3d import load_mpi3d
from sparse_repr.data.npz import load_npz
from sparse_repr.data.own_factors import label_by_order, parse_factor_sizes
from sparse_repr.data.recorded import load_recorded
from sparse_repr.data.shapes3d import load_shapes3d
from sparse_repr.data.smallnorb import load_smallnorb
from sparse_repr.data.storage.file_images import FileImages
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
    "minari": load_minari,
    "mpi3d": load_mpi3d,
    "npz": load_npz,
    "shapes3d": load_shapes3d,
    "smallnorb": load_smallnorb,
    "stable_worldmodel": load_stable_worldmodel,
}


def load_dataset(
    name: str,
    path: str | os.PathLike[str] | None = None,
    *,
    factor_sizes: str | Sequence[int] | None = None,
    progress: bool = True,
) -> FactorDataset:
    """Load a data set by its name in `DATASETS`.

    Args:
        name: for example ``"dsprites"``.
        path: the user's own copy, a file or a folder; each loader documents what it takes and what it does without.
        factor_sizes: for images without factors that are in the order of a full grid, the last factor changing
            fastest: the numbers of values, as they are or as a text such as ``"6,6,2,3,3,40,40"``.
        progress: show a bar where a first use takes long.

    Raises:
        ValueError: unknown name (close matches are suggested), a file that is not what the loader expects, or
            `factor_sizes` whose product is not the number of images, or for pictures that cannot all be
            read or are not in the order of the numbers in their names.
        FileNotFoundError: `path` does not exist.

    Example:
        >>> data = load_dataset("dsprites")  # drawn on the first use, then cached
        >>> len(data), data.image_shape, data.factor_names
        (737280, (1, 64, 64), ('shape', 'scale', 'orientation', 'position_x', 'position_y'))
        >>> data.images([0, 737_279]).shape, data.factors[-1].tolist()
        ((2, 1, 64, 64), [2, 5, 39, 31, 31])
    """
    loader: Callable[..., FactorDataset] = lookup(DATASETS, name, "data set", own=True)
    sizes = () if factor_sizes is None else parse_factor_sizes(factor_sizes)
    if not progress and "progress" in inspect.signature(loader).parameters:  # those of others need not have bars
        loader = partial(loader, progress=False)
    dataset = loader(None if path is None else Path(path).expanduser())
    if sizes and name == "folder" and path is not None:
        require_labels_by_order(Path(path).expanduser(), len(dataset))
    return label_by_order(dataset, sizes) if sizes else dataset
