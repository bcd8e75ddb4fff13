"""The sweep: does sparsity bring disentanglement, and at what price?

Four families on dSprites, six configurations each, so that none is tuned harder than another:

- `beta`: β-VAE with β 2, 4, 6, 8, 12, 16;
- `sparse`: β = 1 and an L1 penalty of weight 1 or 4 on the mean, on the encoder's output (mean and log-variance) or on
  the sample: the readings of the paper's "an L1 penalty at the output";
- `beta_sparse`: the same six with the β of beta_vae, 4;
- `total_correlation`: β-TCVAE with the weight 2, 4, 6.4, 8, 10, 15.

Weight 0 is the VAE, or β-VAE, which stand beside them as references, as do three perceptual cells: L1 weight 0, 1 and 4
on the mean. All compare pixels with Bernoulli likelihoods but for those three.

First every configuration is trained with the same few seeds. Then, once all of a family is finished, the one with the
highest UDR (Duan et al. 2020; mean over its seeds of the agreement with its other seeds, units whose mean does not vary
left out) is chosen. UDR sees no factor: to choose by MIG and then report that MIG would be to report the luck of the
draw. Last, the chosen ones and the VAE are trained anew with seeds that took no part in the choice, and those are what
families are compared by.

Configurations that are arms of the paper's tables are those cells, not computed again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.measure.machine import machine_facts
from experiments.paper.cells import Cell, Scale, make_cell
from experiments.paper.runs import is_finished
from sparse_repr import load_encoder
from sparse_repr.data import load_dataset
from sparse_repr.files import write_json
from sparse_repr.files.json_reader import OBJECT, each, read_json
from sparse_repr.metrics import udr_scores
from sparse_repr.pretrain.config import PretrainConfig

SELECTION = "sweep-selection.json"
"""File in the study's folder: UDR of every configuration, and the chosen one of each family."""
_DATASET = "dsprites"
_ITEMS = 10_000
FIRST_FRESH_SEED = 100
"""Seeds from here on took no part in the choice."""

Changes = Mapping[str, Any]


class Agreement(NamedTuple):
    """UDR of every seed of one configuration among its other seeds."""

    values: list[float]
    """Over units whose mean varies."""
    by_kl: list[float]
    """As published: over units with a KL above 0.01 nats."""


@dataclasses.dataclass(frozen=True)
class Family:
    """Configurations of one method among which one is chosen."""

    method: str
    """Key of `METHODS`."""
    configurations: tuple[Changes, ...]
    """Settings of `PretrainConfig` on top of the method's."""


_L1 = tuple(
    {"sparsity_weight": weight, "sparsity_target": target}
    for target in ("mean", "output", "sample")
    for weight in (1, 4)
)
FAMILIES = {
    "beta": Family("beta_vae", tuple({"beta": beta} for beta in (2, 4, 6, 8, 12, 16))),
    "sparse": Family("sparse", _L1),
    "beta_sparse": Family("beta_sparse", _L1),
    "total_correlation": Family(
        "beta_tcvae", tuple({"total_correlation_weight": weight} for weight in (2, 4, 6.4, 8, 10, 15))
    ),
}
"""Name -> family, in the order of computing; each has as many configurations as the others."""
REFERENCES: tuple[tuple[str, Changes], ...] = (
    ("vae", {}),
    ("perceptual", {}),
    ("sparse_perceptual", {}),
    ("sparse_perceptual", {"sparsity_weight": 4, "sparsity_target": "mean"}),
)
"""Methods and changes that stand beside the families; of the perceptual ones, the first seed alone."""


def marks_of(changes: Changes) -> str:
    """What stands behind the method in a cell's name: ``-beta2``, ``-weight4-sample``."""
    words = [
        str(value) if isinstance(value, str) else f"{name.split('_')[-1]}{value:g}" for name, value in changes.items()
    ]
    return "".join(f"-{word}" for word in words)


def sweep_cell(scale: Scale, method: str, changes: Changes, seed: int, out: Path, *, threads: int = 1) -> Cell:
    """The cell of one configuration and seed: that of the paper's tables where it is one of their arms.

    All others are evaluated briefly: the tables of the sweep show no more, and LPIPS would be most of the evaluation.
    """
    is_fresh = seed >= FIRST_FRESH_SEED
    arm = make_cell(scale, _DATASET, method, seed, out, brief=is_fresh, threads=threads)
    marks = marks_of(changes)
    cell = make_cell(scale, _DATASET, method, seed, out, marks=marks, changes=changes, brief=True, threads=threads)
    return arm if told_in_full(cell.training) == told_in_full(arm.training) else cell


def told_in_full(config: PretrainConfig) -> dict[str, Any]:
    """The settings with the objective's defaults filled in; device and precision stay as they are asked for."""
    return {**config.to_json(), **config.objective_weights(), **config.objective_options()}


def sweep_cells(scale: Scale, out: Path, *, threads: int = 1) -> list[Cell]:
    """Every configuration and seed of one family after the other, then the perceptual references.

    Args:
        scale: entry of `PAPER_SCALES`.
        out: folder of the study.
        threads: CPU threads of every run.
    """
    listed = [
        (family.method, changes, seed)
        for family in FAMILIES.values()
        for seed in range(scale.sweep_seeds)
        for changes in family.configurations
    ]
    listed += [
        (method, changes, seed)
        for method, changes in REFERENCES
        for seed in range(1 if "perceptual" in method else scale.sweep_seeds)
    ]
    cells = [sweep_cell(scale, method, changes, seed, out, threads=threads) for method, changes, seed in listed]
    return list({cell.name: cell for cell in cells}.values())


def fresh_cells(scale: Scale, out: Path, chosen: Mapping[str, Changes], *, threads: int = 1) -> list[Cell]:
    """The chosen configuration of every family, and the VAE, with seeds that took no part in the choice.

    Args:
        scale: entry of `PAPER_SCALES`.
        out: folder of the study.
        chosen: what `select` returns.
        threads: CPU threads of every run.
    """
    listed = [(FAMILIES[name].method, changes) for name, changes in chosen.items()] + [("vae", {})]
    return [
        sweep_cell(scale, method, changes, FIRST_FRESH_SEED + number, out, threads=threads)
        for number in range(scale.fresh_seeds)
        for method, changes in listed
    ]


def udr_by_family(families: Mapping[str, Sequence[Sequence[Cell]]]) -> dict[str, list[Agreement]]:
    """Family -> its configurations, each by the cells of its seeds -> the agreement of each, on 10,000 random items."""
    if not families:
        return {}
    data = load_dataset(_DATASET)
    images = data.images(np.sort(np.random.default_rng(0).choice(len(data), _ITEMS, replace=False)))
    return {name: [_agreement(cells, images) for cells in configurations] for name, configurations in families.items()}


def select(
    scale: Scale,
    out: Path,
    *,
    published: Path | None = None,
    threads: int = 1,
    finished: Callable[[Cell], bool] = is_finished,
    udr: Callable[[Mapping[str, Sequence[Sequence[Cell]]]], Mapping[str, list[Agreement]]] = udr_by_family,
) -> dict[str, Changes]:
    """Choose a configuration of each family by UDR and write `sweep-selection.json`.

    Args:
        scale: entry of `PAPER_SCALES`.
        out: folder of the study.
        published: folder of the scale's published files. What was chosen there of a family that is not finished here
            stands: the choice needs the weights, which are not published.
        threads: CPU threads of every run.
        finished: whether a cell is.
        udr: how much the seeds of every configuration agree.

    Returns:
        Family -> changes of its chosen configuration, for the families that are finished.

    Raises:
        ValueError: no family is finished, or the scale has one seed alone, which no UDR can be computed from.
    """
    if scale.sweep_seeds < 2:
        raise ValueError(f"a choice by UDR needs at least 2 seeds of every configuration, got {scale.sweep_seeds}")
    members = {
        name: [
            [sweep_cell(scale, family.method, changes, seed, out, threads=threads) for seed in range(scale.sweep_seeds)]
            for changes in family.configurations
        ]
        for name, family in FAMILIES.items()
    }
    missing = {
        name: [cell.name for cells in family for cell in cells if not finished(cell)]
        for name, family in members.items()
    }
    known = {} if published is None else (read_selection(published) or {"families": {}})["families"]
    table: dict[str, Any] = {name: known[name] for name in FAMILIES if missing[name] and name in known}
    whole = [name for name in FAMILIES if not missing[name]]
    if not whole and not table:
        wanted = ", ".join(f"{name} {len(cells)} (such as {cells[0]})" for name, cells in missing.items())
        raise ValueError(
            f"a family is chosen from when all its cells are finished: run --only sweep first; missing of {wanted}"
        )
    for name, scores in udr({name: members[name] for name in whole}).items():
        configurations = FAMILIES[name].configurations
        table[name] = {
            "method": FAMILIES[name].method,
            "configurations": [
                {"changes": dict(changes), "udr": values, "udr_by_kl": by_kl}
                for changes, (values, by_kl) in zip(configurations, scores, strict=True)
            ],
            "chosen": dict(configurations[int(np.argmax([np.mean(values) for values, _ in scores]))]),
        }
    rule = f"highest mean over the seeds of UDR (Spearman, units whose mean varies) on {_ITEMS} random items"
    families = {name: table[name] for name in FAMILIES if name in table}
    write_json(
        out / SELECTION,
        {"rule": rule, "seeds": scale.sweep_seeds, "families": families, "machine": machine_facts()},
    )
    return {name: entry["chosen"] for name, entry in families.items()}


def read_selection(folder: Path) -> dict[str, Any] | None:
    """Content of `sweep-selection.json` in a folder; None where nothing has been chosen."""
    path = folder / SELECTION
    return dict(read_json(path, {"families": each(OBJECT)})) if path.is_file() else None


def _agreement(cells: Sequence[Cell], images: Any) -> Agreement:
    """UDR of every seed of one configuration among its other seeds, over units whose mean varies, and as published.

    Duan et al. leave out units with a KL of at most 0.01 nats. An L1 penalty can give dead units more than that (0.9
    were seen), so that they are counted, agree with nothing, and pull a code down for its penalty alone.
    """
    encoders = [load_encoder(cell.folder) for cell in cells]
    codes = [encoder.encode(images) for encoder in encoders]
    units = [encoder.spec.units for encoder in encoders]
    by_kl = [one.kl_nats for one in units]
    varying = [
        tuple(kl if active else 0.0 for kl, active in zip(one.kl_nats, one.active, strict=True)) for one in units
    ]
    first, second = ([float(score) for score in udr_scores(codes, kl).scores] for kl in (varying, by_kl))
    return Agreement(first, second)
