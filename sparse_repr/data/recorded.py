"""Images recorded from any environment or put together by the user, in one documented HDF5 layout.

Entries: ``images`` uint8 (N, C, H, W); optional ``factors`` int64 (N, K), ``factor_values`` float32 (N, K) and the
attributes ``factor_names`` (K strings) and ``factor_sizes`` (K whole numbers). `rl.record` writes this layout.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from sparse_repr.data.base import ArrayImages, FactorDataset


def load_recorded(path: Path | None = None) -> FactorDataset:
    """Read an HDF5 file of images (and factors, when it has them) into memory.

    Raises:
        ValueError: no path, or the file does not follow the layout; the message names the entry.
        FileNotFoundError: no such file.
    """
    if path is None:
        raise ValueError("data set 'h5' needs a path (--data-path): the HDF5 file to read, for example from rl.record")
    if not path.is_file():
        raise FileNotFoundError(f"no HDF5 file at {path}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: not a readable HDF5 file ({error})") from error
    with file:
        if "images" not in file:
            raise ValueError(f"{path}: needs an entry 'images' of uint8 (N, C, H, W), found {sorted(file)}")
        images = file["images"]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(
                f"{path}: images needs uint8 (N, C, H, W) with C = 1 or 3, found {images.dtype} {images.shape}"
            )
        names = tuple(str(name) for name in file.attrs.get("factor_names", ()))
        sizes = tuple(int(size) for size in file.attrs.get("factor_sizes", ()))
        factors = np.asarray(file["factors"], dtype=np.int64) if "factors" in file else None
        values = np.asarray(file["factor_values"], dtype=np.float32) if "factor_values" in file else None
        if (factors is not None or values is not None) and not names:
            raise ValueError(f"{path}: an entry with factors needs the attribute 'factor_names' (K strings)")
        return FactorDataset(
            name="h5",
            store=ArrayImages(images[:]),
            source=str(path),
            factor_names=names,
            factor_sizes=sizes,
            factors=factors,
            factor_values=values,
        )
