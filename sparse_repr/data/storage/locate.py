"""Where the user's own copy of a data set is: the path they gave, else the folder named by ``SPARSE_REPR_DATA``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def locate(
    dataset: str, path: Path | None, candidates: Sequence[str], *, advice: str, folder_itself: bool = False
) -> Path:
    """The file or folder to read a data set from.

    Args:
        dataset: name in `DATASETS`; a folder of that name is searched too.
        path: what the user gave: a file is taken as it is, a folder is searched for the candidates. None: the folder
            named by ``SPARSE_REPR_DATA`` is searched.
        candidates: names of files or folders, the best one first; one may be in a folder, as ``Img/a.zip``.
        advice: what to download, where to put it and what to do without; the end of the error message.
        folder_itself: a folder given as `path` that holds no candidate is itself the data.

    Raises:
        FileNotFoundError: `path` does not exist, or there is no candidate.
    """
    if path is not None:
        if not path.exists():
            raise FileNotFoundError(f"{dataset}: no such file or folder: {path}. {advice}")
        if not path.is_dir():
            return path
    environment = os.environ.get("SPARSE_REPR_DATA")
    place = path if path is not None else Path(environment).expanduser() if environment else None
    if place is not None:
        for folder in (place, place / dataset):
            for candidate in candidates:
                if (folder / candidate).exists():
                    return folder / candidate
        if path is not None and folder_itself:
            return path
    plain = [candidate for candidate in candidates if "/" not in candidate]  # not each place of the same file
    looked_in = f"in {place}" if place is not None else "because no path was given and SPARSE_REPR_DATA is not set"
    raise FileNotFoundError(f"{dataset}: found no {' or '.join(plain)} {looked_in}. {advice}")
