"""A small network of others and the frozen encoders made of it, as tests ask for ours."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparse_repr import FrozenEncoder
from sparse_repr.encoder import EncoderSpec, Preprocessing

_WIDTH = 64


class SmallNetwork(nn.Module):
    """Has what is dangerous in an agent: batch norm, dropout, a residual, an in-place ReLU and a transformer layer."""

    def __init__(self, channels: int = 3, code_size: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, _WIDTH, 8, stride=8)
        self.norm = nn.BatchNorm2d(_WIDTH)
        self.second = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.attention = nn.MultiheadAttention(_WIDTH, 2, batch_first=True)
        self.last = nn.Linear(_WIDTH, code_size)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.norm(self.first(images))
        maps = self.relu(maps + self.dropout(self.second(maps)))
        tokens = maps.flatten(2).transpose(1, 2)
        mixed = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        found: Tensor = self.last((tokens + mixed).mean(1))
        return found


def small_network(channels: int = 3, code_size: int = 4) -> SmallNetwork:
    """One whose weights and running statistics depend on nothing but the arguments, in train mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SmallNetwork(channels, code_size)
        network(torch.rand(8, channels, 64, 64))
    return network.train()


def pictures(count: int, channels: int = 3, size: int = 64) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Noise of different brightness, uint8 (count, size, size, channels)."""
    generator = np.random.default_rng(0)
    levels = generator.integers(1, 256, (count, 1, 1, channels))
    return (generator.random((count, size, size, channels)) * levels).astype(np.uint8)


@functools.cache
def _made(channels: int, size: int, source: int | None, code_size: int) -> tuple[EncoderSpec, dict[str, Tensor]]:
    side = source or size
    encoder = FrozenEncoder.from_module(
        small_network(channels, code_size),
        preprocessing=Preprocessing(
            channels, (side, side), (size, size), mean=(0.4,) * channels, std=(0.2,) * channels
        ),
        example_images=pictures(20, channels, side),
        name="a small network",
    )
    return encoder.spec, dict(encoder.network().state_dict())


def make_foreign_encoder(
    channels: int = 1, size: int = 64, source: int | None = None, code_size: int = 4
) -> FrozenEncoder:
    """As `tests.conftest.make_encoder`, of a network that is none of ours."""
    return FrozenEncoder(*_made(channels, size, source, code_size))
