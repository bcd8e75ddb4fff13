"""Coloured and noisy dSprites: the black-and-white images with what a factor model should ignore added on the fly.

The variants of Locatello et al., "Challenging Common Assumptions in the Unsupervised Learning of Disentangled
Representations" (ICML 2019). There every read draws anew; here an image's colour or noise belongs to its index, so the
same index is the same image in every batch, process and run.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sparse_repr.data.base import FactorDataset, ImageArray, ImageStore, IntArray
from sparse_repr.data.dsprites import load_dsprites

__all__ = ["ColoredSprites", "NoisySprites", "load_dsprites_color", "load_dsprites_noise"]


def load_dsprites_color(path: Path | None = None, *, seed: int = 0, progress: bool = True) -> FactorDataset:
    """dSprites with each sprite in a random colour on black, 737,280 colour images.

    Each of red, green and blue is uniform in 0.5..1 of full brightness.

    Args:
        path: as for `load_dsprites`.
        seed: another seed gives other colours.
        progress: show a progress bar on the first use.

    Returns:
        Images uint8 (3, 64, 64) with the factors of dSprites; the colour is not one of them.

    Raises:
        FileNotFoundError, ValueError, OSError: as `load_dsprites`.
    """
    sprites = load_dsprites(path, progress=progress)
    return dataclasses.replace(sprites, name="dsprites_color", store=ColoredSprites(sprites.store, seed))


def load_dsprites_noise(path: Path | None = None, *, seed: int = 0, progress: bool = True) -> FactorDataset:
    """dSprites with each sprite white on uniform colour noise, 737,280 colour images.

    Args:
        path: as for `load_dsprites`.
        seed: another seed gives other noise.
        progress: show a progress bar on the first use.

    Returns:
        Images uint8 (3, 64, 64) with the factors of dSprites.

    Raises:
        FileNotFoundError, ValueError, OSError: as `load_dsprites`.
    """
    sprites = load_dsprites(path, progress=progress)
    return dataclasses.replace(sprites, name="dsprites_noise", store=NoisySprites(sprites.store, seed))


@dataclasses.dataclass(frozen=True, eq=False)
class ColoredSprites:
    """Black-and-white images (1, H, W) of 0 and 255, their white in a colour that the index decides."""

    sprites: ImageStore
    seed: int = 0

    @property
    def image_shape(self) -> tuple[int, int, int]:
        _, height, width = self.sprites.image_shape
        return 3, height, width

    def __len__(self) -> int:
        return len(self.sprites)

    def read(self, indices: IntArray) -> ImageArray:
        uniform = _random_bits(indices, 3, self.seed) >> np.uint64(11)  # (n, 3), 53 bits
        color = np.rint(255 * (0.5 + 0.5 * 2.0**-53 * uniform)).astype(np.uint8)
        # white is all bits set
        return self.sprites.read(indices) & color[:, :, None, None]


@dataclasses.dataclass(frozen=True, eq=False)
class NoisySprites:
    """Black-and-white images (1, H, W) of 0 and 255, their black replaced by colour noise that the index decides."""

    sprites: ImageStore
    seed: int = 0

    @property
    def image_shape(self) -> tuple[int, int, int]:
        _, height, width = self.sprites.image_shape
        return 3, height, width

    def __len__(self) -> int:
        return len(self.sprites)

    def read(self, indices: IntArray) -> ImageArray:
        channels, height, width = self.image_shape
        pixels = channels * height * width
        words = _random_bits(indices, -(-pixels // 8), self.seed)  # eight pixels a word
        noise = words.astype("<u8", copy=False).view(np.uint8)[:, :pixels].reshape(-1, channels, height, width)
        return noise | self.sprites.read(indices)


def _random_bits(indices: IntArray, words: int, seed: int) -> npt.NDArray[np.uint64]:
    """(n, words) of 64 random bits that depend on index, word and seed alone.

    The mixing function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) over a counter: unlike a generator for each
    index it works on whole arrays.
    """
    counter = indices.astype(np.uint64)[:, None] * np.uint64(words) + np.arange(words, dtype=np.uint64)
    # uint64 arithmetic is meant to wrap around
    mixed = counter * np.uint64(0x9E3779B97F4A7C15) + _mix(np.array([seed % 2**64], dtype=np.uint64))
    return _mix(mixed)


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's output function, in place."""
    shifted = state >> np.uint64(30)
    state ^= shifted
    state *= np.uint64(0xBF58476D1CE4E5B9)
    np.right_shift(state, np.uint64(27), out=shifted)
    state ^= shifted
    state *= np.uint64(0x94D049BB133111EB)
    np.right_shift(state, np.uint64(31), out=shifted)
    state ^= shifted
    return state
