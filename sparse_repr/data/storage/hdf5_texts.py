"""Heaps of texts in an HDF5 file, checked before HDF5 reads one: damage can send it round in a loop that never ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

# A global heap collection (HDF5 File Format Specification, III.E): signature, version 1, three zeros, size of 8 bytes.
_SIGNATURE = b"GCOL\x01\x00\x00\x00"
_HEADER_BYTES = 16
_WINDOW = 1024**2


def broken_heap(path: Path, images: Any) -> int | None:
    """Where the first heap of texts lies whose parts do not follow each other; None where all are sound.

    Args:
        path: the file.
        images: its largest data set, whose own bytes are passed over.
    """
    with path.open("rb") as file:
        for start, end in _between(images, path.stat().st_size):
            for place in _find(file, start, end):
                if not _is_sound(file, place):
                    return place
    return None


def _between(images: Any, file_bytes: int) -> Iterator[tuple[int, int]]:
    """The stretches of the file that hold no images."""
    offset = images.id.get_offset()
    taken: list[tuple[int, int]] = []
    if offset is not None:
        taken.append((offset, images.id.get_storage_size()))
    elif images.chunks is not None:
        images.id.chunk_iter(lambda chunk: taken.append((chunk.byte_offset, chunk.size)))
    end = 0
    for start, size in sorted(taken):
        if start > end:
            yield end, start
        end = max(end, start + size)
    yield end, file_bytes


def _find(file: IO[bytes], start: int, end: int) -> Iterator[int]:
    while start < end:
        file.seek(start)
        window = file.read(min(_WINDOW, end - start))
        place = window.find(_SIGNATURE)
        while place >= 0:
            yield start + place
            place = window.find(_SIGNATURE, place + 1)
        # the next window repeats a signature's length, in case one lies across
        start += len(window) - len(_SIGNATURE) + 1 if len(window) == _WINDOW else max(1, end - start)


def _is_sound(file: IO[bytes], place: int) -> bool:
    file.seek(place)
    content = file.read(_HEADER_BYTES)
    size = int.from_bytes(content[8:], "little")
    if not _HEADER_BYTES < size <= 64 * 1024**2:
        return False
    content += file.read(size - _HEADER_BYTES)
    at = _HEADER_BYTES
    while len(content) - at >= _HEADER_BYTES:
        index = int(np.frombuffer(content, "<u2", 1, at)[0])
        part = int.from_bytes(content[at + 8 : at + 16], "little")
        # part 0 is the free rest, and its size counts its header
        step = part if index == 0 else _HEADER_BYTES + -(-part // 8) * 8
        if step < _HEADER_BYTES or at + step > size:
            return False
        at += step
    return len(content) == size
