"""Decode many compressed pictures on all cores, once, into the image cache."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sparse_repr.data.base import ImageArray
from sparse_repr.data.storage.decoding import Preparation, decode_picture
from sparse_repr.data.storage.image_cache import CachedImages, CacheKey, ImageStream, Slab, cached_images
from sparse_repr.data.storage.pictures import Pictures, fingerprint, open_pictures

_SLAB_BYTES = 1024**2
_UNREADABLE_SHARE = 0.01


def cached_pictures(
    dataset: str,
    place: Path,
    settings: Mapping[str, str | int | float | None],
    choose: Callable[[Pictures], tuple[Sequence[str], Preparation]],
    *,
    progress: bool = True,
    in_memory: bool | None = None,
) -> CachedImages:
    """The pictures of a zip, tar or folder as images, decoded on the first use and cached.

    A picture that cannot be read is left out; a warning says at every use how many were, and which was the first.

    Args:
        dataset: name in `DATASETS`.
        place: the archive or folder.
        settings: what the user chose; part of the cache's key.
        choose: the names of the pictures to decode, in order, and what becomes of them; called only when there is no
            cached copy yet.
        progress: show a progress bar while decoding.
        in_memory: hold the images in memory, read each batch from the cache, or (None) choose by size.

    Raises:
        ValueError: a damaged archive, or more than 1 % of the pictures cannot be read.
        OSError: no room for the cached copy; nothing is left behind.
    """
    key = CacheKey(dataset, place, fingerprint(place), settings)
    with contextlib.ExitStack() as stack:

        def build() -> ImageStream:
            pictures = stack.enter_context(open_pictures(place))
            names, preparation = choose(pictures)
            slabs = _decode_all(pictures, names, preparation, place, progress)
            return ImageStream(len(names), preparation.image_shape, slabs)

        return cached_images(key, build, in_memory=in_memory)


def _decode_all(
    pictures: Pictures, names: Sequence[str], preparation: Preparation, place: Path, progress: bool
) -> Generator[Slab, None, None]:
    rows = int(np.clip(_SLAB_BYTES // np.prod(preparation.image_shape), 1, 128))
    batches = (names[start : start + rows] for start in range(0, len(names), rows))
    # Pillow decodes and resizes outside the interpreter lock; one thread more than cores covers the parts inside it
    workers = min(32, (os.cpu_count() or 1) + 1)
    running: deque[Future[Slab]] = deque()
    failed: list[str] = []
    pool = ThreadPoolExecutor(workers)
    try:
        with tqdm(total=len(names), desc=f"decoding {place.name}", unit="img", disable=not progress) as bar:
            while True:
                # a short queue ahead, so that memory stays small when the disk is slower than the cores
                while len(running) < 2 * workers and (batch := next(batches, None)) is not None:
                    running.append(pool.submit(_decode_batch, pictures, batch, preparation))
                if not running:
                    break
                slab = running.popleft().result()
                failed += slab.unreadable
                if len(failed) > _UNREADABLE_SHARE * len(names):
                    raise ValueError(
                        f"{place}: {len(failed)} of {len(names)} pictures could not be read, more than "
                        f"{_UNREADABLE_SHARE:.0%} (stopped there); the first was {failed[0]}; get the data again"
                    )
                bar.update(len(slab.images) + len(slab.unreadable))
                yield slab
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_batch(pictures: Pictures, names: Sequence[str], preparation: Preparation) -> Slab:
    """The images that can be read, and what is wrong with each of the others."""
    images = np.empty((len(names), *preparation.image_shape), dtype=np.uint8)
    kept: list[str] = []
    failures: list[str] = []
    for name in names:
        problem = _decode_into(images[len(kept)], pictures, name, preparation)
        if problem is None:
            kept.append(name)
        else:
            failures.append(f"{name} ({problem})")
    return Slab(images[: len(kept)], kept, failures)


def _decode_into(image: ImageArray, pictures: Pictures, name: str, preparation: Preparation) -> str | None:
    try:
        image[:] = decode_picture(pictures.read(name), preparation)
    except MemoryError:
        raise
    except Exception as error:  # what Pillow raises on damaged data is not a documented set
        return f"{type(error).__name__}: {error}"
    return None
