"""Images in an array of a `.npz` file, read where they lie or unpacked once."""

from __future__ import annotations

from collections.abc import Generator

from tqdm import tqdm

from sparse_repr.data.base import ImageStore
from sparse_repr.data.storage.file_images import stored_images
from sparse_repr.data.storage.image_cache import CacheKey, ImageStream, Slab, cached_images
from sparse_repr.data.storage.npz_files import NpzFile
from sparse_repr.data.storage.pictures import fingerprint


def npz_images(
    file: NpzFile,
    name: str,
    shape: tuple[int, int, int, int],
    *,
    dataset: str,
    channels_last: bool,
    progress: bool,
    in_memory: bool | None = None,
) -> ImageStore:
    """The images of an array: those that are uncompressed are read where they lie, others from a copy in the cache.

    Args:
        file: the file.
        name: of an array of uint8 in C order with as many numbers as `shape` says.
        shape: (N, C, H, W), or (N, H, W, C) with `channels_last`; the array itself may lack an axis of one channel.
        dataset: name in `DATASETS`.
        channels_last: the order of the axes in the file.
        progress: show a progress bar while images are unpacked.
        in_memory: hold unpacked images in memory (True), read each batch from the cache (False), or choose by size.

    Raises:
        ValueError: the file is damaged.
        OSError: no room for the copy.
    """
    offset = file.plain_offset(name)
    if offset is not None and in_memory is not True:
        return stored_images(file.path, offset, shape, channels_last)
    count, *rest = shape
    image_shape = (rest[2], rest[0], rest[1]) if channels_last else (rest[0], rest[1], rest[2])

    def slabs() -> Generator[Slab, None, None]:
        with tqdm(total=count, desc=f"inflating {file.path.name}", unit="img", disable=not progress) as bar:
            for rows in file.slabs(name):
                images = rows.reshape(-1, *rest)
                yield Slab(images.transpose(0, 3, 1, 2) if channels_last else images)
                bar.update(len(images))

    key = CacheKey(dataset, file.path, fingerprint(file.path), {})
    return cached_images(key, lambda: ImageStream(count, image_shape, slabs()), in_memory=in_memory).store
