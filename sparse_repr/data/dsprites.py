"""dSprites: the official file where the user has one, else all 737,280 images drawn from formulas.

Matthey, Higgins, Hassabis and Lerchner, "dSprites: Disentanglement testing Sprites dataset" (2017). Either way the
images are held at one bit per pixel (0.38 GB) and cached in that form.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from sparse_repr.data.base import FactorDataset, PackedBits, full_grid
from sparse_repr.data.drawing.sprite_geometry import IMAGE_SIZE, render_sprites
from sparse_repr.data.storage.cache import cached_array
from sparse_repr.data.storage.hdf5_files import find_dataset, open_hdf5, read_dataset
from sparse_repr.data.storage.npz_files import NpzFile

__all__ = ["FACTOR_NAMES", "FACTOR_SIZES", "load_dsprites", "render_sprites"]

FACTOR_NAMES = ("shape", "scale", "orientation", "position_x", "position_y")
FACTOR_SIZES = (3, 6, 40, 32, 32)
OFFICIAL_STEM = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64"
ITEMS = 737_280

# Part of the cache's file name: raise it whenever a drawn pixel changes.
_GEOMETRY_VERSION = 1
_ROW_BYTES = IMAGE_SIZE * IMAGE_SIZE // 8
_SLAB = 4096

_Bits = npt.NDArray[np.uint8]


def factor_values_of(factors: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Values of factor indices in the units of `render_sprites`: (n, 5) int64 -> (n, 5) float32."""
    units = (
        np.arange(3),
        np.linspace(0.5, 1, 6),
        np.linspace(0, 2 * np.pi, 40),
        np.linspace(0, 1, 32),
        np.linspace(0, 1, 32),
    )
    values = np.empty(factors.shape, dtype=np.float32)
    for k, unit in enumerate(units):
        values[:, k] = unit[factors[:, k]]
    return values


def load_dsprites(path: Path | None = None, *, progress: bool = True) -> FactorDataset:
    """The full dSprites grid: 737,280 black-and-white 64x64 images of three shapes.

    Args:
        path: the official `.npz` or `.hdf5` file, or a folder that holds one. Without it the folder named by
            ``SPARSE_REPR_DATA`` is searched; where there is none either, the grid is drawn.
        progress: show a progress bar on the first use, while bits are packed.

    Raises:
        FileNotFoundError: `path` does not exist or holds no official file.
        ValueError: the file is not dSprites; the message names the file, what was expected and what was found.
        OSError: no room for the cached copy.
    """
    official = _find_official(path)
    if official is None:
        stem, build = f"dsprites-drawn-v{_GEOMETRY_VERSION}", lambda: [_draw_grid(progress)]
        source = "drawn"
    else:
        stat = official.stat()
        key = hashlib.sha256(f"{official.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()[:16]
        stem, build = f"dsprites-file-{key}", lambda: [read_official(official, progress=progress)]
        source = str(official)
    bits = cached_array(stem, (ITEMS, _ROW_BYTES), build, purpose="the dSprites cache")
    factors = full_grid(FACTOR_SIZES)
    return FactorDataset(
        name="dsprites",
        store=PackedBits(bits, IMAGE_SIZE, IMAGE_SIZE),
        source=source,
        factor_names=FACTOR_NAMES,
        factor_sizes=FACTOR_SIZES,
        factors=factors,
        factor_values=factor_values_of(factors),
        nominal_factors=("shape",),
    )


def _find_official(path: Path | None) -> Path | None:
    folders_tried = path if path is not None else os.environ.get("SPARSE_REPR_DATA")
    if not folders_tried:
        return None
    place = Path(folders_tried)
    if place.is_file():
        if place.suffix not in (".npz", ".hdf5", ".h5"):
            raise ValueError(f"dsprites needs the official .npz or .hdf5 file, got {place}")
        return place
    for folder in (place, place / "dsprites"):
        for suffix in (".npz", ".hdf5", ".h5"):
            candidate = folder / f"{OFFICIAL_STEM}{suffix}"
            if candidate.is_file():
                return candidate
    if path is None:
        return None
    raise FileNotFoundError(
        f"no dSprites file at {place}: expected {OFFICIAL_STEM}.npz or .hdf5 (from the repository "
        "deepmind/dsprites-dataset); without a path the same grid is drawn, no download needed"
    )


def _draw_grid(progress: bool) -> _Bits:
    """Draw every image: one task per (shape, scale, orientation), all 1,024 positions at once."""
    bits = np.empty((ITEMS, _ROW_BYTES), dtype=np.uint8)
    values = factor_values_of(full_grid(FACTOR_SIZES)[::1024])
    scales, angles = np.linspace(0.5, 1, 6), np.linspace(0, 2 * np.pi, 40)
    x, y = (axis.ravel() / 31 for axis in np.indices((32, 32)))

    def draw(task: int) -> None:
        shape = int(values[task, 0])
        images = render_sprites(shape, scales[task // 40 % 6], angles[task % 40], x, y)
        bits[task * 1024 : (task + 1) * 1024] = np.packbits(images.reshape(1024, -1), axis=1)

    # numpy releases the interpreter lock inside its loops; more threads than two only contend for it
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        tasks = pool.map(draw, range(len(values)))
        for _ in tqdm(tasks, total=len(values), desc="drawing dSprites", unit="kimg", disable=not progress):
            pass
    return bits


def read_official(path: Path, *, items: int = ITEMS, progress: bool = True) -> _Bits:
    """Pack the images of an official file to bits, slab by slab, without unpickling anything in it.

    Args:
        path: `.npz` or `.hdf5`.
        items: number of images the file must hold.
        progress: show a progress bar.

    Raises:
        ValueError: wrong entry, shape, dtype, pixel values or order; the message names the file.
    """
    bits = np.empty((items, _ROW_BYTES), dtype=np.uint8)
    done = 0
    with tqdm(total=items, desc=f"packing {path.name}", unit="img", disable=not progress) as bar:
        slabs = _npz_slabs(path, items) if path.suffix == ".npz" else _hdf5_slabs(path, items)
        for slab in slabs:
            if slab.max() > 1:
                raise ValueError(f"{path}: imgs needs pixels 0 or 1, found {slab.max()} near item {done}")
            bits[done : done + len(slab)] = np.packbits(slab.reshape(len(slab), -1), axis=1)
            done += len(slab)
            bar.update(len(slab))
    if done != items:
        raise ValueError(f"{path}: expected {items} images, the data ended after {done}")
    return bits


def _check_array(path: Path, entry: str, found: tuple[object, object], expected: tuple[object, object]) -> None:
    if found != expected:
        raise ValueError(
            f"{path}: {entry} needs shape {expected[0]} and dtype {expected[1]}, found {found[0]} and {found[1]}; "
            f"is this {OFFICIAL_STEM}{path.suffix}?"
        )


def _check_order(path: Path, classes: npt.NDArray[np.int64], items: int) -> None:
    expected = full_grid(FACTOR_SIZES)[:items]
    # column 0 is the colour, which has one value
    if not np.array_equal(classes[:, 1:], expected):
        raise ValueError(f"{path}: latents classes are not in grid order (last factor fastest); the file was changed")


def _npz_slabs(path: Path, items: int) -> Iterator[_Bits]:
    # The entry `metadata` is a pickle and is never opened; np.load would also inflate all 3 GB of imgs at once.
    file = NpzFile(path, _unreadable)
    for name, shape, dtype in (
        ("latents_classes", (items, 6), np.dtype(np.int64)),
        ("imgs", (items, IMAGE_SIZE, IMAGE_SIZE), np.dtype(np.uint8)),
    ):
        header = file.header(name)
        _check_array(path, name, (header.shape, header.dtype), (shape, dtype))
        if header.fortran_order:
            raise ValueError(f"{path}: {name} needs C order, found Fortran order")
    _check_order(path, file.read("latents_classes"), items)
    yield from file.slabs("imgs", rows=_SLAB)


def _hdf5_slabs(path: Path, items: int) -> Iterator[_Bits]:
    with open_hdf5(path, unreadable=_unreadable) as file:
        arrays = {}
        for name, shape, dtype in (
            ("latents/classes", (items, 6), np.dtype(np.int64)),
            ("imgs", (items, IMAGE_SIZE, IMAGE_SIZE), np.dtype(np.uint8)),
        ):
            array = find_dataset(path, file, name, unreadable=_unreadable)
            if array is None:
                raise _unreadable(path, f"no {name} in it")
            _check_array(path, name, (array.shape, array.dtype), (shape, dtype))
            arrays[name] = array
        _check_order(path, read_dataset(path, arrays["latents/classes"], unreadable=_unreadable), items)
        for start in range(0, items, _SLAB):
            yield read_dataset(path, arrays["imgs"], slice(start, start + _SLAB), unreadable=_unreadable)


def _unreadable(path: Path, error: object) -> ValueError:
    return ValueError(
        f"{path}: not a readable dSprites file ({error}); download {OFFICIAL_STEM}{path.suffix} again, or leave the "
        "path out to draw the same grid"
    )
