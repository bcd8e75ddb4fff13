"""Small pictures, archives and folders in the formats of the real data sets, made on the spot."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encode(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    """Compress uint8 (H, W) or (H, W, 3) pixels."""
    buffer = io.BytesIO()
    if kind == "JPEG":
        options = {"quality": 95, "subsampling": 0, **options}
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def plain(height: int, width: int, color: tuple[int, int, int]) -> np.ndarray:
    return np.full((height, width, 3), color, dtype=np.uint8)


def bordered(
    height: int, width: int, side: int, *, inside: tuple[int, int, int] = GREEN, border: tuple[int, int, int] = RED
) -> np.ndarray:
    """A centre square of `side` pixels in one colour, everything around it in another."""
    pixels = plain(height, width, border)
    top, left = (height - side) // 2, (width - side) // 2
    pixels[top : top + side, left : left + side] = inside
    return pixels


def noise(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def write_folder(path: Path, members: Mapping[str, bytes]) -> Path:
    for name, data in members.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return path
