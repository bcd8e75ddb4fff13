"""smallNORB: 48,600 grey photographs of toys, from the user's six binary files.

LeCun, Huang and Bottou, "Learning methods for generic object recognition with invariance to pose and lighting"
(CVPR 2004).
"""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from sparse_repr.data.base import FactorDataset, IntArray
from sparse_repr.data.storage.decoding import resize_images
from sparse_repr.data.storage.image_cache import CacheKey, ImageStream, Slab, cached_images
from sparse_repr.data.storage.locate import locate
from sparse_repr.data.storage.pictures import fingerprint
from sparse_repr.files.kinds import refuse_foreign

__all__ = ["load_smallnorb"]

FACTOR_NAMES = ("category", "instance", "elevation", "azimuth", "lighting")
FACTOR_SIZES = (5, 10, 9, 18, 6)
ITEMS_PER_PART = 24_300

PARTS = ("5x46789x9x18x6x2x96x96-training", "5x01235x9x18x6x2x96x96-testing")
_SIDE = 96
_SLAB_ROWS = 256
# A file's first four bytes name the type of its numbers; smallNORB has these two.
_BYTES_MAGIC, _INTEGERS_MAGIC = 0x1E3D4C55, 0x1E3D4C54
_ADVICE = (
    "Download the six smallnorb-*.mat.gz files (training and testing; dat, cat and info) from "
    "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/ and name their folder as the data path (--data-path), or put "
    "them into the folder named by SPARSE_REPR_DATA"
)


class _Part(NamedTuple):
    """The three files of the training or the testing half."""

    images: Path
    categories: Path
    information: Path


def load_smallnorb(
    path: Path | None = None, *, image_size: int = 64, progress: bool = True, items: int = ITEMS_PER_PART
) -> FactorDataset:
    """smallNORB: photographs of 50 toys under 9 elevations, 18 azimuths and 6 lightings, 48,600 grey images.

    Training and testing files are joined, as is usual for disentanglement, and sorted by factors, the last changing
    fastest; of each stereo pair the first picture is taken. `factor_values` are the numbers of category, instance and
    lighting, and elevation (30..70) and azimuth (0..340) in degrees.

    Args:
        path: the folder of the six files, `.mat` or `.mat.gz`. Without it the folder named by ``SPARSE_REPR_DATA`` is
            searched.
        image_size: height and width of the images in pixels; the files hold 96.
        progress: show a progress bar on the first use, while images are resized into the cache.
        items: number of pictures in each half; other than 24,300 only for smaller files of the same layout.

    Returns:
        Images uint8 (1, image_size, image_size).

    Raises:
        FileNotFoundError: one of the six files is missing; the message says what to download.
        ValueError: a file is damaged or of another shape or type; the message names it.
        OSError: no room for the cached copy.
    """
    parts = _find_parts(path)
    factors = np.concatenate([_read_factors(part, items) for part in parts])
    order = np.lexsort(factors.T[::-1])
    factors = factors[order]
    folder = parts[0].images.parent
    # all six files: the order of the cached images comes from the small ones
    key = CacheKey(
        "smallnorb", folder, "|".join(fingerprint(file) for part in parts for file in part), {"image_size": image_size}
    )

    def build() -> ImageStream:
        slabs = _slabs(parts, items, order, image_size, progress)
        return ImageStream(len(order), (1, image_size, image_size), slabs)

    images = cached_images(key, build)
    return FactorDataset(
        name="smallnorb",
        store=images.store,
        source=str(folder),
        factor_names=FACTOR_NAMES,
        factor_sizes=FACTOR_SIZES,
        factors=factors,
        factor_values=(factors * [1, 1, 5, 20, 1] + [0, 0, 30, 0, 0]).astype(np.float32),
        nominal_factors=("category", "instance", "lighting"),
    )


def _find_parts(path: Path | None) -> list[_Part]:
    def find(part: str, kind: str) -> Path:
        name = f"smallnorb-{part}-{kind}.mat"
        place = path.parent if path is not None and path.is_file() else path
        return locate("smallnorb", place, (name, f"{name}.gz"), advice=_ADVICE)

    return [_Part(find(part, "dat"), find(part, "cat"), find(part, "info")) for part in PARTS]


def _read_factors(part: _Part, items: int) -> IntArray:
    """(items, 5) factor indices in the order of the files."""
    with _open(part.categories, (items,), _INTEGERS_MAGIC) as file:
        category = _read_numbers(part.categories, file, items, np.dtype("<i4"))
    with _open(part.information, (items, 4), _INTEGERS_MAGIC) as file:
        information = _read_numbers(part.information, file, items * 4, np.dtype("<i4")).reshape(items, 4)
    instance, elevation, twice_azimuth, lighting = information.T
    factors = np.stack([category, instance, elevation, twice_azimuth // 2, lighting], axis=1).astype(np.int64)
    for column, (name, size) in enumerate(zip(FACTOR_NAMES, FACTOR_SIZES, strict=True)):
        found = factors[:, column]
        if found.min() < 0 or found.max() >= size:
            file_name = part.categories if column == 0 else part.information
            raise ValueError(f"{file_name}: {name} needs numbers 0..{size - 1}, found {found.min()}..{found.max()}")
    return factors


def _slabs(
    parts: Sequence[_Part], items: int, order: IntArray, image_size: int, progress: bool
) -> Generator[Slab, None, None]:
    # the files come compressed and in no useful order: hold all resized images (0.2 GB), then put them in order
    images = np.empty((len(order), 1, image_size, image_size), dtype=np.uint8)
    done = 0
    with tqdm(total=len(order), desc="resizing smallNORB", unit="img", disable=not progress) as bar:
        for part in parts:
            with _open(part.images, (items, 2, _SIDE, _SIDE), _BYTES_MAGIC) as file:
                for start in range(0, items, _SLAB_ROWS):
                    rows = min(_SLAB_ROWS, items - start)
                    pairs = _read_numbers(part.images, file, rows * 2 * _SIDE * _SIDE, np.dtype("u1"))
                    first = pairs.reshape(rows, 2, _SIDE, _SIDE)[:, 0]
                    images[done : done + rows] = resize_images(first, image_size)
                    done += rows
                    bar.update(rows)
    for start in range(0, len(order), _SLAB_ROWS):
        yield Slab(images[order[start : start + _SLAB_ROWS]])


@contextlib.contextmanager
def _open(path: Path, shape: tuple[int, ...], magic: int) -> Iterator[IO[bytes]]:
    """The file, positioned behind its header, which must state this shape and type of numbers."""
    refuse_foreign(path, "a file of smallNORB")
    with cast(IO[bytes], gzip.open(path) if path.suffix == ".gz" else path.open("rb")) as file:
        found_magic, axes = _read_numbers(path, file, 2, np.dtype("<u4")).tolist()
        if found_magic != magic or axes != len(shape):
            raise ValueError(
                f"{path}: needs the type {magic:#x} with {len(shape)} axes in its first 8 bytes, found "
                f"{found_magic:#x} with {axes}; is this the official file?"
            )
        # sizes of at least three axes are always written
        found = tuple(_read_numbers(path, file, max(3, axes), np.dtype("<i4"))[:axes].tolist())
        if found != shape:
            raise ValueError(f"{path}: needs shape {shape}, found {found}; is this the official file?")
        yield file


def _read_numbers(path: Path, file: IO[bytes], count: int, dtype: np.dtype) -> npt.NDArray:
    try:
        data = file.read(count * dtype.itemsize)
    except (OSError, EOFError, zlib.error) as error:  # what gzip raises on a damaged or cut-off file
        raise ValueError(f"{path}: damaged or cut off ({error}); download it again") from error
    if len(data) != count * dtype.itemsize:
        raise ValueError(f"{path}: cut off ({len(data)} of {count * dtype.itemsize} bytes there); download it again")
    return np.frombuffer(data, dtype=dtype)
