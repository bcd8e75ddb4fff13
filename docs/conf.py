"""The documentation site: every page of the repository, and the reference of the API from its docstrings.

`make docs` builds it into build/docs, with warnings as errors. The source is the repository itself, so that a page is
written once and its links hold there as here.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

project = "sparse-repr"
author = "the authors of sparse-repr"
release = importlib.metadata.version("sparse-repr")
root_doc = "docs/index"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/*.md",
    "docs/api/*.md",
    "docs/notebooks/*.ipynb",
    "envs/*.md",
    "experiments/*.md",
    "experiments/agents/*.md",
    "experiments/gpu/*.md",
    "experiments/paper/*.md",
    "experiments/results/*/*.md",
    "experiments/results/*/*/*/*.md",
    "rl/*.md",
    "sparse_repr/*/*.md",
]
exclude_patterns = ["build", ".venv", "runs"]
# generated tables have no title of their own, and are reached by the links of the pages that speak of them
suppress_warnings = ["toc.not_included"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # what is committed of a notebook is what ran; make notebooks runs them anew
myst_enable_extensions = ["colon_fence"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
html_theme = "furo"
html_title = "sparse-repr"
html_show_sourcelink = False
# docstrings are prose: one backtick is code, a star or a bar is itself
default_role = "literal"
_CODE = re.compile(r"(``.*?``|`.*?`)")


def _as_written(_app: Any, _kind: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    for place, line in enumerate(lines):
        if not line.lstrip().startswith((":", "..")):
            parts = _CODE.split(line)
            parts[::2] = [re.sub(r"(?<!\\)([*|])", r"\\\1", part) for part in parts[::2]]
            lines[place] = "".join(parts)


def _with_explorers(app: Any, error: Exception | None) -> None:
    """Put the explorers beside the page that shows them: they are whole pages, and no sources of any."""
    if error is None:
        shutil.copytree(ROOT / "docs/explorer", Path(app.outdir) / "docs/explorer", dirs_exist_ok=True)


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("build-finished", _with_explorers)
    app.connect("autodoc-process-docstring", _as_written, priority=400)
