"""What is committed: results that hold no place of the machine that made them, read back and laid out as tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparse_repr.files.json_reader import read_json

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"
PLACES = ("run_dir", "data_path", "perceptual_weights_path")
"""Settings of a run that name a place of the machine."""
_DIGITS = 6
# an absolute path behind nothing, a blank or a quote; "PSNR/SSIM" and "images/s" are none
_PATH = re.compile(r"""(?<![^\s'"(=])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'"()]+[/\\])*([^\s/\\'"()]+)""")


def read_results(name: str) -> dict[str, Any]:
    """Content of a JSON file in `experiments/results`."""
    return dict(read_json(RESULTS / name))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def portable(content: Any) -> Any:
    """JSON content with floats of 6 significant digits and of every absolute path its last part alone."""
    if isinstance(content, dict):
        return {key: portable(value) for key, value in content.items()}
    if isinstance(content, list):
        return [portable(value) for value in content]
    if isinstance(content, float):
        return float(f"{content:.{_DIGITS}g}")
    return _PATH.sub(r"\1", content) if isinstance(content, str) else content
