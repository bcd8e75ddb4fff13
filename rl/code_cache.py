"""Codes of frames that were seen before, found again by the frames' content."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor


class CodeCache:
    """Remembers the features of `capacity` different frames; those not asked for the longest are forgotten first.

    PPO encodes each frame of a rollout once when it acts and once per epoch of training, and also the frames behind the
    rollout and the last one of each episode that was cut off: with a capacity of at least
    `(n_steps + 1) * n_envs * n_stack`, and `n_stack` more for each of those episodes, each frame is encoded once.
    Frames are told apart by a 128-bit BLAKE2 digest.
    """

    def __init__(self, encode: Callable[[Tensor], Tensor], capacity: int) -> None:
        """Remember what `encode` gave.

        Args:
            encode: uint8 frames (N, ...) -> features (N, F), without gradient.
            capacity: frames, at least 1.

        Raises:
            ValueError: a capacity below 1.
        """
        if capacity < 1:
            raise ValueError(f"a code cache needs room for at least 1 frame, got {capacity}")
        self._encode = encode
        self._capacity = capacity
        self._known: OrderedDict[bytes, Tensor] = OrderedDict()

    def __call__(self, frames: Tensor) -> Tensor:
        """uint8 frames (N, ...) on the CPU -> features (N, F)."""
        rows = frames.contiguous().numpy()
        digests = [hashlib.blake2b(row, digest_size=16).digest() for row in rows]
        for digest in digests:
            if digest in self._known:
                self._known.move_to_end(digest)
        new = {digest: i for i, digest in enumerate(digests) if digest not in self._known}
        if new:
            # rows are cloned: a view would keep the features of its whole batch in memory
            codes = self._encode(frames[list(new.values())])
            self._known.update(zip(new, (code.clone() for code in codes), strict=True))
        found = torch.stack([self._known[digest] for digest in digests])
        while len(self._known) > self._capacity:
            self._known.popitem(last=False)
        return found

    def __len__(self) -> int:
        return len(self._known)
