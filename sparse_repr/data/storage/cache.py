"""One uint8 array kept in the cache folder: built once, slab by slab, then read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from sparse_repr.files import atomic_path, cache_folder, remove_abandoned, require_space

_Bytes = npt.NDArray[np.uint8]


def cached_array(
    stem: str,
    shape: tuple[int, ...],
    build: Callable[[], Iterable[_Bytes]],
    *,
    purpose: str,
    memory_map: bool = False,
) -> _Bytes:
    """The array stored as `stem`.npy in the cache folder; built and stored there first when missing or damaged.

    Args:
        stem: names the content: whatever changes a byte of it (source file, geometry version) must change the name.
        shape: shape of the whole array.
        build: called only when there is no good copy; yields the rows in order, in slabs of any length.
        purpose: what the file is, for the message when there is no room, e.g. ``"the dSprites cache"``.
        memory_map: leave the pixels on disk, read-only, instead of reading them all into memory.

    Raises:
        OSError: the folder cannot be written or has no room; no partial file is left behind.
    """
    path = cache_folder() / f"{stem}.npy"

    def load() -> _Bytes | None:
        try:
            array = np.load(path, mmap_mode="r" if memory_map else None, allow_pickle=False)
        except Exception:  # numpy raises nearly any type on a damaged header
            return None
        return np.asarray(array) if array.dtype == np.uint8 and array.shape == shape else None

    stored = load() if path.is_file() else None
    if stored is not None:
        return stored
    size = int(np.prod(shape, dtype=np.int64))
    remove_abandoned(path)
    require_space(path.parent, int(1.05 * size), f"{purpose} (folder: SPARSE_REPR_CACHE)")
    slabs = []
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        # plain writes, not a memory map: a disk that fills up is then an OSError instead of a bus error
        for slab in build():
            file.write(np.ascontiguousarray(slab).data)
            if not memory_map:
                slabs.append(slab)
    if memory_map:
        stored = load()
        assert stored is not None, f"{path} was written a moment ago"
        return stored
    return slabs[0] if len(slabs) == 1 else np.concatenate(slabs)
