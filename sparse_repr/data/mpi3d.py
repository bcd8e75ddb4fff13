"""MPI3D: 1,036,800 pictures of objects on a robot arm, real, realistic or toy, from the user's npz file.

Gondal et al., "On the Transfer of Inductive Bias from Simulation to the Real World: a New Disentanglement Dataset"
(NeurIPS 2019).
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

from sparse_repr.data.base import FactorDataset, ImageStore, full_grid
from sparse_repr.data.file_images import stored_images
from sparse_repr.data.image_cache import CacheKey, ImageStream, Slab, cached_images
from sparse_repr.data.locate import locate
from sparse_repr.data.pictures import fingerprint

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
_ENTRY = "images.npy"
_SLAB_ROWS = 1024
_DAMAGED = (zipfile.BadZipFile, EOFError, OSError, KeyError, zlib.error, NotImplementedError)
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
    )


def _open(path: Path, items: int, progress: bool) -> ImageStore:
    try:
        with zipfile.ZipFile(path) as archive:
            with archive.open(_ENTRY) as entry:
                _read_header(path, entry, items)
                header_bytes = entry.tell()
            member = archive.getinfo(_ENTRY)
    except _DAMAGED as error:
        raise _unreadable(path, error) from error
    if member.compress_type == zipfile.ZIP_STORED:
        offset = _data_offset(path, member) + header_bytes
        return stored_images(path, offset, (items, _SIDE, _SIDE, 3), channels_last=True)
    key = CacheKey("mpi3d", path, fingerprint(path), {})
    return cached_images(key, lambda: ImageStream(items, (3, _SIDE, _SIDE), _slabs(path, items, progress))).store


def _read_header(path: Path, entry: IO[bytes], items: int) -> None:
    """Move past the .npy header of the pixels, after checking it; nothing is unpickled."""
    expected = ((items, _SIDE, _SIDE, 3), False, np.dtype(np.uint8))
    try:
        version = np.lib.format.read_magic(entry)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        found = read(entry)
    except ValueError as error:
        raise _unreadable(path, error) from error
    if found != expected:
        raise ValueError(
            f"{path}: images needs shape {expected[0]} and dtype uint8 in C order, found {found[0]} and {found[2]}"
            f"{' in Fortran order' if found[1] else ''}; is this an MPI3D file?"
        )


def _data_offset(path: Path, member: zipfile.ZipInfo) -> int:
    """Where an uncompressed member's bytes start: behind its local header, which ends in two fields of stated size."""
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        name_bytes, extra_bytes = np.frombuffer(file.read(4), dtype="<u2").tolist()
    return int(member.header_offset + 30 + name_bytes + extra_bytes)


def _slabs(path: Path, items: int, progress: bool) -> Generator[Slab, None, None]:
    with (
        zipfile.ZipFile(path) as archive,
        archive.open(_ENTRY) as entry,
        tqdm(total=items, desc=f"inflating {path.name}", unit="img", disable=not progress) as bar,
    ):
        _read_header(path, entry, items)
        for start in range(0, items, _SLAB_ROWS):
            count = min(_SLAB_ROWS, items - start)
            try:
                data = entry.read(count * _SIDE * _SIDE * 3)
            except _DAMAGED as error:
                raise _unreadable(path, error) from error
            if len(data) != count * _SIDE * _SIDE * 3:
                raise _unreadable(path, f"images ends after item {start}")
            yield Slab(np.frombuffer(data, dtype=np.uint8).reshape(count, _SIDE, _SIDE, 3).transpose(0, 3, 1, 2))
            bar.update(count)


def _unreadable(path: Path, error: object) -> ValueError:
    return ValueError(f"{path}: not a readable MPI3D file ({error}); download it again")
