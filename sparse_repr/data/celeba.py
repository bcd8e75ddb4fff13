"""CelebA: 202,599 photographs of faces, from the user's own copy.

Liu, Luo, Wang and Tang, "Deep Learning Face Attributes in the Wild" (ICCV 2015). The pictures are for non-commercial
research and must not be redistributed; this package neither carries nor downloads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sparse_repr.data.base import FactorDataset, IntArray
from sparse_repr.data.storage.decoding import Preparation
from sparse_repr.data.storage.locate import locate
from sparse_repr.data.storage.picture_cache import cached_pictures
from sparse_repr.data.storage.pictures import Pictures
from sparse_repr.files.kinds import refuse_foreign

__all__ = ["load_celeba"]

# The usual crop of the aligned 178x218 pictures is the centre 148x148; a share of the width, so that copies at another
# size give the same view.
CROP = 148 / 178
_ADVICE = (
    "Download img_align_celeba.zip (Align&Cropped Images, 1.4 GB) from the CelebA page "
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and name the file, or the folder that holds it, as the data "
    "path (--data-path), or put it into the folder named by SPARSE_REPR_DATA. Without the files, the data set 'faces' "
    "(--dataset faces) is the drawn stand-in that needs no download"
)


def load_celeba(
    path: Path | None = None, *, image_size: int = 64, progress: bool = True, in_memory: bool | None = None
) -> FactorDataset:
    """CelebA photographs of faces from the user's own copy, centre-cropped, in colour.

    Beside the pictures, or in Anno and Eval as in the official copy, ``list_attr_celeba.txt`` (40 attributes, -1 or 1)
    becomes 40 factors of two values, and ``list_eval_partition.txt`` (0 train, 1 validation, 2 test) the partition:
    test is held out. Without a partition the last 10 % by name are held out.

    Args:
        path: ``img_align_celeba.zip``, a folder of its JPEGs, or a folder that holds either. Without it the folder
            named by ``SPARSE_REPR_DATA`` is searched.
        image_size: height and width of the images in pixels.
        progress: show a progress bar on the first use, while pictures are decoded.
        in_memory: hold the images in memory (True) or read each batch from the cache (False); None chooses by size.

    Returns:
        Images uint8 (3, image_size, image_size), sorted by file name.

    Raises:
        FileNotFoundError: no copy found; the message says what to download and what stands in.
        ValueError: a damaged archive, more than 1 % unreadable pictures, or an attribute or partition file that does
            not fit; the message names the file.
        OSError: no room for the cached copy.
    """
    names_of_copies = ("img_align_celeba.zip", "img_align_celeba")
    candidates = (*names_of_copies, *(f"Img/{name}" for name in names_of_copies))
    place = locate("celeba", path, candidates, advice=_ADVICE, folder_itself=True)

    def choose(pictures: Pictures) -> tuple[Sequence[str], Preparation]:
        if not pictures.names:
            raise FileNotFoundError(f"celeba: found no picture in {place}. {_ADVICE}")
        return pictures.names, Preparation(3, image_size, image_size, CROP)

    images = cached_pictures(
        "celeba",
        place,
        {"image_size": image_size},
        choose,
        progress=progress,
        in_memory=in_memory,
    )
    names = [name.rpartition("/")[2] for name in images.names]
    attribute_file = _beside(place, "list_attr_celeba")
    partition_file = _beside(place, "list_eval_partition")
    attribute_names: tuple[str, ...] = ()
    factors: IntArray | None = None
    if attribute_file is not None:
        attribute_names, attributes = _read_table(attribute_file, names, header=True)
        _check_values(attribute_file, attributes, (-1, 1))
        factors = (attributes > 0).astype(np.int64)
    partition = None
    if partition_file is not None:
        _, columns = _read_table(partition_file, names, header=False)
        _check_values(partition_file, columns, (0, 1, 2))
        partition = columns[:, 0]
    return FactorDataset(
        name="celeba",
        store=images.store,
        source=str(place),
        factor_names=attribute_names,
        factor_sizes=(2,) * len(attribute_names),
        factors=factors,
        factor_values=None if factors is None else factors.astype(np.float32),
        partition=partition,
    )


def _beside(place: Path, stem: str) -> Path | None:
    """The file of that stem, as .txt or .csv, with the pictures, up to two folders above, or in Anno or Eval there.

    The official copy has Img, Anno and Eval side by side; others put one folder of pictures into another.
    """
    place = place.resolve()
    above = (place, *place.parents[:2]) if place.is_dir() else place.parents[:2]
    for folder in (each / within for each in above for within in ("", "Anno", "Eval")):
        for suffix in (".txt", ".csv"):  # the same tables travel as .csv too
            if (folder / f"{stem}{suffix}").is_file():
                return folder / f"{stem}{suffix}"
    return None


def _read_table(path: Path, names: Sequence[str], *, header: bool) -> tuple[tuple[str, ...], npt.NDArray[np.int8]]:
    """The rows of `names` in a table "name value value ...": column names and int8 (n, columns).

    With `header` the first line of names is preceded by a line that holds their count; a .csv has one header line.
    """
    refuse_foreign(path, "a table of the pictures")
    lines = path.read_text(encoding="utf-8", errors="replace").replace(",", " ").splitlines()
    columns: tuple[str, ...] = ()
    if path.suffix == ".csv":
        columns, lines = tuple(lines[0].split()[1:]) if lines else (), lines[1:]
    elif header:
        columns, lines = tuple(lines[1].split()) if len(lines) > 1 else (), lines[2:]
    rows = {name: values for name, _, values in (line.partition(" ") for line in lines)}
    width = len(columns) if header else 1
    try:
        # loadtxt passes over empty lines, which would shift the rows
        table = np.loadtxt([rows[name].strip() or "missing" for name in names], dtype=np.int8, ndmin=2)
    except KeyError as error:
        raise ValueError(
            f"{path}: expected a line for every picture, found none for {error.args[0]}; get the file that came with "
            "the pictures, or move it away to load them without it"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path}: expected {width} whole numbers after each file name ({error})") from error
    if table.shape != (len(names), width):
        raise ValueError(f"{path}: expected {width} values after each file name, found {table.shape[1]}")
    return columns, table


def _check_values(path: Path, table: npt.NDArray[np.int8], allowed: tuple[int, ...]) -> None:
    if not np.isin(table, allowed).all():
        raise ValueError(f"{path}: expected the values {allowed}, found {np.unique(table)[:5].tolist()}")
