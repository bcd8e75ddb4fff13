"""The paper's figures from the run folders of a study: reconstructions side by side, one block per traversed unit."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from experiments.paper.cells import METHODS, PAPER_NAMES, STAND_INS
from experiments.paper.results import StudyResults
from experiments.paper.runs import RECORD, Finished
from sparse_repr.data import load_dataset
from sparse_repr.encoder.vae import load_vae
from sparse_repr.figures import decode_traversals, save_figure, show_picture, tile

PHOTOGRAPHS = "celeba"
"""Data set whose pictures, and reconstructions of them, must not be published; traversals from the prior may be."""
RECONSTRUCTIONS = {"dsprites": 1, "celeba": 2}
"""Data set of the paper -> number of its figure of reconstructions."""
TRAVERSALS = {"dsprites": 3, "celeba": 4, "chairs": 5}
"""Data set of the paper -> number of its figure of traversals."""
USED_NATS = 0.1
"""A unit whose KL divergence is lower carries nothing, and traversing it shows nothing."""

_COLUMNS = 10
_EXAMPLES = 3
_VALUES = 7
_DEVIATIONS = 2.0
_BLOCKS_ACROSS = 3
# a unit is named by a factor where it tells this much about it, and about no other factor half as much
_LEAST_NATS = 0.2
_TIMES_THE_NEXT = 2.0


@dataclasses.dataclass(frozen=True)
class PaperFigure:
    """A figure that can be drawn from finished cells."""

    name: str
    """Of its file, without the ending."""
    title: str
    caption: str
    publishable: bool
    """Whether it shows nothing that must not be passed on."""
    of_all_methods: bool
    """Whether it shows every method that is finished, not a single one."""
    cells: Sequence[Finished]
    """What it shows."""
    draw: Callable[[], Any]
    """Gives the matplotlib figure; reads weights and, mostly, data.

    Raises FileNotFoundError or ValueError where the data or the weights are not to be had here.
    """


class Informed(NamedTuple):
    """The factor that a unit informs about, and how much."""

    factor: str
    share: float
    """Mutual information over the factor's entropy, 0..1."""


def informed_about(report: Mapping[str, Any], unit: int) -> Informed | None:
    """The factor that a unit tells clearly most about; None where it is not clear, or no factor is known.

    Clearly: at least 0.2 nats of mutual information, and twice as much as about any other factor.
    """
    scores = report.get("disentanglement") or {}
    if "mutual_information_nats" not in scores:
        return None
    nats = np.asarray(scores["mutual_information_nats"])[:, unit]
    order = np.argsort(-nats)
    first = order[0]
    if nats[first] < _LEAST_NATS or (len(order) > 1 and nats[first] < _TIMES_THE_NEXT * nats[order[1]]):
        return None
    share = float(nats[first] / scores["factor_entropies_nats"][first])
    return Informed(scores["factor_names"][first].replace("_", " "), share)


def used_units(report: Mapping[str, Any]) -> list[int]:
    """Units that carry something, those that carry most first."""
    kl = np.asarray(report["codes"]["kl_nats_per_unit"])
    return [int(unit) for unit in np.argsort(-kl, kind="stable") if kl[unit] >= USED_NATS]


def figures_of(results: StudyResults) -> list[PaperFigure]:
    """The figures of what is finished, in the paper's order, of every arm's least seed; traversals one per method."""
    found: list[PaperFigure] = []
    by_paper: dict[str, list[str]] = {name: [] for name in TRAVERSALS}
    for dataset in results.datasets():
        by_paper[PAPER_NAMES[dataset]].append(dataset)
    chosen = {
        dataset: {
            method: min(entries, key=lambda entry: int(entry.record["seed"]))
            for method, entries in results.arms(dataset).items()
        }
        for dataset in results.datasets()
    }
    for paper_name, number in RECONSTRUCTIONS.items():
        found += [_reconstructions(number, name, chosen[name]) for name in by_paper[paper_name] if chosen[name]]
    for paper_name, number in TRAVERSALS.items():
        found += [_traversals(number, entry) for name in by_paper[paper_name] for entry in chosen[name].values()]
    return found


def _stands_in(dataset: str) -> str:
    return f", drawn in place of {PAPER_NAMES[dataset]}" if dataset in STAND_INS.values() else ""


def _reconstructions(number: int, dataset: str, entries: Mapping[str, Finished]) -> PaperFigure:
    secret = dataset == PHOTOGRAPHS
    caption = f"Originals of {dataset}{_stands_in(dataset)}, and what each method's least seed makes of their codes."
    if secret:
        caption += " These are photographs of people: the picture stays in the folder of the study."
    return PaperFigure(
        name=f"fig{number}-{dataset}",
        title=f"Figure {number}. Reconstruction of {dataset}",
        caption=caption,
        publishable=not secret,
        of_all_methods=True,
        cells=tuple(entries.values()),
        draw=functools.partial(_draw_reconstructions, entries),
    )


def _draw_reconstructions(entries: Mapping[str, Finished]) -> Any:
    models = {method: load_vae(entry.folder) for method, entry in entries.items()}
    read = _images(next(iter(entries.values())), _COLUMNS)
    rows: dict[str, Tensor] = {}
    for method, (vae, spec) in models.items():
        images = spec.preprocessing(read)
        rows.setdefault("original", images)
        with torch.no_grad():
            decoded = torch.sigmoid(vae.decoder(vae.encoder(images).mean))
        rows[f"{_short(method)}\n{entries[method].record['steps']:,} steps"] = decoded
    return side_by_side_figure(rows)


def _short(method: str) -> str:
    return METHODS[method].title.partition(" (")[0]


def _traversals(number: int, entry: Finished) -> PaperFigure:
    record, report = entry.record, entry.report
    dataset, method = record["dataset"], record["method"]
    units = used_units(report)
    named = {unit: informed for unit in units if (informed := informed_about(report, unit)) is not None}
    start = "samples of the prior" if dataset == PHOTOGRAPHS else "codes of images"
    words = [
        f"{_short(method)} on {dataset}{_stands_in(dataset)}, seed {record['seed']}, {record['steps']:,} steps.",
        f"One block per unit, those that carry most first: one row per example ({start}), the unit moved from two "
        "standard deviations below its mean over the data to two above.",
        f"{len(units)} of {len(report['codes']['kl_nats_per_unit'])} units carry at least {USED_NATS} nats.",
    ]
    factors = (report.get("disentanglement") or {}).get("factor_names", [])
    if factors:
        found = {informed.factor for informed in named.values()}
        missed = [name.replace("_", " ") for name in factors if name.replace("_", " ") not in found]
        words.append(
            "Titles name the factor that the unit tells clearly most about, and which share of its entropy; "
            f"no unit stands for {', '.join(missed)}."
            if missed
            else "Titles name the factor that the unit tells clearly most about, and which share of its entropy."
        )
    return PaperFigure(
        name=f"fig{number}-{dataset}-{method}",
        title=f"Figure {number}. Traversals of {dataset}: {METHODS[method].title}",
        caption=" ".join(words),
        publishable=True,
        of_all_methods=False,
        cells=(entry,),
        draw=functools.partial(_draw_traversals, entry),
    )


def _draw_traversals(entry: Finished) -> Any:
    report = entry.report
    dataset = entry.record["dataset"]
    mean, std = (np.asarray(report["codes"][f"{name}_per_unit"], np.float32) for name in ("mean", "std"))
    values = mean[:, None] + std[:, None] * np.linspace(-_DEVIATIONS, _DEVIATIONS, _VALUES, dtype=np.float32)
    vae, spec = load_vae(entry.folder)
    if dataset == PHOTOGRAPHS:
        codes = torch.randn(_EXAMPLES, len(mean), generator=torch.Generator().manual_seed(0))
    else:
        with torch.no_grad():
            codes = vae.encoder(spec.preprocessing(_images(entry, _EXAMPLES))).mean
    units = used_units(report)
    # (examples, D, V, C, H, W)
    pictures = torch.stack([decode_traversals(vae.decoder, code, torch.from_numpy(values)) for code in codes])
    titles = [_block_title(report, unit) for unit in units]
    return blocks_figure([pictures[:, unit] for unit in units], titles)


def _block_title(report: Mapping[str, Any], unit: int) -> str:
    informed = informed_about(report, unit)
    title = f"unit {unit}, {report['codes']['kl_nats_per_unit'][unit]:.2f} nats"
    return title if informed is None else f"{title}: {informed.factor} ({100 * informed.share:.0f} %)"


def _images(entry: Finished, count: int) -> Tensor:
    """Random images (n, C, H, W) of a cell's data, held-out ones where there are some; the same for every method."""
    training = entry.record["training"]
    data = load_dataset(training["dataset"], training.get("data_path"))
    train, held_out = data.split
    items = np.random.default_rng(2).permutation(held_out if len(held_out) else train)[:count]
    return torch.from_numpy(data.images(items))


def side_by_side_figure(rows: Mapping[str, Tensor]) -> Any:
    """Rows of pictures, the same images in the same column.

    Args:
        rows: label -> (B, C, H, W) in 0..1.
    """
    from matplotlib.figure import Figure

    count, across = len(rows), len(next(iter(rows.values())))
    figure = Figure(figsize=(0.72 * across, 0.72 * count))
    axes = figure.add_axes((0, 0, 1, 1))
    show_picture(axes, tile(list(rows.values())))
    height = next(iter(rows.values())).shape[-2] + 1
    axes.set_yticks([height * (row + 0.5) for row in range(count)], list(rows), fontsize=8)
    axes.tick_params(length=0)
    return figure


def blocks_figure(blocks: Sequence[Tensor], titles: Sequence[str]) -> Any:
    """One block of pictures per unit, three beside each other.

    Args:
        blocks: per unit (examples, V, C, H, W) in 0..1.
        titles: above the blocks.
    """
    from matplotlib.figure import Figure

    if not blocks:
        figure = Figure(figsize=(4, 0.6))
        figure.text(0.5, 0.5, "no unit carries anything", ha="center", va="center", fontsize=9)
        return figure
    examples, values = blocks[0].shape[:2]
    across = min(_BLOCKS_ACROSS, len(blocks))
    down = -(-len(blocks) // across)
    width, height = 0.5 * values, 0.5 * examples + 0.28
    figure = Figure(figsize=(across * width, down * height))
    for number, (block, title) in enumerate(zip(blocks, titles, strict=True)):
        axes = figure.add_subplot(down, across, number + 1)
        show_picture(axes, tile(list(block)))
        axes.set_title(title, fontsize=8, pad=3)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.25 / (down * height), wspace=0.04, hspace=0.2)
    return figure


def draw_into(figures: Sequence[PaperFigure], folder: Path, *, anew: bool = False) -> dict[str, str]:
    """Write NAME.png of every figure that is missing or older than one of its cells.

    Args:
        figures: what to draw.
        folder: where.
        anew: draw those that are up to date too.

    Returns:
        Name of each figure that could not be drawn -> why.
    """
    problems = {}
    for figure in figures:
        path = folder / f"{figure.name}.png"
        if not anew and _is_current(path, figure.cells):
            continue
        try:
            save_figure(figure.draw(), path)
        except (OSError, ValueError) as error:
            problems[figure.name] = str(error)
    return problems


def _is_current(path: Path, cells: Sequence[Finished]) -> bool:
    newest = max((entry.folder / RECORD).stat().st_mtime for entry in cells)
    return path.is_file() and path.stat().st_mtime >= newest
