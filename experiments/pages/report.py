"""Self-contained HTML reports: every picture is inside the file."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from sparse_repr.files import write_bytes


def replace_between(page: str, name: str, text: str) -> str:
    """The page with what stands between ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->`` replaced by `text`.

    Raises:
        ValueError: the page lacks a mark.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if begin not in page or end not in page:
        raise ValueError(f"the page needs the marks {begin} and {end}")
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{text.strip()}\n{end}{rest.partition(end)[2]}"


def embed_picture(path: Path) -> str:
    """A picture's file, such as .png or .gif, as a data URL."""
    return _as_url(path.suffix[1:], path.read_bytes())


def _as_url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def embed_figure(figure: Any) -> str:
    """A matplotlib figure as a data URL."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    return _as_url("png", buffer.getvalue())


def write_report(path: Path, template: str, values: Mapping[str, Any]) -> None:
    """Fill a template of `experiments/pages/templates` and write it atomically; a missing value is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("experiments.pages"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    write_bytes(path, environment.get_template(template).render(**values).encode())
