"""Data sets: every loader returns one `FactorDataset`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from sparse_repr.data.base import ArrayImages, FactorDataset, PackedBits
from sparse_repr.data.dsprites import load_dsprites
from sparse_repr.data.recorded import load_recorded
from sparse_repr.registry import lookup

__all__ = ["DATASETS", "ArrayImages", "FactorDataset", "PackedBits", "load_dataset"]

DATASETS: dict[str, Callable[[Path | None], FactorDataset]] = {
    "dsprites": load_dsprites,
    "h5": load_recorded,
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
