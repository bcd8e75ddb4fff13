"""Which units open first, what of a place each of them tells, and what turning them to independent axes makes of it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sparse_repr import PretrainConfig, pretrain_encoder
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.devices import cpu_threads
from sparse_repr.encoder.vae import load_vae
from sparse_repr.figures import PALETTE, add_note, chart, panels_figure, save_chart
from sparse_repr.models import VAE
from sparse_repr.pretrain.code_layers import posterior_means
from sparse_repr.pretrain.independent_units import CLEAR_VARIANCE, make_units_independent
from sparse_repr.pretrain.presets import PRESETS

SEEDS = (100, 101, 102)
"""None of them is reported by a study."""
STARTS = (64.0, 128.0)
"""Weights of the KL at step 0."""
_IMAGES = 4_096
_PLACE = ("position_x", "position_y")
TELLS_A_PLACE = 0.5
"""Share of a unit's variance that both coordinates together explain from which it counts as one of the place's.

Raised from 0.25 when the runs were there: at that, the unit of the size counted in one of them after turning."""


def measure_first_units(
    out: Path, seeds: Sequence[int] = SEEDS, *, steps: int | None = None, dataset: str = "dsprites"
) -> dict[str, Any]:
    """The first part of `dsprites/vae/turned`, up to the step at which units are opened, from each weight of the KL.

    Args:
        out: folder for `first_units.png` and `.svg`.
        seeds: of the runs.
        steps: of that part; by default the preset's.
        dataset: that has a place.

    Returns:
        For every start and seed the open units before and after turning: variance of the mean, and the share of it that
        the horizontal and the vertical coordinate explain (correlation ratios).

    Raises:
        ValueError: a data set without places.
    """
    preset = PRESETS["dsprites/vae/turned"]
    first = steps or preset["opening_step"]
    data = load_dataset(dataset)
    places = _places_of(data)
    items = np.sort(np.random.default_rng(0).choice(len(data), min(_IMAGES, len(data)), replace=False))
    pictures = torch.from_numpy(data.images(items)).float() / 255
    runs: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder, cpu_threads(1):
        for start in STARTS:
            for seed in seeds:
                config = PretrainConfig(
                    **{
                        **preset,
                        "dataset": dataset,
                        "seed": seed,
                        "steps": first,
                        "learning_rate_decay_steps": preset["steps"],
                        "beta_start": start,
                        "beta_steps": first,
                        "opening_step": 0,
                        "opening_steps": 0,
                        "opening_ica": False,
                        "opening_recycle": False,
                        "device": "cpu",
                        "threads": 1,
                        "health_check": 0,
                        "run_dir": str(Path(folder) / f"{start:g}-{seed}"),
                        "progress": False,
                    }
                )
                vae, _ = load_vae(pretrain_encoder(config))
                found = {"before": _open_units(vae, pictures, places[items])}
                make_units_independent(vae, pictures, seed=seed)
                runs.setdefault(f"{start:g}", {})[str(seed)] = {
                    **found,
                    "turned": _open_units(vae, pictures, places[items]),
                }
    _draw(runs, out / "first_units.png")
    return {"steps": first, "dataset": dataset, "images": len(items), "starts": runs, "summary": _summary(runs)}


def _open_units(vae: VAE, pictures: torch.Tensor, places: npt.NDArray[np.int64]) -> list[dict[str, float]]:
    """Of pictures (n, C, S, S) in 0..1 and their places (n, 2)."""
    means = posterior_means(vae, pictures)[1].numpy()
    x, y = places.T
    variances = means.var(0)
    return [
        {
            "unit": int(unit),
            "variance": float(variances[unit]),
            "x": correlation_ratio(means[:, unit], x),
            "y": correlation_ratio(means[:, unit], y),
        }
        for unit in np.flatnonzero(variances > CLEAR_VARIANCE)
    ]


def _places_of(data: FactorDataset) -> npt.NDArray[np.int64]:
    """(n, 2)."""
    if data.factors is None or not set(_PLACE) <= set(data.factor_names):
        raise ValueError(
            f"dataset needs the factors {' and '.join(_PLACE)}, got {', '.join(data.factor_names) or 'none'}"
        )
    return data.factors[:, [data.factor_names.index(name) for name in _PLACE]].astype(np.int64)


def correlation_ratio(values: npt.NDArray[np.float64], classes: npt.NDArray[np.int64]) -> float:
    """Share of the variance of `values` (n,) that `classes` (n,) explain: variance of the classes' means over all.

    Corrected for the number of classes, as adjusted R² is, so that chance has 0.

    Example:
        >>> correlation_ratio(np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1]))
        1.0
    """
    _, places, counts = np.unique(classes, return_inverse=True, return_counts=True)
    within = values - (np.bincount(places, values) / counts)[places]
    spread = values - values.mean()
    left = (within @ within) / (len(values) - len(counts))
    return float(1 - left / ((spread @ spread) / (len(values) - 1)))


def _places(units: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    return [unit for unit in units if unit["x"] + unit["y"] >= TELLS_A_PLACE]


def _summary(runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """By start: how many units share the place, seed by seed, and how much of its strongest coordinate the least such
    unit tells, before and after."""
    return {
        start: {
            "units_of_the_place": [len(_places(run["before"])) for run in seeds.values()],
            "least_coordinate_before": [_least(run["before"]) for run in seeds.values()],
            "least_coordinate_turned": [_least(run["turned"]) for run in seeds.values()],
        }
        for start, seeds in runs.items()
    }


def _least(units: Sequence[dict[str, float]]) -> float | None:
    return min((max(unit["x"], unit["y"]) for unit in _places(units)), default=None)


@chart
def _draw(runs: dict[str, dict[str, Any]], path: Path) -> None:
    low, high = (f"{start:g}" for start in STARTS)
    panels = [
        (f"KL from {low}", low, "before"),
        (f"KL from {high}", high, "before"),
        (f"KL from {high}, then turned", high, "turned"),
    ]
    figure, (row,) = panels_figure(1, len(panels), 9.6, 3.6, sharey=True)
    for axes, (title, start, moment) in zip(row, panels, strict=True):
        for colour, (seed, run) in zip(PALETTE, runs[start].items(), strict=False):
            units = run[moment]
            axes.scatter([unit["x"] for unit in units], [unit["y"] for unit in units], color=colour, label=seed)
        axes.set(title=title, xlabel="told by x", xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), aspect="equal")
    row[0].set_ylabel("told by y")
    row[-1].legend(title="seed", loc="center", frameon=False, ncols=2, fontsize=8)
    add_note(figure, "A dot is an open unit: the share of its variance that one coordinate of the place explains")
    save_chart(figure, path)
