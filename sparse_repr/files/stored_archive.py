"""Zip archives that hold everything uncompressed, as torch, numpy and our own files do."""

from __future__ import annotations

import io
import zipfile


def read_stored_archive(content: bytes) -> dict[str, bytes]:
    """Every member of an archive, in memory, after its checksum was compared; nothing can grow to more than the file.

    Args:
        content: the whole file.

    Returns:
        Content of each member by name, in the order of the archive.

    Raises:
        ValueError: damaged, compressed, or a name stands there twice; says what, but not of which file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            for member in members:
                if member.compress_type != zipfile.ZIP_STORED or member.file_size > len(content):
                    raise ValueError(f"{member.filename!r} is compressed")
            if len({member.filename for member in members}) < len(members):
                raise ValueError("a name stands there twice")
            return {member.filename: archive.read(member) for member in members}
    except ValueError:
        raise
    except Exception as error:  # zipfile raises whatever its parts do
        raise ValueError(f"{error}" or type(error).__name__) from error
