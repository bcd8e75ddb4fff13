"""Images brought once into an HDF5 file of the cache folder, then read from there or held in memory.

The file's data set ``images`` is uint8 (N, C, H, W), uncompressed and in one piece, so an image can be read at its
position. It is filled slab by slab and renamed into place when whole: an interrupted or failed build leaves nothing
behind, and of two processes that build at once the last one's file, equal to the first one's, stays.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from sparse_repr.data.base import ArrayImages, ImageArray, ImageStore
from sparse_repr.data.storage.contiguous import Layout, create_contiguous, prove_room, write_array
from sparse_repr.data.storage.file_images import stored_images
from sparse_repr.files import atomic_path, cache_folder, remove_abandoned, require_space

# Part of every cache's key: raise it whenever a decoded pixel or the file's layout changes.
_CACHE_VERSION = 1
# Up to here a data set is not worth reading from the disk again and again. Larger ones gain too little in memory: a
# batch of 64 colour images takes 0.2 ms from the system's page cache, against 0.1 ms in memory and 30 ms for a step.
IN_MEMORY_BYTES = 32 * 1024**2


class CacheKey(NamedTuple):
    """What a cached copy was made from; any difference makes it be built again."""

    dataset: str
    source: Path
    fingerprint: str
    """Changes when the source's content changes (`pictures.fingerprint`)."""
    settings: Mapping[str, str | int | float | None]

    @property
    def path(self) -> Path:
        """One file per data set, source and settings, so a changed source replaces its old copy."""
        place = json.dumps([str(self.source.resolve()), dict(self.settings)], sort_keys=True)
        return cache_folder() / f"{self.dataset}-{hashlib.sha256(place.encode()).hexdigest()[:16]}.h5"

    def describe(self) -> str:
        """Everything in one line of JSON, as it is kept in the cache."""
        return json.dumps(
            [_CACHE_VERSION, self.dataset, str(self.source.resolve()), self.fingerprint, dict(self.settings)],
            sort_keys=True,
        )


class Slab(NamedTuple):
    """Some images, in order, with their names where names matter later."""

    images: ImageArray
    names: Sequence[str] = ()
    unreadable: Sequence[str] = ()
    """Which pictures are missing among them and why, in words."""


class ImageStream(NamedTuple):
    """Images on their way into the cache."""

    most: int
    """The most images there can be."""
    image_shape: tuple[int, int, int]
    slabs: Generator[Slab, None, None]


@dataclasses.dataclass(frozen=True, eq=False)
class CachedImages:
    """The cached images and the names they came with."""

    store: ImageStore
    joined_names: bytes
    """All names with zero bytes between them: as strings, which few need, a million take 100 MB."""

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """One per image, or none."""
        return tuple(self.joined_names.decode("utf-8", "surrogateescape").split("\0")) if self.joined_names else ()


def cached_images(key: CacheKey, build: Callable[[], ImageStream], *, in_memory: bool | None = None) -> CachedImages:
    """Open the cached copy of `key`, after building it when it is missing, damaged or made from something else.

    Args:
        key: the source and its settings. Where pictures of it could not be read, a warning says so at every use.
        build: starts the stream of images; called only when there is no valid copy.
        in_memory: read all images into memory (True), each batch from the file (False), or choose by size (None: up to
            32 MB are held).

    Raises:
        OSError: no room for the copy, or it cannot be written; nothing is left behind.
    """
    if not _is_valid(key):
        _write(key, build())
    with h5py.File(key.path, "r") as file:
        images = file["images"]
        # images that could not be read leave unused rows at the end
        shape = (int(file.attrs["count"]), *images.shape[1:])
        offset = images.id.get_offset()
        joined_names = file["names"][:].tobytes() if "names" in file else b""
        if skipped := int(file.attrs.get("skipped", 0)):
            warnings.warn(
                f"{key.source}: skipped {skipped} of {skipped + shape[0]} pictures that could not be read; the first "
                f"was {file.attrs['first_skipped']}",
                stacklevel=2,
            )
    return CachedImages(open_images(key.path, offset, shape, in_memory=in_memory), joined_names)


def open_images(
    path: Path, offset: int, shape: tuple[int, int, int, int], *, in_memory: bool | None = None
) -> ImageStore:
    """Raw uint8 (N, C, H, W) at `offset` of a file, held in memory or read batch by batch (None: by size)."""
    if fits_in_memory(shape, in_memory):
        size = int(np.prod(shape, dtype=np.int64))
        return ArrayImages(np.fromfile(path, dtype=np.uint8, count=size, offset=offset).reshape(shape))
    return stored_images(path, offset, shape)


def fits_in_memory(shape: tuple[int, ...], in_memory: bool | None) -> bool:
    """Whether to hold images of this shape: as asked for, or (None) those of up to 32 MB."""
    return int(np.prod(shape, dtype=np.int64)) <= IN_MEMORY_BYTES if in_memory is None else in_memory


def _is_valid(key: CacheKey) -> bool:
    """Whether the cache file exists, is whole and was made from exactly this source with these settings."""
    try:
        with h5py.File(key.path, "r") as file:
            images = file["images"]
            offset = images.id.get_offset()
            return bool(
                file.attrs["key"] == key.describe()
                and images.dtype == np.uint8
                and images.ndim == 4
                and offset is not None
                and 0 < int(file.attrs["count"]) <= images.shape[0]
                and key.path.stat().st_size >= offset + images.size
            )
    except (OSError, KeyError, ValueError, TypeError, AttributeError):
        return False


def _write(key: CacheKey, stream: ImageStream) -> None:
    needed = stream.most * int(np.prod(stream.image_shape, dtype=np.int64))
    # a generator goes on holding threads and open files until it is closed
    with contextlib.closing(stream.slabs):
        if stream.most == 0:
            raise ValueError(f"{key.source}: holds no image")
        # before the room is measured: the leftovers of a killed build may be what fills the disk
        remove_abandoned(key.path)
        require_space(key.path.parent, int(1.02 * needed) + 1024**2, _purpose(key))
        with atomic_path(key.path) as temporary:
            if _fill(temporary, key, stream) == 0:
                raise ValueError(f"{key.source}: holds no image that can be read")


def _purpose(key: CacheKey) -> str:
    return f"the cache of decoded {key.dataset} images (folder: SPARSE_REPR_CACHE)"


@contextlib.contextmanager
def _explained(key: CacheKey) -> Iterator[None]:
    """Say in plain words that the cache could not be written; errors of the source pass by outside of this."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # h5py raises RuntimeError when closing a file fails
        raise OSError(
            f"{_purpose(key)} could not be written in {key.path.parent} "
            f"({(isinstance(error, OSError) and error.strerror) or error}); nothing was left there: free some space or "
            "choose another folder"
        ) from error


def _fill(path: Path, key: CacheKey, stream: ImageStream) -> int:
    """Write the whole stream to `path`; returns the number of images."""
    with _explained(key):
        offset = create_contiguous(path, {"images": Layout((stream.most, *stream.image_shape), np.uint8)})["images"]
    names: list[str] = []
    unreadable: list[str] = []
    done = 0
    with path.open("r+b", buffering=0) as file:
        file.seek(offset)
        for slab in stream.slabs:
            with _explained(key):
                write_array(file, slab.images)
            done += len(slab.images)
            names += slab.names
            unreadable += slab.unreadable
    joined = np.frombuffer("\0".join(names).encode("utf-8", "surrogateescape"), dtype=np.uint8)
    with _explained(key):
        prove_room(path, len(joined))
        with h5py.File(path, "r+") as cache:
            if names:
                cache["names"] = joined
            cache.attrs["count"] = done
            if unreadable:
                cache.attrs["skipped"] = len(unreadable)
                cache.attrs["first_skipped"] = unreadable[0].encode("ascii", "backslashreplace").decode()
            cache.attrs["key"] = key.describe()
    return done
