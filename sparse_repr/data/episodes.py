"""Frames of episodes that others recorded: Minari data sets, and the HDF5 files of stable-worldmodel."""

from __future__ import annotations

import dataclasses
import io
import os
import re
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from sparse_repr.data.base import FactorDataset, ImageArray, IntArray
from sparse_repr.data.own_factors import factor_names, factor_units
from sparse_repr.data.pixel_range import warn_of_dark_images
from sparse_repr.data.recorded import bin_factors
from sparse_repr.data.storage.hdf5_files import entries, find_dataset, open_hdf5, read_dataset
from sparse_repr.data.storage.image_cache import CacheKey, ImageStream, Slab, cached_images
from sparse_repr.data.storage.pictures import fingerprint
from sparse_repr.files.json_reader import Shape, many, number, read_json, require

_MAIN = "main_data.hdf5"
_EPISODE = re.compile(r"episode_(\d+)")
_PIXELS = "pixels"
_ROWS = 512
_JPEG = b"\xff\xd8"
_LARGEST_PIXELS = 64 * 1024**2
_BINS: Shape = {"factor_bins": many(many(number()))}


def load_minari(path: Path | None = None, *, progress: bool = True, in_memory: bool | None = None) -> FactorDataset:
    """The observations of a Minari data set, where they are pictures or hold some.

    Factors are known where `rl.record` wrote it: those of the infos, with the names and bins of its metadata.

    Read from its HDF5 file by this package (Minari need not be installed), episode after episode, each with its last
    observation; brought once into the cache. JPEG frames, as Minari writes pictures by default, are decoded.

    Args:
        path: the data set's folder, or its name below ``~/.minari/datasets`` (or `MINARI_DATASETS_PATH`), such as
            ``D4RL/door/human-v2``; of a Dict observation with several pictures, one is named behind ``#``:
            ``FOLDER#agentview/rgb``.
        progress: show a progress bar on the first use.
        in_memory: hold the images in memory (True) or read each batch from the cache (False); None chooses by size.

    Raises:
        ValueError: no path, no pictures in it, several and none named, or a damaged file.
        FileNotFoundError: no such data set.
        OSError: no room for the cached copy.
    """
    if path is None:
        raise ValueError("data set 'minari' needs a path (--data-path): the folder of a Minari data set, or its name")
    file_path, key = _minari_file_and_key(str(path))
    with open_hdf5(file_path) as file:
        numbers = sorted(int(found[1]) for name in file if (found := _EPISODE.fullmatch(name)))
        if not numbers:
            raise ValueError(f"{file_path}: needs episodes (episode_0, …) of Minari, found {entries(file_path, file)}")
        place = _pictures_among(file_path, file, numbers[0], key)
    names = [f"episode_{number}/{place}" for number in numbers]
    data = _loaded("minari", file_path, names, progress=progress, in_memory=in_memory)
    return _with_factors(data, file_path, [f"episode_{number}/infos/factors" for number in numbers])


def load_stable_worldmodel(
    path: Path | None = None, *, progress: bool = True, in_memory: bool | None = None
) -> FactorDataset:
    """The column ``pixels`` of an HDF5 file of stable-worldmodel: every frame of every episode, without known factors.

    Args:
        path: the file; uint8 (N, H, W, C) or (N, C, H, W), C = 1 or 3.
        progress: show a progress bar on the first use.
        in_memory: hold the images in memory (True) or read each batch from the cache (False); None chooses by size.

    Raises:
        ValueError: no path, or a file without such a column.
        FileNotFoundError: no such file.
        OSError: no room for the cached copy.
    """
    if path is None:
        raise ValueError("data set 'stable_worldmodel' needs a path (--data-path): an HDF5 file with a column pixels")
    if not path.is_file():
        raise FileNotFoundError(f"no HDF5 file at {path}")
    with open_hdf5(path) as file:
        if _PIXELS not in file:
            raise ValueError(f"{path}: needs a column {_PIXELS!r}, found {entries(path, file)}")
    return _loaded("stable_worldmodel", path, [_PIXELS], progress=progress, in_memory=in_memory)


def _with_factors(data: FactorDataset, path: Path, places: Sequence[str]) -> FactorDataset:
    """The data set with the factors that each episode's infos hold, where the metadata names them."""
    about = path.with_name("metadata.json")
    metadata = read_json(about) if about.is_file() else {}
    if "factor_names" not in metadata:
        return data
    names = factor_names(metadata["factor_names"], f"{about}: factor_names")
    nominal = factor_names(metadata.get("nominal_factors", ()), f"{about}: nominal_factors")
    with open_hdf5(path) as file:
        found = [find_dataset(path, file, place) for place in places]
        rows = [read_dataset(path, part) for part in found if part is not None]
    if len(rows) != len(places) or any(row.ndim != 2 or row.shape[1] != len(names) for row in rows):
        raise ValueError(f"{path}: needs infos/factors (T + 1, {len(names)}) in every episode, as {about.name} says")
    values = factor_units(np.concatenate(rows), f"{path}: infos/factors")
    if len(values) != len(data):
        raise ValueError(f"{path}: needs factors for each of {len(data)} frames, found {len(values)}")
    factors: IntArray | None = None
    sizes: tuple[int, ...] = ()
    if metadata.get("factor_bins"):
        require(metadata, _BINS, str(about))
        edges = metadata["factor_bins"]
        try:
            factors, sizes = bin_factors(values, edges), tuple(len(row) + 1 for row in edges)
        except ValueError as error:
            raise ValueError(f"{about}: factor_bins: {error}") from error
    return dataclasses.replace(
        data, factor_names=names, factor_sizes=sizes, factors=factors, factor_values=values, nominal_factors=nominal
    )


_MOST_NAMED = 10


def _minari_file_and_key(text: str) -> tuple[Path, str]:
    """The file, and which pictures of it were named behind the last #; a folder may have one in its name too."""
    try:
        return _minari_file(Path(text)), ""
    except FileNotFoundError:
        place, hash_sign, key = text.rpartition("#")
        if not hash_sign:
            raise
        return _minari_file(Path(place)), key


def _minari_file(place: Path) -> Path:
    home = Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets")
    for folder in (place, home / place):
        for file in (folder, folder / _MAIN, folder / "data" / _MAIN):
            if file.is_file():
                return file
    if place.is_dir():
        raise ValueError(f"{place}: needs data/{_MAIN}, as Minari writes it (its arrow format is not read here)")
    raise FileNotFoundError(f"no Minari data set at {place}, nor below {home}: minari download {place} gets one")


def _pictures_among(path: Path, file: Any, first: int, key: str) -> str:
    """Where the pictures of an episode are, below its group."""
    start = "observations" + (f"/{key}" if key else "")
    found = [name for name in _datasets_below(file, f"episode_{first}", start) if _is_of_pictures(path, file, name)]
    places = [name.split("/", 1)[1] for name in found]
    if len(places) == 1:
        return places[0]
    if not places:
        there = _datasets_below(file, f"episode_{first}", "observations")[:_MOST_NAMED]
        entries = [f"{name.split('/', 1)[1]}: {file[name].dtype} {file[name].shape}" for name in there]
        raise ValueError(
            f"{path}: {start} of episode {first} has no pictures: it needs uint8 (T, H, W, C) or (T, C, H, W) with C "
            f"= 1 or 3, or JPEG, found {', '.join(entries) or 'nothing'}; a data set of states alone cannot be trained "
            "on"
        )
    keys = [place.removeprefix("observations/") for place in places]
    raise ValueError(
        f"{path}: the observations have several pictures: name one behind the path, such as …#{keys[0]} "
        f"({', '.join(keys)})"
    )


def _datasets_below(file: Any, episode: str, start: str) -> list[str]:
    """Names of the data sets at or below a place; links are left out."""
    group = file[episode]
    if start not in group:
        return []
    if not hasattr(group[start], "keys"):
        return [f"{episode}/{start}"]
    return [name for key in group[start] for name in _datasets_below(file, episode, f"{start}/{key}")]


def _is_of_pictures(path: Path, file: Any, name: str) -> bool:
    found = find_dataset(path, file, name)
    if found is None or not len(found):
        return False
    if found.ndim == 4:
        return found.dtype == np.uint8 and _layout(found.shape[1:]) is not None
    return found.ndim in (1, 2) and _compressed(found[0])


def _compressed(row: Any) -> bool:
    return isinstance(row, np.ndarray) and row.dtype == np.uint8 and row[:2].tobytes() == _JPEG


def _layout(shape: Sequence[int]) -> str | None:
    if shape[-1] in (1, 3):
        return "HWC"
    return "CHW" if shape[0] in (1, 3) else None


def _loaded(kind: str, path: Path, names: Sequence[str], *, progress: bool, in_memory: bool | None) -> FactorDataset:
    """The images of some data sets of one file, one after another."""
    with open_hdf5(path) as file:
        count = sum(len(_checked(path, file, name)) for name in names)
        first = _frames(path, _checked(path, file, names[0]), slice(0, 1))
    key = CacheKey(kind, path, fingerprint(path), {"place": names[0]})

    def build() -> ImageStream:
        return ImageStream(count, first.shape[1:], _slabs(path, names, count, first.shape[1:], progress))

    images = cached_images(key, build, in_memory=in_memory)
    return warn_of_dark_images(FactorDataset(name=kind, store=images.store, source=str(path)))


def _checked(path: Path, file: Any, name: str) -> Any:
    found = find_dataset(path, file, name)
    if found is None:
        raise ValueError(f"{path}: has no {name}; every episode needs one")
    if not _is_of_pictures(path, file, name):
        raise ValueError(
            f"{path}: {name} needs pictures, uint8 (N, H, W, C) or (N, C, H, W) with C = 1 or 3, or JPEG, found "
            f"{found.dtype} {found.shape}"
        )
    return found


def _slabs(
    path: Path, names: Sequence[str], count: int, shape: tuple[int, ...], progress: bool
) -> Generator[Slab, None, None]:
    with (
        open_hdf5(path) as file,
        tqdm(total=count, desc=f"unpacking {path.name}", unit="img", disable=not progress) as bar,
    ):
        for name in names:
            found = _checked(path, file, name)
            for start in range(0, len(found), _ROWS):
                frames = _frames(path, found, slice(start, start + _ROWS))
                if frames.shape[1:] != shape:
                    raise ValueError(f"{path}: {name} has frames of {frames.shape[1:]}, the first one is {shape}")
                yield Slab(frames)
                bar.update(len(frames))


def _frames(path: Path, found: Any, rows: slice) -> ImageArray:
    """Some rows of a data set of pictures as uint8 (n, C, H, W)."""
    held = read_dataset(path, found, rows)
    frames = held if held.ndim == 4 else np.stack([_decoded(path, row) for row in held])
    if _layout(frames.shape[1:]) == "HWC":
        frames = frames.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(frames)


def _decoded(path: Path, row: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(row.tobytes()), formats=["JPEG"]) as picture:
            if picture.width * picture.height > _LARGEST_PIXELS:
                raise ValueError(f"{picture.width}x{picture.height} pixels")
            pixels = np.asarray(picture)
    except Exception as error:  # Pillow raises many kinds for damaged pictures
        raise ValueError(f"{path}: a frame cannot be decoded ({error}); get the data set again") from error
    return pixels[..., None] if pixels.ndim == 2 else pixels
