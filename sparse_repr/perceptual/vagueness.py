"""Vague guesses of an image: what a code that knows it only roughly can draw, as the mean over what it may be."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_PLACES = (16, 8, 4, 2, 1)
_BLURS = (8, 4, 2, 1)
_PARTS = (2, 4, 8, 32, 128)
_GREYS = (0.25, 0.5, 0.75)


def known_to(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Images whose place is known to ± `pixels`: each moved by that much at most, then averaged over as many places.

    The mean over all places within a square is what has the least squared error there; edges are repeated.

    Args:
        images: (N, C, S, S).
        pixels: half the side of the square, less than S.
        generator: of the moves, in both directions uniform among whole pixels.

    Returns:
        (N, C, S, S).
    """
    size = images.shape[-1]
    moves = torch.randint(-pixels, pixels + 1, (len(images), 2), generator=generator)
    padded = F.pad(images, (2 * pixels,) * 4, mode="replicate")
    reach = size + 2 * pixels
    moved = torch.stack(
        [
            image[:, pixels + down : pixels + down + reach, pixels + right : pixels + right + reach]
            for image, (down, right) in zip(padded, moves.tolist(), strict=True)
        ]
    )
    return F.avg_pool2d(moved, 2 * pixels + 1, stride=1)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Images (N, C, S, S) under a Gaussian of standard deviation `sigma` pixels; edges are repeated."""
    reach = min(round(3 * sigma), images.shape[-1] - 1)
    offsets = torch.arange(-reach, reach + 1, dtype=images.dtype)
    weights = torch.exp(-0.5 * (offsets / sigma).square())
    weights = (weights / weights.sum()).view(1, 1, 1, -1)
    flat = F.pad(images.flatten(0, 1)[:, None], (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(flat, weights), weights.transpose(2, 3))[:, 0].view_as(images)


def mean_of_neighbours(images: Tensor, others: Tensor, count: int) -> Tensor:
    """For each of images (N, C, S, S), the mean of the `count` of `others` that are nearest to it in their pixels."""
    distances = torch.cdist(images.flatten(1), others.flatten(1))  # (N, M)
    nearest = distances.topk(count, largest=False).indices  # (N, count)
    return torch.stack([others[chosen].mean(0) for chosen in nearest])


def empty_pictures(images: Tensor, others: Tensor) -> dict[str, Tensor]:
    """Pictures that show nothing of their image, (N, C, S, S) each: the mean of `others`, and constant ones."""
    constants = {"black": 0.0, **{f"grey {level:g}": level for level in _GREYS}, "white": 1.0}
    return {
        "mean picture": others.mean(0, keepdim=True).expand_as(images),
        "mean colour": others.mean((0, 2, 3), keepdim=True).expand_as(images),
        **{name: torch.full_like(images, level) for name, level in constants.items()},
    }


def vague_guesses(images: Tensor, others: Tensor, *, seed: int = 0) -> dict[str, list[tuple[str, Tensor]]]:
    """Guesses of images from the vaguest to the best, by kind.

    Args:
        images: (N, C, S, S) in 0..1, what is guessed.
        others: (M, C, S, S) in 0..1, more images of the data.
        seed: of the places.

    Returns:
        ``"place"`` (known to ±16, 8, 4, 2, 1 pixels), ``"blur"`` (of sigma 8, 4, 2, 1) and ``"neighbours"`` (mean of
        the nearest half, quarter, 8th, 32nd and 128th of `others`, as a code of 1, 2, 3, 5 and 7 bits may know at
        best): (name, (N, C, S, S)) each, without what is too wide for the images.
    """
    generator, size = torch.Generator().manual_seed(seed), images.shape[-1]
    return {
        "place": [
            (f"place ±{pixels} px", known_to(images, pixels, generator)) for pixels in _PLACES if pixels <= size // 4
        ],
        "blur": [(f"blur {sigma} px", blurred(images, sigma)) for sigma in _BLURS if sigma <= size // 8],
        "neighbours": [
            (f"nearest 1/{part}", mean_of_neighbours(images, others, len(others) // part))
            for part in _PARTS
            if part <= len(others)
        ],
    }
