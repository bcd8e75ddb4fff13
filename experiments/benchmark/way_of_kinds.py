"""How much must be learned to find the way from each kind of sparse code, and how many directions it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from experiments.benchmark.recorded import codes_of, pretrained, recordings
from experiments.benchmark.scored import codes_table, require_of, seeds_in_words, with_earlier_codes
from experiments.benchmark.way import FRAMES, VAE, way_scores
from experiments.measure.kinds import KINDS
from experiments.measure.place_probe import standardised
from experiments.pages.committed import read_results
from experiments.pages.tables import SPREAD_NOTE, origin
from sparse_repr.devices import cpu_threads
from sparse_repr.files import write_json
from sparse_repr.files.json_reader import read_json, whole

CODES: dict[str, dict[str, Any]] = {
    name: {**VAE, **KINDS.get(name, {})}
    for name in ("vae", "wide_vae", "vaease", "top_k", "batch_top_k", "jump_relu", "rectified_gaussian")
}
"""Name -> settings of `PretrainConfig`: the VAE of 10 units and codes of 64, from most of which agents learn more."""
SEEDS = (5, 6, 7)
"""Of the encoders: some of those with which the agents were compared."""
SCORES = {
    "units": ("units that vary", 1),
    "directions": ("directions", 1),
    "place, line": ("place, by a line", 2),
    "way, line": ("way, by a line", 2),
    "way, network": ("by a network", 2),
    "way, heads, passes 1": ("by PPO's heads, 1 pass", 2),
    "way, heads, passes 10": ("10 passes", 2),
}
"""Score -> its column, and the digits that it is written with."""
_STEPS = 3_000
_EVERY = 11


def measure_way_of_kinds(
    out: Path,
    *,
    codes: Sequence[str] = tuple(CODES),
    seeds: Sequence[int] = SEEDS,
    steps: int = _STEPS,
    scale: float = 1.0,
    earlier: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Record SpriteReach under random actions, pretrain every code with each seed on one thread, and probe it.

    Args:
        out: folder of recordings and runs; what is finished there is not done again.
        codes: keys of `CODES`.
        seeds: of the encoders.
        steps: of pretraining.
        scale: share of the frames that is recorded.
        earlier: what an earlier call returned, with its machine; its codes of which `out` has none are kept, and
            ``other_machines`` says where they were computed.

    Raises:
        ValueError: a code is none of `CODES`, or what is there has other steps.
    """
    require_of("codes", codes, CODES)
    out.mkdir(parents=True, exist_ok=True)
    with cpu_threads(1), tqdm([(seed, name) for seed in seeds for name in codes], unit="code", disable=None) as bar:
        data = recordings("envs:SparseRepr/SpriteReach-v0", out, FRAMES, every=_EVERY, scale=scale)
        for seed, name in bar:
            bar.set_description(f"{name}, seed {seed}")
            place = _scores(out, name, seed)
            if not place.is_file():
                encoder, _ = pretrained(out, name, seed, {**CODES[name], "steps": steps})
                shown = codes_of(encoder, data)
                probed = {
                    f"{what}, {probe}": told
                    for what, of_probes in way_scores(shown, data).items()
                    for probe, told in of_probes.items()
                }
                write_json(place, {"steps": steps, **probed, **code_extent(shown["test"])})
        found = {
            name: {str(seed): _finished(out, name, seed, steps) for seed in seeds if _scores(out, name, seed).is_file()}
            for name in CODES
        }
        frames = {part: len(images) for part, images in data.items()}
    return {"steps": steps, "frames": frames, **with_earlier_codes(found, earlier)}


def code_extent(codes: npt.NDArray[Any]) -> dict[str, float]:
    """``units``: how many of the units of codes (N, D) vary; ``directions``: over how many directions they spread.

    Directions are the participation ratio, (sum of l)² / sum of l², of the eigenvalues l of the units' correlations: D
    where units are uncorrelated, 1 where all say the same. So it is of codes as agents are shown them, with unit
    variance.
    """
    shown, _ = standardised(codes, codes)
    live = shown.any(axis=0)
    values = np.linalg.eigvalsh(np.atleast_2d(np.cov(shown[:, live].T)))
    return {"units": int(live.sum()), "directions": float(values.sum() ** 2 / (values**2).sum())}


def _finished(out: Path, name: str, seed: int, steps: int) -> dict[str, float]:
    scores = read_json(_scores(out, name, seed), {"steps": whole(1)}, remedy="delete it")
    if scores.pop("steps") != steps:
        raise ValueError(
            f"{_scores(out, name, seed)} needs {steps:,} steps: take another folder, or delete it and its run"
        )
    return dict(scores)


def _scores(out: Path, name: str, seed: int) -> Path:
    return out / f"{name}-{seed}.json"


def way_of_kinds_table(results: Mapping[str, Any] | None = None) -> str:
    """The scores of every code as a table in Markdown.

    Args:
        results: of `measure_way_of_kinds`, with command and machine; by default what is committed.
    """
    found = read_results("benchmark/way_of_kinds.json") if results is None else results
    return (
        f"{codes_table(found['codes'], SCORES)}\n\nSpriteReach, {found['steps']:,} steps, seeds "
        f"{seeds_in_words(found['codes'])}. R² on {found['frames']['test']:,} frames. {SPREAD_NOTE} "
        f"{origin([found['machine'], *found.get('other_machines', [])])}"
    )
