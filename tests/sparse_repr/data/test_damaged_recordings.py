"""Recordings with seeded damage: only documented errors with the file's name, no crash, no hang, no other meaning."""

from __future__ import annotations

import json
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sparse_repr.data import FactorDataset, load_dataset

KINDS = ("plain", "indices", "compressed", "checksums")
_EXTREMES = (b"\0" * 8, b"\xff" * 8, b"\xff" * 7 + b"\x7f", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\x01" + b"\0" * 7)
_SECONDS = 60
# HDF5's older layout, which most files have, keeps no checksum of the list of a group's entries either.
ALLOWED = ("refused", "equal", "another payload", "an optional entry is gone")


def write(path: Path, kind: str) -> None:
    generator = np.random.default_rng(0)
    # HDF5's newest layout checks its own structure by checksums
    with h5py.File(path, "w", libver="latest" if kind == "checksums" else "earliest") as file:
        options = {"chunks": (7, 3, 8, 8), "compression": "gzip"} if kind == "compressed" else {}
        file.create_dataset("images", data=generator.integers(0, 256, (40, 3, 8, 8), dtype=np.uint8), **options)
        file["factor_values"] = generator.random((40, 2)).astype(np.float32)
        file.attrs["environment"] = "Test-v0"
        file.attrs["factor_names"] = ["speed", "angle"]
        if kind == "indices":
            file["factors"] = generator.integers(0, 3, (40, 2))
            file.attrs["factor_sizes"] = [3, 3]
        else:
            file["factor_bins/speed"], file["factor_bins/angle"] = [0.2, 0.5], [0.1, 0.9, 0.95]


def payload(path: Path) -> list[tuple[int, int]]:
    """Stretches of numbers, of texts and of where numbers start: HDF5's older layout keeps no checksum of them."""
    stored: list[tuple[int, int]] = []
    content = path.read_bytes()

    def add(_: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset):
            if entry.chunks is None:
                stored.append((entry.id.get_offset(), entry.id.get_storage_size()))
            else:
                entry.id.chunk_iter(lambda chunk: stored.append((chunk.byte_offset, chunk.size)))

    with h5py.File(path, "r") as file:
        file.visititems(add)
    places = [*stored, *((content.find(start.to_bytes(8, "little")), 8) for start, _ in stored)]
    # in the heap of texts, in a group's heap of names, in a link, in an attribute
    for text in (b"speed", b"angle", b"factor_bins", np.array([3, 3]).tobytes()):
        start = content.find(text)
        while start >= 0:
            places.append((start, len(text)))
            start = content.find(text, start + 1)
    return places


def damages(content: bytes, structure: np.ndarray, count: int) -> Iterator[bytes]:
    """Copies with a bit flipped, a byte or a number replaced, the end cut off, or a stretch copied over another."""
    for k in range(count):
        generator = np.random.default_rng((1, k))
        place, other = (int(i) for i in generator.choice(structure, 2))
        damaged = bytearray(content)
        if k % 5 == 0:
            damaged[place] ^= 1 << int(generator.integers(8))
        elif k % 5 == 1:
            damaged[place] = int(generator.integers(256))
        elif k % 5 == 2:
            extreme = _EXTREMES[generator.integers(len(_EXTREMES))]
            damaged[place : place + len(extreme)] = extreme
        elif k % 5 == 3:
            del damaged[place:]
        else:
            length = int(generator.integers(1, 64))
            damaged[place : place + length] = content[other : other + length]
        yield bytes(damaged[: len(content)])


def meaning(data: FactorDataset) -> list[Any]:
    arrays = [data.images(np.arange(len(data))), data.factors, data.factor_values]
    return [
        data.image_shape,
        data.factor_names,
        data.factor_sizes,
        *(None if array is None else array.tolist() for array in arrays),
    ]


def outcome(path: Path, expected: list[Any]) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damage may leave the images dark
            found = meaning(load_dataset("h5", path))
    except ValueError as error:
        return "refused" if str(path) in str(error) else f"without the file's name: {error}"
    except BaseException as error:
        return f"undocumented: {error!r}"
    return "equal" if found == expected else "another meaning"


def entry_is_gone(path: Path, sound: Path) -> bool:
    with h5py.File(path, "r") as file, h5py.File(sound, "r") as whole:
        return any(name not in file for name in whole) and bool((file["images"][:] == whole["images"][:]).all())


def check(folder: Path, kind: str, count: int) -> None:
    sound = folder / f"{kind}.h5"
    write(sound, kind)
    expected, content = meaning(load_dataset("h5", sound)), sound.read_bytes()
    untold = np.zeros(len(content), bool)
    for start, length in payload(sound):
        untold[start : start + length] = True
    report = folder / "report.jsonl"
    # a process of its own, so that a segmentation fault or an endless loop is seen and says where
    child = os.fork()
    if child == 0:
        signal.alarm(_SECONDS * max(1, count // 40))
        with report.open("w", buffering=1) as lines:
            for k, damaged in enumerate(damages(content, np.flatnonzero(~untold), count)):
                path = folder / f"damaged-{k}.h5"
                path.write_bytes(damaged)
                lines.write(json.dumps("crashed") + "\n")
                result = outcome(path, expected)
                whole, part = (np.frombuffer(c.ljust(len(content), b"\0"), np.uint8) for c in (content, damaged))
                changed = whole != part
                if result == "another meaning" and (changed & untold).any():
                    result = "another payload"
                elif result == "another meaning" and entry_is_gone(path, sound):
                    result = "an optional entry is gone"
                lines.write(json.dumps(result) + "\n")
                path.unlink()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    results = [json.loads(line) for line in report.read_text().splitlines()]
    assert os.waitstatus_to_exitcode(status) == 0, f"damage {len(results) // 2} ended the process: {status}"
    told = [result for result in results if result != "crashed"]
    assert len(told) == count
    wrong = [(k, result) for k, result in enumerate(told) if result not in ALLOWED]
    assert not wrong
    assert told.count("refused") > count // 10


_forks = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork"),
    # Python 3.12 warns of forking beside other threads, for locks that they may hold; the child here waits for none
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
pytestmark = _forks


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_by_name_or_changes_nothing(tmp_path: Path, kind: str) -> None:
    check(tmp_path, kind, 40)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_much_damage_is_refused_by_name_or_changes_nothing(tmp_path: Path, kind: str) -> None:
    check(tmp_path, kind, 400)
