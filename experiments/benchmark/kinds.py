"""What each kind of sparsity does to codes of dSprites: zeros, pictures and factors, at equal steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.benchmark.scored import (
    MEASURED_ON,
    codes_table,
    require_of,
    score,
    scores_of,
    seeds_in_words,
    with_earlier_codes,
)
from experiments.measure.kinds import KINDS
from experiments.pages.committed import read_results
from experiments.pages.tables import SPREAD_NOTE, origin
from sparse_repr import PretrainConfig, pretrain_encoder

SEEDS = (5, 6, 7)
"""Of the encoders: those of the study of agents on the same kinds, on which nothing was chosen."""
CODES: dict[str, dict[str, Any]] = {"vae": {"objective": "vae"}, **KINDS}
"""Name -> settings of `PretrainConfig`: the VAE of 10 units, and all kinds of sparsity."""
SCORES = {
    "nonzero_units_per_image": ("not 0 per image", 1),
    "units_ever_nonzero": ("ever not 0", 0),
    "exact_zero_fraction": ("exact zeros", 2),
    "psnr_db": ("PSNR (dB)", 1),
    "ssim": ("SSIM", 3),
    "contrast_slope": ("contrast", 2),
    "mig_histogram": ("MIG (histogram)", 3),
    "dci_histogram_disentanglement": ("DCI", 2),
    "infomec_modularity": ("InfoM", 2),
    "infomec_compactness": ("InfoC", 2),
    "infomec_explicitness": ("InfoE", 2),
}
"""Score -> its column, and the digits that it is written with."""
_STEPS = 3_000
_ITEMS = 10_000


def measure_kinds(
    out: Path,
    *,
    codes: Sequence[str] = tuple(CODES),
    seeds: Sequence[int] = SEEDS,
    steps: int = _STEPS,
    items: int = _ITEMS,
    earlier: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Pretrain every code with every seed on one thread, and score it; finished runs in `out` are not done again.

    Returns the scores of all that is finished in `out`, of other codes too, and of what is known from elsewhere.

    Args:
        out: folder of the runs.
        codes: keys of `CODES`, which are pretrained.
        seeds: of the encoders.
        steps: of pretraining, in batches of 64.
        items: images that codes and pictures are scored on.
        earlier: what an earlier call returned, with its machine; its codes of which `out` has none are kept, and
            ``other_machines`` says where they were computed.

    Raises:
        ValueError: a code is none of `CODES`, or the earlier ones have other steps or items.
    """
    if earlier and (earlier["steps"], earlier["items"]) != (steps, items):
        raise ValueError(
            f"earlier results need {steps:,} steps and {items:,} items, found {earlier['steps']:,} and "
            f"{earlier['items']:,}: write the new ones to another folder (--out)"
        )
    require_of("codes", codes, CODES)
    with tqdm([(seed, name) for seed in seeds for name in codes], unit="code", disable=None) as bar:
        for seed, name in bar:
            bar.set_description(f"{name}, seed {seed}")
            _finish(out / f"{name}-seed{seed}", name, seed, steps, items)
    finished: dict[str, dict[str, Any]] = {}
    for name in CODES:
        runs = {str(seed): out / f"{name}-seed{seed}" for seed in seeds}
        finished[name] = {
            seed: scores_of(run, SCORES, steps=steps, items=items) for seed, run in runs.items() if _is_finished(run)
        }
    return {"steps": steps, "items": items, **with_earlier_codes(finished, earlier)}


def _is_finished(run: Path) -> bool:
    return (run / "metrics.json").is_file()


def _finish(run: Path, name: str, seed: int, steps: int, items: int) -> None:
    if not _is_finished(run):
        config = PretrainConfig(
            **{
                **CODES[name],
                "dataset": "dsprites",
                "seed": seed,
                "steps": steps,
                "batch_size": 64,
                "learning_rate": 1e-3,
                "initialisation": "he",
                "run_dir": str(run),
                **MEASURED_ON,
            }
        )
        pretrain_encoder(dataclasses.replace(config, resume=(run / "config.json").is_file()))
        score(run, metrics="mig_histogram,dci_histogram,infomec", items=items)


def kinds_on_dsprites(results: Mapping[str, Any] | None = None) -> str:
    """The scores of every code as a table in Markdown.

    Args:
        results: of `measure_kinds`, with command and machine; by default what is committed.
    """
    found = read_results("benchmark/kinds.json") if results is None else results
    machines = [found["machine"], *found.get("other_machines", [])]
    return (
        f"{codes_table(found['codes'], SCORES)}\n\n"
        f"dSprites, {found['steps']:,} steps of 64 images, seeds {seeds_in_words(found['codes'])}. {SPREAD_NOTE} On "
        f"{found['items']:,} images. VAE: 10 units, all others 64. {origin(machines)}"
    )
