from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rl.code_cache import CodeCache


class _Counting:
    """Features are the sum of each frame; remembers how many frames it was asked for."""

    def __init__(self) -> None:
        self.frames = 0

    def __call__(self, frames: Tensor) -> Tensor:
        self.frames += len(frames)
        return frames.float().flatten(1).sum(1, keepdim=True)


def _frames(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def test_each_frame_is_encoded_once() -> None:
    encode = _Counting()
    cache = CodeCache(encode, 10)
    assert cache(_frames(1, 2, 1)).tolist() == [[4], [8], [4]]
    assert encode.frames == 2
    assert cache(_frames(2, 3)).tolist() == [[8], [12]]
    assert encode.frames == 3


def test_the_oldest_frames_are_forgotten_and_a_batch_may_exceed_the_capacity() -> None:
    encode = _Counting()
    cache = CodeCache(encode, 2)
    assert cache(_frames(1, 2, 3)).tolist() == [[4], [8], [12]]
    assert len(cache) == 2
    assert cache(_frames(1)).tolist() == [[4]]
    assert encode.frames == 4


def test_features_do_not_hold_on_to_their_batch() -> None:
    cache = CodeCache(_Counting(), 10)
    cache(_frames(1, 2, 3))
    assert all(code.untyped_storage().nbytes() == 4 for code in cache._known.values())


def test_no_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match="room for at least 1 frame, got 0"):
        CodeCache(_Counting(), 0)


def test_frames_that_are_asked_for_again_stay() -> None:
    encode = _Counting()
    cache = CodeCache(encode, 2)
    for values in ((1, 2), (1,), (3,), (1,)):
        cache(_frames(*values))
    assert encode.frames == 3
