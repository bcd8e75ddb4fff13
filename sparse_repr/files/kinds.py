"""What lies under a data file's name when it is no data: a web page, a pointer of git-lfs, nothing at all."""

from __future__ import annotations

import re
from pathlib import Path

# Where an error page ends is of no interest, but comments and blank lines may stand before its first tag.
_FIRST_BYTES = 4096
_WEB_PAGE = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).)*-->\s*)*<(?:!doctype\s+html|html|head|body|title|script)\b",
    re.S | re.I,
)
_XML = re.compile(rb"\s*<(?:\?xml\b|error\b)", re.IGNORECASE)
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def found_instead(first_bytes: bytes) -> str | None:
    """What a file is that cannot be data, and what to do about it; None for anything that may be data.

    Args:
        first_bytes: the file's beginning, some kilobytes or all of it.
    """
    if not first_bytes:
        return "an empty file; download it again"
    start = first_bytes[:_FIRST_BYTES].removeprefix(b"\xef\xbb\xbf")
    if start.startswith(_LFS_POINTER):
        return "a pointer of git-lfs, which stands for the file; run git lfs pull where it came from"
    if _WEB_PAGE.match(start):
        return (
            "a web page (HTML), such as a server sends when its quota is exceeded or a login is needed; open the link "
            "in a browser to see what it says, and download the file itself"
        )
    if _XML.match(start):
        return "an XML message, such as a server sends in place of a file; read it, and download the file itself"
    return None


def refuse_foreign(path: Path, expected: str) -> None:
    """Refuse what cannot be a file of data, before anything tries to read it as one.

    Args:
        path: an existing file.
        expected: what it should be, in words, such as ``"an HDF5 file"``.

    Raises:
        ValueError: not a regular file (reading a pipe would wait for ever), or not data; the message names the file,
            what it is and what to do.
        OSError: it cannot be opened.
    """
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe or device" if path.exists() else "nothing"
        raise ValueError(f"{path}: expected {expected}, found {kind}; name the file itself")
    with path.open("rb") as file:
        found = found_instead(file.read(_FIRST_BYTES))
    if found is not None:
        raise ValueError(f"{path}: expected {expected}, found {found}")
