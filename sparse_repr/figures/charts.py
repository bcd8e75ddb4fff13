"""The one style of all charts, and how figures become files (matplotlib imported inside)."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sparse_repr.files import write_bytes

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Colours of charts, those of Okabe and Ito, https://jfly.uni-koeln.de/color/, which people with any colour vision tell
apart; the palest come last."""
_STYLE: dict[Any, Any] = {
    # large enough to be read where the page shows a chart at half its size
    "font.size": 11,
    "axes.titlesize": 12,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "lines.linewidth": 1.6,
}
# text stays text, so that it can be searched, and the same chart is the same file
_VECTOR: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sparse-repr",
    "font.family": ["DejaVu Sans", "sans-serif"],
}
Arguments = ParamSpec("Arguments")
Drawn = TypeVar("Drawn")


def chart(draw: Callable[Arguments, Drawn]) -> Callable[Arguments, Drawn]:
    """Decorate a function that draws numbers: what it draws has the style and the colours of all charts."""

    @functools.wraps(draw)
    def styled(*given: Arguments.args, **named: Arguments.kwargs) -> Drawn:
        import matplotlib
        from matplotlib.rcsetup import cycler

        with matplotlib.rc_context({**_STYLE, "axes.prop_cycle": cycler(color=PALETTE)}):
            return draw(*given, **named)

    return styled


def panels_figure(down: int, across: int, width: float, height: float, **shared: Any) -> tuple[Any, Any]:
    """A figure of `width` x `height` inches and its axes, (down, across); no pyplot: no global state, no display.

    Args:
        down: rows of panels.
        across: panels of a row.
        width: of all.
        height: of all.
        shared: as of matplotlib's `subplots`, such as ``sharey``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(down, across, squeeze=False, **shared)


def add_note(figure: Any, text: str) -> None:
    """Say below a chart what its dots, bars and bands are."""
    figure.supxlabel(text, fontsize=9, color="0.35")


def save_chart(figure: Any, path: Path) -> None:
    """Write a chart as PNG and, beside it, as SVG, atomically, and close it.

    Args:
        figure: of matplotlib.
        path: of the PNG.
    """
    import matplotlib

    content = io.BytesIO()
    with matplotlib.rc_context(_VECTOR):
        figure.savefig(content, format="svg", bbox_inches="tight", metadata={"Date": None})
    write_bytes(path.with_suffix(".svg"), content.getvalue())
    save_figure(figure, path)


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure that is made of images as PNG, atomically, and close it: SVG would gain nothing."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120, bbox_inches="tight")
    write_bytes(path, content.getvalue())
    figure.clear()
