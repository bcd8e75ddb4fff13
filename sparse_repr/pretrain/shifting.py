"""Random shifts: in training an image is moved by a few pixels, and the moved one is encoded and compared."""

from __future__ import annotations

import torch
from torch import Tensor

NUMBERS = 2
"""How many normal numbers an image takes, across and down."""


def shift_images(images: Tensor, numbers: Tensor, most: int) -> Tensor:
    """Move images by whole pixels; what moves in repeats the edge (DrQ, Kostrikov et al. 2021).

    Args:
        images: (B, C, H, W).
        numbers: (B, 2) standard normal: all that is random. Every shift of -`most` to `most` is as likely.
        most: pixels, below H and W.

    Returns:
        (B, C, H, W), each pixel one of `images`.
    """
    height, width = images.shape[-2:]
    ways = 2 * most + 1
    # the distribution function rounds to 1 from 5.6 on
    shifts = (ways * torch.special.ndtr(numbers)).floor().clamp(max=ways - 1).long() - most  # (B, 2)
    columns = (torch.arange(width, device=images.device) - shifts[:, :1]).clamp(0, width - 1)  # (B, W)
    rows = (torch.arange(height, device=images.device) - shifts[:, 1:]).clamp(0, height - 1)  # (B, H)
    each = torch.arange(len(images), device=images.device)[:, None, None]
    moved = images.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]]  # (B, H, W, C)
    return moved.permute(0, 3, 1, 2)
