"""Pictures of what a VAE has learned, and the style of all charts."""

from __future__ import annotations

from sparse_repr.figures.charts import (
    PALETTE,
    add_note,
    chart,
    panels_figure,
    save_chart,
    save_figure,
)
from sparse_repr.figures.pictures import (
    MOST_UNITS,
    comparison_figure,
    decode_traversals,
    keypoints_figure,
    mark_keypoints,
    mutual_information_figure,
    quantile_values,
    reconstructions_figure,
    show_picture,
    strongest_units,
    tile,
    traversals_figure,
)

__all__ = [
    "MOST_UNITS",
    "PALETTE",
    "add_note",
    "chart",
    "comparison_figure",
    "decode_traversals",
    "keypoints_figure",
    "mark_keypoints",
    "mutual_information_figure",
    "panels_figure",
    "quantile_values",
    "reconstructions_figure",
    "save_chart",
    "save_figure",
    "show_picture",
    "strongest_units",
    "tile",
    "traversals_figure",
]
