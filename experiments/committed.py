"""Reading committed results and laying them out as tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results"


def read_results(name: str) -> dict[str, Any]:
    """Content of a JSON file in `experiments/results`."""
    return dict(json.loads((RESULTS / name).read_text(encoding="utf-8")))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
