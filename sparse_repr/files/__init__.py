"""Files: written atomically, read with care, and named as what they are."""

from sparse_repr.files.writing import (
    atomic_path,
    cache_folder,
    held_lock,
    remove_abandoned,
    removed_if_empty,
    replace_synced,
    require_space,
    write_bytes,
    write_json,
)

__all__ = [
    "atomic_path",
    "cache_folder",
    "held_lock",
    "remove_abandoned",
    "removed_if_empty",
    "replace_synced",
    "require_space",
    "write_bytes",
    "write_json",
]
