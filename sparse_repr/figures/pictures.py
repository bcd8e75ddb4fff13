"""Pictures of what a VAE has learned: reconstructions, traversals, mutual information (matplotlib imported inside)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sparse_repr.figures.charts import chart, panels_figure

_CIRCLE = 1 / 18
"""Radius of the circle around a keypoint, as a share of the picture's height."""
MOST_UNITS = 16
"""Units of a wide code that are drawn, the strongest first: more than these nobody looks at."""


def strongest_units(strengths: Sequence[float] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The units of a code to draw, at most 16, the strongest first; of equal ones that of lower number.

    >>> strongest_units([0.1, 2.0, 0.5]).tolist()
    [1, 2, 0]
    """
    return np.argsort(-np.asarray(strengths), kind="stable")[:MOST_UNITS]


def tile(rows: Sequence[Tensor]) -> Tensor:
    """Rows of images -> one picture with a one-pixel grey grid between them.

    Args:
        rows: R tensors (B, C, H, W) in 0..1.

    Returns:
        (C, R * (H + 1) - 1, B * (W + 1) - 1) in 0..1, on the CPU.
    """
    stacked = torch.stack([row.detach().float().cpu() for row in rows])  # (R, B, C, H, W)
    padded = nn.functional.pad(stacked, (0, 1, 0, 1), value=0.5)
    count, across, channels, height, width = padded.shape
    picture = padded.permute(2, 0, 3, 1, 4).reshape(channels, count * height, across * width)
    return picture[:, :-1, :-1]


def mark_keypoints(images: Tensor, x: Tensor, y: Tensor, presence: Tensor, *, enlarge: int = 1) -> Tensor:
    """Draw a circle around every keypoint, as opaque as it is present, in a colour of its own.

    Args:
        images: (B, 1 or 3, H, W) in 0..1.
        x: (B, K) places across, -1 (left edge) to 1.
        y: (B, K) places down, -1 (upper edge) to 1.
        presence: (B, K) in 0..1.
        enlarge: how much larger the picture is than the images.

    Returns:
        (B, 3, enlarge * H, enlarge * W) in 0..1.
    """
    pictures = images.expand(-1, 3, -1, -1).repeat_interleave(enlarge, 2).repeat_interleave(enlarge, 3)
    height, width = pictures.shape[-2:]
    rows, columns = torch.arange(height).to(x) + 0.5, torch.arange(width).to(x) + 0.5
    across = columns - (x[..., None] + 1) / 2 * width  # (B, K, W)
    down = rows - (y[..., None] + 1) / 2 * height
    distance = (down[..., :, None].square() + across[..., None, :].square()).sqrt()  # (B, K, H, W)
    radius, half = _CIRCLE * height, max(0.6, height / 150)
    opacity = (half + 0.5 - (distance - radius).abs()).clamp(0, 1) * presence.clamp(0, 1)[..., None, None]
    hues = torch.arange(x.shape[1]).to(x) / x.shape[1]
    for place, hue in enumerate(hues):
        wheel = (6 * hue + torch.tensor([0.0, 4.0, 2.0]).to(x)) % 6
        colour = ((wheel - 3).abs() - 1).clamp(0, 1)[:, None, None]  # (3, 1, 1)
        cover = opacity[:, place, None]
        pictures = pictures * (1 - cover) + colour * cover
    return pictures


def keypoints_figure(marked: Tensor, reconstructed: Tensor, title: str) -> Any:
    """Images with their keypoints, (B, 3, H, W) in 0..1 from `mark_keypoints`, above their reconstructions."""
    larger = marked.shape[-1] // reconstructed.shape[-1]
    below = reconstructed.expand(-1, 3, -1, -1).repeat_interleave(larger, 2).repeat_interleave(larger, 3)
    figure = _new_figure(1.4 * len(marked), 3.2)
    axes = figure.add_subplot()
    show_picture(axes, tile([marked, below]))
    height = marked.shape[-2] + 1
    axes.set_yticks([height / 2, height * 1.5], ["keypoints", "reconstruction"])
    axes.set_title(f"{title}; circles are as opaque as a keypoint is present", fontsize=9)
    return figure


def decode_traversals(
    decoder: nn.Module, code: Tensor, values: Tensor, units: npt.NDArray[np.int64] | None = None
) -> Tensor:
    """Decode a code with one unit at a time set to other values.

    Args:
        decoder: z (B, D) -> logits.
        code: (D,), the point that is varied.
        values: (U, V), what each unit is set to.
        units: (U,) which are varied; all D by default.

    Returns:
        (U, V, C, H, W) in 0..1.
    """
    count, steps = values.shape
    varied = torch.arange(count) if units is None else torch.from_numpy(units)
    codes = code.repeat(count, steps, 1)  # (U, V, D)
    codes[torch.arange(count), :, varied] = values.to(code)
    with torch.no_grad():
        decoded = torch.sigmoid(decoder(codes.flatten(0, 1)))
    return decoded.unflatten(0, (count, steps))


def quantile_values(codes: npt.NDArray[np.float32], steps: int) -> npt.NDArray[np.float32]:
    """Evenly spaced values between the 2.5 % and 97.5 % quantiles of each unit over the data: (N, D) -> (D, steps).

    Of a unit with many exact zeros the quantiles are those of its other values, and 0 is among what is spanned: one
    that is 0 in nearly all images would not move else.

    >>> quantile_values(np.array([[0.0], [0.0], [0.0], [2.0]]), 3)
    array([[0., 1., 2.]], dtype=float32)
    """
    ends = np.empty((2, codes.shape[1]))
    for unit, values in enumerate(codes.T):
        spoken = values[values != 0]
        if len(spoken) > 0.975 * len(values):
            ends[:, unit] = np.quantile(values, (0.025, 0.975))
        else:
            found = np.quantile(spoken, (0.025, 0.975)) if len(spoken) else np.zeros(2)
            ends[:, unit] = np.minimum(found[0], 0), np.maximum(found[1], 0)
    return np.linspace(ends[0], ends[1], steps, axis=1).astype(np.float32)


def _new_figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure  # no pyplot: no global state, no display needed

    return Figure(figsize=(width, height))


def show_picture(axes: Any, picture: Tensor) -> None:
    """Show a picture (C, H, W) in 0..1 in matplotlib axes, without ticks; one channel is grey."""
    pixels = picture.clamp(0, 1).permute(1, 2, 0).numpy()  # resizing may overshoot by a rounding
    axes.imshow(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
    axes.set_xticks([])
    axes.set_yticks([])


def reconstructions_figure(images: Tensor, reconstructed: Tensor, title: str) -> Any:
    """Images (B, C, H, W) in 0..1 above their reconstructions."""
    figure = _new_figure(0.9 * len(images), 2.2)
    axes = figure.add_subplot()
    show_picture(axes, tile([images, reconstructed]))
    height = images.shape[-2] + 1
    axes.set_yticks([height / 2, height * 1.5], ["image", "reconstruction"])
    axes.set_title(title, fontsize=9)
    return figure


def traversals_figure(pictures: Tensor, values: npt.NDArray[np.float32], names: Sequence[str], title: str) -> Any:
    """One row per unit: the picture while that unit moves through its posterior-quantile range.

    Args:
        pictures: (U, V, C, H, W) in 0..1.
        values: (U, V), what the unit was set to.
        names: U units, in words.
        title: above the picture.
    """
    figure = _new_figure(0.75 * pictures.shape[1], 0.75 * len(pictures))
    axes = figure.add_subplot()
    show_picture(axes, tile(list(pictures)))
    height = pictures.shape[-2] + 1
    labels = [f"{name}\n{span[0]:.1f} … {span[-1]:.1f}" for name, span in zip(names, values, strict=True)]
    axes.set_yticks([height * (row + 0.5) for row in range(len(labels))], labels, fontsize=7)
    axes.set_title(title, fontsize=9)
    return figure


@chart
def mutual_information_figure(
    matrix_nats: npt.NDArray[np.float64],
    factor_names: Sequence[str],
    factor_entropies_nats: npt.NDArray[np.float64],
    title: str,
) -> Any:
    """Heat map of the mutual information of each factor (row) with each unit (column), shaded by its share of H(v).

    Of a wide code the units that tell most of any factor are shown, in the order of their numbers.
    """
    shares = (matrix_nats / factor_entropies_nats[:, None]).max(axis=0)
    shown = np.sort(strongest_units(shares))
    if len(shown) < matrix_nats.shape[1]:
        title = f"{title}, {len(shown)} of {matrix_nats.shape[1]} units"
    matrix_nats = matrix_nats[:, shown]
    factors, units = matrix_nats.shape
    figure, ((axes,),) = panels_figure(1, 1, 2.4 + 0.62 * units, 1.4 + 0.5 * factors)
    axes.grid(visible=False)
    share = matrix_nats / factor_entropies_nats[:, None]
    image = axes.imshow(share, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(units), [f"unit {unit}" for unit in shown], rotation=45)
    axes.set_yticks(range(factors), factor_names)
    for row in range(factors):
        for column in range(units):
            shade = "white" if share[row, column] < 0.6 else "black"
            axes.text(
                column, row, f"{matrix_nats[row, column]:.2f}", ha="center", va="center", fontsize=10, color=shade
            )
    axes.set_title(f"{title} (nats)")
    figure.colorbar(image, ax=axes, label="share of the factor's entropy")
    return figure


@chart
def comparison_figure(rows: Sequence[Mapping[str, Any]], scores: Sequence[str]) -> Any:
    """One line of points per score, one colour per run, with 95 % intervals where the rows hold them.

    Args:
        rows: per run `run` and the scores (None where missing), beside `<score>_low` and `<score>_high`.
        scores: which to draw, each in 0..1.
    """
    figure, ((axes,),) = panels_figure(1, 1, 7.0, 1.6 + 0.34 * len(scores) + 0.22 * len(rows))
    for number, row in enumerate(rows):
        drawn = [position for position, score in enumerate(scores) if row[score] is not None]
        height = np.asarray(drawn) + 0.5 * ((number + 0.5) / len(rows) - 0.5)
        values = np.asarray([row[scores[position]] for position in drawn], dtype=np.float64)
        ends = np.asarray(
            [[_end(row, scores[position], end) for position in drawn] for end in ("low", "high")], dtype=np.float64
        )
        axes.errorbar(values, height, xerr=np.abs(ends - values), fmt="o", markersize=4, label=str(row["run"]))
    axes.set_yticks(range(len(scores)), scores)
    axes.set_xlim(-0.02, 1.02)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside lower center")
    if any(name.endswith("_low") for row in rows for name in row):
        axes.set_title("bars: 95 % intervals", fontsize=9, color="0.35", loc="right")
    return figure


def _end(row: Mapping[str, Any], score: str, end: str) -> float:
    """Where the interval of a score ends; at the score itself where it has none."""
    found = row.get(f"{score}_{end}")
    return float(row[score] if found is None else found)
