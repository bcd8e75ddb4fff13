"""FactorDataset: images with their ground-truth factors, the one type every data set loader returns."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
ImageArray = npt.NDArray[np.uint8]
_DIGEST_IMAGES = 64


def full_grid(sizes: tuple[int, ...]) -> IntArray:
    """Factor indices of every combination of values, int64 (N, K), the last factor changing fastest."""
    grid = np.empty((int(np.prod(sizes)), len(sizes)), dtype=np.int64)
    for k, size in enumerate(sizes):
        # each value is repeated once per combination of the later factors: no temporary as large as the grid
        repeats = int(np.prod(sizes[k + 1 :]))
        grid[:, k].reshape(-1, size, repeats)[:] = np.arange(size)[:, None]
    return grid


class ImageStore(Protocol):
    """Where the pixels are kept: any object that can read a batch of images by index."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""

    def __len__(self) -> int: ...

    def read(self, indices: IntArray) -> ImageArray:
        """Images at `indices` (n,) as uint8 (n, C, H, W), 0..255."""


class StoredForm(NamedTuple):
    """The bytes that a store holds, and how they become pixels, so that another device can do the reading."""

    rows: ImageArray
    """uint8 (N, ...), one row per image; possibly a read-only memory map."""
    layout: Literal["channels_first", "channels_last", "bits"]
    """Of a row: (C, H, W), (H, W, C), or (C * H * W / 8,) as `numpy.packbits` packs pixels of 0 and 255."""


@runtime_checkable
class HeldImages(Protocol):
    """A store that holds its images as they are, in memory or in a file; not every `ImageStore` does."""

    @property
    def in_memory(self) -> bool:
        """Whether reading a batch never waits for a disk."""

    def stored(self) -> StoredForm:
        """All of them, without a copy."""


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayImages:
    """Images held in one uint8 array (N, C, H, W)."""

    array: ImageArray
    in_memory: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.array.dtype != np.uint8 or self.array.ndim != 4:
            raise TypeError(
                f"ArrayImages needs uint8 (N, C, H, W), got {self.array.dtype} with shape {self.array.shape}"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        _, channels, height, width = self.array.shape
        return channels, height, width

    def __len__(self) -> int:
        return len(self.array)

    def read(self, indices: IntArray) -> ImageArray:
        return self.array[indices]

    def stored(self) -> StoredForm:
        return StoredForm(self.array, "channels_first")


@dataclasses.dataclass(frozen=True, eq=False)
class PackedBits:
    """Black-and-white images held at one bit per pixel: rows of `numpy.packbits`, (N, H * W / 8) uint8."""

    bits: ImageArray
    height: int
    width: int
    in_memory: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.bits.dtype != np.uint8 or self.bits.ndim != 2 or self.bits.shape[1] * 8 != self.height * self.width:
            raise TypeError(
                f"PackedBits needs uint8 (N, {self.height * self.width // 8}) for {self.height}x{self.width} images, "
                f"got {self.bits.dtype} with shape {self.bits.shape}"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return 1, self.height, self.width

    def __len__(self) -> int:
        return len(self.bits)

    def read(self, indices: IntArray) -> ImageArray:
        pixels = np.unpackbits(self.bits[indices], axis=1)  # (n, H * W) of 0 and 1
        np.multiply(pixels, 255, out=pixels)
        return pixels.reshape(-1, 1, self.height, self.width)

    def stored(self) -> StoredForm:
        return StoredForm(self.bits, "bits")


class MappedImages:
    """Images read from an uncompressed stretch of a file through a memory map: a batch loads the pages it touches.

    The file is opened at once, so a newer file renamed over it later does not change the pixels. A copy sent to another
    process opens the file again by its path instead of carrying the pixels.

    Args:
        path: any file that holds the pixels uncompressed and in one piece, as raw uint8.
        offset: position of the first pixel in bytes.
        shape: (N, C, H, W), or (N, H, W, C) with `channels_last`.
        channels_last: the order of the axes in the file; `read` gives (n, C, H, W) either way.

    Raises:
        ValueError: the file is shorter than `offset` and `shape` say.
    """

    in_memory = False

    def __init__(self, path: Path, offset: int, shape: tuple[int, int, int, int], channels_last: bool = False) -> None:
        found, expected = path.stat().st_size, offset + int(np.prod(shape, dtype=np.int64))
        if found < expected:
            raise ValueError(f"{path}: expected at least {expected} bytes for images {shape}, found {found}")
        self._arguments = {"path": path, "offset": offset, "shape": shape, "channels_last": channels_last}
        self._channels_last = channels_last
        # the plain ndarray view skips numpy's slower indexing of its memmap subclass
        self._array = np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=shape).view(np.ndarray)

    def __getstate__(self) -> dict[str, Any]:
        return self._arguments

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        _, a, b, c = self._array.shape
        return (c, a, b) if self._channels_last else (a, b, c)

    def __len__(self) -> int:
        return len(self._array)

    def read(self, indices: IntArray) -> ImageArray:
        batch: ImageArray = self._array[indices]
        return np.ascontiguousarray(batch.transpose(0, 3, 1, 2)) if self._channels_last else batch

    def stored(self) -> StoredForm:
        return StoredForm(self._array, "channels_last" if self._channels_last else "channels_first")


@dataclasses.dataclass(frozen=True, eq=False)
class DrawnImages:
    """Images that are held nowhere: every read draws them from the values of their factors."""

    render: Callable[..., ImageArray]
    """One (n,) argument per factor -> uint8 (n, C, H, W)."""
    values: FloatArray
    """(N, K) float32, one column per argument of `render`."""
    image_shape: tuple[int, int, int]
    """(C, H, W) of every image."""

    def __len__(self) -> int:
        return len(self.values)

    def read(self, indices: IntArray) -> ImageArray:
        return self.render(*self.values[indices].T)


@dataclasses.dataclass(frozen=True, eq=False)
class FactorDataset:
    """N images and, where known, the ground-truth factors that made them.

    `factors` holds the index of each factor's value, `factor_values` the value in its own unit. In a full grid every
    combination of values occurs exactly once, the last factor changing fastest.
    """

    name: str
    """Name in `DATASETS`."""
    store: ImageStore
    """Where the pixels are."""
    source: str
    """Where the images come from: a path, or "drawn"."""
    factor_names: tuple[str, ...] = ()
    """K names; empty where no factors are known."""
    factor_sizes: tuple[int, ...] = ()
    """K numbers of values."""
    factors: IntArray | None = None
    """(N, K) int64, 0 <= factors[:, k] < factor_sizes[k]; None where unknown."""
    factor_values: FloatArray | None = None
    """(N, K) float32; None where unknown."""
    partition: npt.NDArray[np.int8] | None = None
    """(N,) int8: 0 train, 1 validation, 2 held out; None where the data set declares no partition of its own."""
    nominal_factors: tuple[str, ...] = ()
    """Names of the factors with three values or more that are in no order, such as shapes: scores are given without
    them too. Two values are always in one."""

    def __post_init__(self) -> None:
        # of data sets from files there may be many, so the file is named
        where = self.name if self.source == "drawn" else self.source
        for label, array in (("factors", self.factors), ("factor_values", self.factor_values)):
            expected = (len(self.store), len(self.factor_names))
            if array is not None and array.shape != expected:
                raise ValueError(f"{where}: {label} needs shape {expected} (N, K), got {array.shape}")
        unknown = [name for name in self.nominal_factors if name not in self.factor_names]
        if unknown:
            raise ValueError(
                f"{where}: nominal_factors needs names of {self.factor_names}, got {', '.join(map(repr, unknown))}"
            )
        if self.partition is not None and (
            self.partition.shape != (len(self.store),) or not np.isin(self.partition, (0, 1, 2)).all()
        ):
            raise ValueError(
                f"{where}: partition needs {len(self.store)} values 0 (train), 1 (validation) or 2 (held out), "
                f"got shape {self.partition.shape} with values {np.unique(self.partition)[:5].tolist()}"
            )
        if self.factors is not None:
            if len(self.factor_sizes) != len(self.factor_names):
                raise ValueError(
                    f"{where}: factor_sizes {self.factor_sizes} needs one entry for each of {self.factor_names}"
                )
            for name, size, column in zip(self.factor_names, self.factor_sizes, self.factors.T, strict=True):
                low, high = column.min(), column.max()
                if low < 0 or high >= size:
                    raise ValueError(f"{where}: factor {name!r} needs indices 0..{size - 1}, got {low}..{high}")

    def __len__(self) -> int:
        return len(self.store)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.store.image_shape

    def images(self, indices: npt.ArrayLike) -> ImageArray:
        """Images at `indices` (n,) as uint8 (n, C, H, W), 0..255; each call may read from disk.

        Raises:
            TypeError: `indices` are not whole numbers.
            ValueError: they have more than one axis.
            IndexError: an index is outside ``-N..N-1``.
        """
        index = np.atleast_1d(np.asarray(indices))
        if index.ndim > 1:
            raise ValueError(f"images() needs indices with one axis (n,), got shape {index.shape}: ravel them first")
        if not index.size:  # an empty list has numpy's own type
            index = index.astype(np.int64)
        if index.dtype == np.bool_ or not np.issubdtype(index.dtype, np.integer):
            raise TypeError(f"images() needs integer indices, got {index.dtype}")
        count = len(self)
        if index.size and (index.min() < -count or index.max() >= count):
            raise IndexError(f"images() needs indices in 0..{count - 1}, got {index.min()}..{index.max()}")
        index = index.astype(np.int64)  # before the sum, which a smaller type may not hold
        return self.store.read(np.where(index < 0, index + count, index))

    def digest(self, items: IntArray) -> str:
        """The same for the same items (n,) of the same data, by up to 64 of their images, evenly spaced.

        A file that was copied or moved has it too.
        """
        spaced = np.linspace(0, max(0, len(items) - 1), min(_DIGEST_IMAGES, len(items))).astype(np.int64)
        digest = hashlib.sha256(np.ascontiguousarray(self.images(items[spaced])).tobytes())
        digest.update(items.tobytes())
        return digest.hexdigest()

    def factors_digest(self, items: IntArray) -> str:
        """The same for items (n,) that have the same factors, indices and values, under the same names."""
        digest = hashlib.sha256(repr((self.factor_names, self.nominal_factors)).encode())
        for known in (self.factors, self.factor_values):
            digest.update(b"none" if known is None else np.ascontiguousarray(known[items]).tobytes())
        return digest.hexdigest()

    def varying(self, items: IntArray) -> tuple[int, ...]:
        """Which factors differ among items (n,), by their numbers; none where no factors are known."""
        if self.factors is None:
            return ()
        factors = self.factors[items]
        return tuple(k for k in range(factors.shape[1]) if (factors[:, k] != factors[0, k]).any())

    @functools.cached_property
    def is_full_grid(self) -> bool:
        """Whether every combination of factor values occurs exactly once."""
        if self.factors is None or len(self) != int(np.prod(self.factor_sizes, dtype=np.int64)):
            return False
        flat = np.ravel_multi_index(tuple(self.factors.T), self.factor_sizes)
        return bool((np.bincount(flat, minlength=len(self)) == 1).all())

    @functools.cached_property
    def split(self) -> tuple[IntArray, IntArray]:
        """(train, held-out) indices.

        A declared `partition` decides (validation items are in neither). Without one a full grid is all training data,
        and anything else holds out its last 10 %.
        """
        if self.partition is not None:
            return np.flatnonzero(self.partition == 0), np.flatnonzero(self.partition == 2)
        everything = np.arange(len(self), dtype=np.int64)
        if self.is_full_grid or len(self) < 10:
            return everything, everything[:0]
        boundary = len(self) - len(self) // 10
        return everything[:boundary], everything[boundary:]
