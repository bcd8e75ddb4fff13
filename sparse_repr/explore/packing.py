"""What the page carries: one compressed block of bytes, and values whose tensors say where in it they lie."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

WEIGHT_BITS = 18
"""Bits that a weight keeps of the 23 of its fraction: it moves by at most 2^-19 of itself, which saves a fifth of the
file, and pictures and codes stay within 1e-4 of torch's (tests/sparse_repr/explore/test_kernel.py)."""


class Packing:
    """Collects tensors into one block; `page/unpack.js` reads it."""

    def __init__(self) -> None:
        """Start empty."""
        self._parts: list[bytes] = []
        self._length = 0
        self.text_length = 0
        """Letters that the block takes in the page, about."""

    def pack(self, value: Any) -> Any:
        """The same value, of dicts and lists, with every tensor and array replaced by its place in the block.

        float32 tensors are kept as they are, but those under the name ``weight`` are rounded; uint8 arrays are images,
        (N, ...).
        """
        if isinstance(value, Mapping):
            return {name: self._entry(name, entry) for name, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.pack(entry) for entry in value]
        if isinstance(value, Tensor):
            return self.pack(value.detach().cpu().numpy())
        if isinstance(value, np.ndarray):
            return self._images(value) if value.dtype == np.uint8 else self._floats(value)
        return value

    def _entry(self, name: str, value: Any) -> Any:
        if name == "weight" and isinstance(value, Tensor):
            return self._floats(rounded(value.detach().cpu().numpy()))
        return self.pack(value)

    def _floats(self, array: npt.NDArray[Any]) -> dict[str, Any]:
        plain = np.ascontiguousarray(array, dtype="<f4")
        # the highest byte of every number first: apart from one another they compress better
        planes = plain.reshape(-1).view(np.uint8).reshape(-1, 4)[:, ::-1].T
        return self._add(planes.tobytes(), plain.shape, "float32")

    def _images(self, array: npt.NDArray[np.uint8]) -> dict[str, Any]:
        steps = array.copy()
        steps[1:] -= array[:-1]  # modulo 256: the frames of a film are much alike
        return self._add(steps.tobytes(), array.shape, "differences")

    def _add(self, content: bytes, shape: tuple[int, ...], kind: str) -> dict[str, Any]:
        place = self._length
        self._parts.append(content)
        self._length += len(content)
        self.text_length += len(zlib.compress(content, 6)) * 4 // 3
        return {"at": place, "shape": list(shape), "type": kind}

    def to_text(self) -> str:
        """The block, compressed, in base64."""
        return base64.b64encode(zlib.compress(b"".join(self._parts), 9)).decode()


def rounded(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Finite weights to the nearest with `WEIGHT_BITS` bits of fraction.

    >>> rounded(np.array([1.0, 0.1], np.float32)).tolist()
    [1.0, 0.0999999046...]
    """
    dropped = 23 - WEIGHT_BITS
    bits = np.ascontiguousarray(weights, dtype=np.float32).view(np.uint32)
    nearest = (bits + np.uint32(1 << (dropped - 1))) & ~np.uint32((1 << dropped) - 1)
    return nearest.view(np.float32)
