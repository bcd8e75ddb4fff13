"""Any folder of pictures."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from sparse_repr.data.base import FactorDataset
from sparse_repr.data.pixel_range import warn_of_dark_images
from sparse_repr.data.storage.decoding import Preparation, picture_kind
from sparse_repr.data.storage.picture_cache import cached_pictures
from sparse_repr.data.storage.pictures import PICTURE_SUFFIXES, Pictures, open_pictures

__all__ = ["load_folder", "require_labels_by_order"]

_DEFAULT_SIZE = 64
# A pool keeps some memory for each task that waits: a million at once would take a gigabyte.
_NAMES_AT_ONCE = 1024


def load_folder(
    path: Path | None = None,
    *,
    image_size: int | None = None,
    progress: bool = True,
    in_memory: bool | None = None,
) -> FactorDataset:
    """Your own pictures: every JPEG, PNG, BMP, WebP … below a folder (or in a zip or tar), without known factors.

    Pictures are sorted by path. They stay grey (one channel) when all of them are; otherwise all become
    red-green-blue. The last 10 % are held out.

    Args:
        path: the folder, or a `.zip` or `.tar` of it.
        image_size: height and width in pixels that every picture's centre square is resized to. None keeps the pictures
            as they are when all have one size, and resizes to 64 otherwise.
        progress: show a progress bar on the first use, while pictures are decoded.
        in_memory: hold the images in memory (True) or read each batch from the cache (False); None chooses by size.

    Raises:
        ValueError: no path, no picture, or more than 1 % of the pictures cannot be read.
        FileNotFoundError: no such folder.
        OSError: no room for the cached copy.
    """
    if path is None:
        raise ValueError("data set 'folder' needs a path (--data-path): the folder of pictures to read")
    if not path.exists():
        raise FileNotFoundError(f"folder: no such folder: {path}")

    def choose(pictures: Pictures) -> tuple[Sequence[str], Preparation]:
        if not pictures.names:
            raise ValueError(
                f"{path}: expected pictures ({', '.join(sorted(PICTURE_SUFFIXES))}), found none in it or below"
            )
        return pictures.names, _preparation(path, pictures, image_size, progress)

    images = cached_pictures("folder", path, {"image_size": image_size}, choose, progress=progress, in_memory=in_memory)
    return warn_of_dark_images(FactorDataset(name="folder", store=images.store, source=str(path)))


def require_labels_by_order(path: Path, images: int) -> None:
    """Check that pictures sorted by path can be labelled by their order.

    Args:
        path: the folder or archive.
        images: how many of its pictures were read.

    Raises:
        ValueError: one could not be read, so that those behind it would get the labels of others; or the order is not
            that of the numbers in their names, ``10.png`` comes before ``2.png``.
    """
    with open_pictures(path) as pictures:
        if len(pictures.names) != images:
            raise ValueError(
                f"{path}: factor_sizes labels pictures in the order of their names, and only {images} of "
                f"{len(pictures.names)} can be read, so that labels would be those of others: get the others again"
            )
        for before, after in itertools.pairwise(pictures.names):
            if _number_falls(before, after):
                raise ValueError(
                    f"{path}: factor_sizes labels pictures in the order of their names, in which {before} comes before "
                    f"{after}: write all numbers with as many digits (002.png, 010.png)"
                )


def _number_falls(before: str, after: str) -> bool:
    """Whether two names first differ in a number, which is larger in the first."""
    for first, second in zip(re.split(r"(\d+)", before), re.split(r"(\d+)", after), strict=False):
        if first != second:
            return first.isdecimal() and second.isdecimal() and int(first) > int(second)
    return False


def _preparation(path: Path, pictures: Pictures, image_size: int | None, progress: bool) -> Preparation:
    """What suits all pictures, from their headers."""

    def kind(name: str) -> tuple[int, int, bool] | str:
        try:
            return picture_kind(pictures.read(name))
        except Exception as error:  # damaged pictures are counted and named when they are decoded
            return f"{name} ({type(error).__name__}: {error})"

    names = pictures.names
    kinds: set[tuple[int, int, bool]] = set()
    first_problem = ""
    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=len(names), desc=f"looking at {path.name}", unit="img", disable=not progress) as bar,
    ):
        for start in range(0, len(names), _NAMES_AT_ONCE):
            some = names[start : start + _NAMES_AT_ONCE]
            for found in pool.map(kind, some):
                if isinstance(found, str):
                    first_problem = first_problem or found
                else:
                    kinds.add(found)
            bar.update(len(some))
    if not kinds:
        raise ValueError(f"{path}: none of its {len(names)} pictures can be read; the first was {first_problem}")
    channels = 1 if all(grey for _, _, grey in kinds) else 3
    sizes = {(height, width) for height, width, _ in kinds}
    if image_size is None and len(sizes) == 1:
        height, width = sizes.pop()
        return Preparation(channels, height, width, crop=None)
    size = _DEFAULT_SIZE if image_size is None else image_size
    return Preparation(channels, size, size)
