"""The cells of the study: which method is trained on which data set with which seed, for how long, at every scale.

A cell is one (data set, method, seed). It is one run folder of `sparse_repr.pretrain`, evaluated at its end and, where
other cells are shorter, at their length too, so that all arms can be compared at equal steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparse_repr.data import load_dataset
from sparse_repr.objectives import default_settings, option_names, weight_names
from sparse_repr.pretrain.config import PretrainConfig
from sparse_repr.pretrain.presets import ONE_RESOLUTION, PRESETS, opened
from sparse_repr.registry import lookup

STAND_INS = {"celeba": "faces", "chairs": "chairs3d"}
"""Data set of the paper that needs files -> the drawn one that takes its place where there are none."""
PAPER_NAMES = {"dsprites": "dsprites", **{name: name for name in STAND_INS}, **{b: a for a, b in STAND_INS.items()}}
"""Data set -> the paper's data set whose tables and figures it is for."""
PARTS = {
    "table1": "dsprites",
    "table2": "celeba",
    "table3": "dsprites",
    "fig1": "dsprites",
    "fig2": "celeba",
    "fig3": "dsprites",
    "fig4": "celeba",
    "fig5": "chairs",
}
"""Table or figure of the paper -> its data set."""


@dataclasses.dataclass(frozen=True)
class Method:
    """A row of the tables."""

    title: str
    """What tables call it."""
    recipe: str
    """Entry of `sparse_repr.pretrain.presets.RECIPES` that it is trained by."""
    with_beta: bool = False
    """Whether the KL is weighted as in the data set's beta_vae, on top of the recipe."""
    opened: bool = False
    """Whether it has the schedule of `presets.opened` at every scale: pixels first, where it compares features."""

    @property
    def perceptual(self) -> bool:
        """Whether it compares features instead of pixels."""
        return "perceptual" in self.recipe


METHODS = {
    "vae": Method("VAE", "vae"),
    "beta_vae": Method("β-VAE", "beta_vae"),
    "sparse": Method("sparse (pixels + L1)", "sparse"),
    "perceptual": Method("perceptual", "perceptual"),
    "sparse_perceptual": Method("sparse + perceptual (the paper's “Ours”)", "sparse_perceptual"),
    "perceptual_opened": Method("perceptual, pixels first", "perceptual", opened=True),
    "sparse_perceptual_opened": Method("sparse + perceptual, pixels first", "sparse_perceptual", opened=True),
    "beta_sparse": Method("β + sparse", "sparse", with_beta=True),
    "capacity": Method("capacity", "beta_vae_capacity"),
    "factor_vae": Method("FactorVAE", "factor_vae"),
    "beta_tcvae": Method("β-TCVAE", "beta_tcvae"),
}
"""Name -> method, in the order of the tables."""
_OF_THE_PAPER = ("vae", "beta_vae", "sparse", "perceptual", "sparse_perceptual")
_LONG_ARMS = (*_OF_THE_PAPER, "beta_sparse", "factor_vae", "beta_tcvae")
_PIXELS_FIRST = ("perceptual_opened", "sparse_perceptual_opened")
_LONG_THRICE = ("vae", "beta_vae", "sparse_perceptual")
_LONG_STEPS = 16_000
_LONG_STARTS: dict[str, dict[str, Any]] = {
    **{
        f"dsprites/{method}": opened(METHODS[method].recipe, _LONG_STEPS)
        for method in ("vae", "beta_vae", "sparse", "beta_sparse")
    },
    **{f"dsprites/{method}": {"initialisation": "output_bias"} for method in ("factor_vae", "beta_tcvae")},
    **{
        f"dsprites/{method}": {"initialisation": "output_bias", "beta_steps": 2_700}
        for method in ("perceptual", "sparse_perceptual")
    },
    # by the published gamma of 100 none of three runs of the scale cpu left the mean picture
    "dsprites/capacity": {
        **{name: PRESETS["dsprites/beta_vae_capacity/steady"][name] for name in ("initialisation", "capacity_weight")},
        "capacity_steps": _LONG_STEPS * 3 // 4,
    },
}
# of 64 images: the 30 epochs of dSprites of the public comparisons, whose learning rates the presets have
_FULL_STEPS = 346_000
_PIXEL_ARMS = ("vae", "beta_vae", "sparse", "beta_sparse", "capacity")

_EXACT = "mig,aam,mig_histogram"
_SUITE = f"{_EXACT},modularity,beta_vae,factor_vae,irs,dci_histogram,sap,explicitness,infomec"


@dataclasses.dataclass(frozen=True)
class Stop:
    """A number of steps at which a cell is evaluated, and how."""

    steps: int
    """Optimisation steps taken by then."""
    metrics: str
    """Scores, as `sparse_repr.evaluate --metrics`."""
    sample: int | None
    """Items whose codes are scored; None for all."""
    image_items: int = 10_000
    """Images that PSNR and SSIM are computed on."""
    lpips_items: int = 1_000
    """Images of these that LPIPS is computed on; 0 for none."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One (data set, method, seed): a run folder, and where it is evaluated."""

    dataset: str
    """What is trained on; for the tables of `PAPER_NAMES[dataset]`."""
    method: str
    """Entry of `METHODS`; in the sweep, the family with the marks of the configuration."""
    training: PretrainConfig
    """The run; its folder is that of the cell, its steps are those of the last stop."""
    stops: tuple[Stop, ...]
    """In ascending steps."""

    @property
    def name(self) -> str:
        """What the cell, and its folder, is called."""
        return self.folder.name

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.training.run_folder()

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.training.seed

    def stop_folder(self, stop: Stop) -> Path:
        """Where the encoder, metrics.json and figures of a stop are: the last one's in the run folder itself."""
        return self.folder if stop == self.stops[-1] else self.folder / f"at-{stop.steps}"


@dataclasses.dataclass(frozen=True)
class Scale:
    """How long and how often everything is trained."""

    summary: str
    """What its results are called."""
    arms: Mapping[str, Mapping[str, int]]
    """Data set of the paper -> method -> number of seeds."""
    steps: int
    """Steps of the arms that compare pixels."""
    perceptual_steps: int
    """Steps of the perceptual arms; where the others take more, they are evaluated here too."""
    device: str
    """As in `PretrainConfig`."""
    precision: str
    """As in `PretrainConfig`."""
    settings: Mapping[str, Any]
    """Further settings of every run; those of an objective that a method does not have are left out."""
    perceptual: Mapping[str, Any]
    """Further settings of the perceptual arms."""
    metrics: str
    """Scores of the paper's dSprites cells at their end; all other evaluations have the exact and histogram ones."""
    sample: int | None
    """Items whose codes are scored at the end; None for all."""
    image_items: int
    """Images that PSNR and SSIM are computed on."""
    sweep_seeds: int
    """Seeds of every configuration of the sweep."""
    fresh_seeds: int
    """Further seeds of the configuration of each family that the sweep chooses."""
    shorter: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Method -> its steps, where those of the other arms do not fit: a step costs more, or a schedule needs them."""
    early_stop: bool = True
    """Whether longer runs are evaluated at the length of the shorter ones too."""
    arm_settings: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """DATASET/METHOD, by the paper's data set -> yet further settings."""
    elsewhere: float = 1.0
    """Share of the steps that is taken on data sets other than dSprites."""

    def steps_of(self, dataset: str, method: str) -> int:
        """Steps of a method on a data set."""
        default = self.perceptual_steps if METHODS[method].perceptual else self.steps
        steps = self.shorter.get(method, default)
        return steps if dataset == "dsprites" else round(self.elsewhere * steps)

    def seeds(self, dataset: str, method: str) -> range:
        """Seeds of an arm; one that the scale does not list has one when it is asked for by name."""
        return range(self.arms[PAPER_NAMES[dataset]].get(method, 1))


def _arms(dsprites: Mapping[str, int], others: Mapping[str, int]) -> dict[str, Mapping[str, int]]:
    return {"dsprites": dsprites, "celeba": others, "chairs": others}


PAPER_SCALES = {
    "smoke": Scale(
        summary="a minute's test that everything runs: its numbers mean nothing",
        arms={
            "dsprites": dict.fromkeys(_OF_THE_PAPER, 1),
            "celeba": {"vae": 1, "sparse_perceptual": 1},
            "chairs": {"sparse": 1},
        },
        steps=20,
        perceptual_steps=20,
        # one for every part of their schedule
        shorter=dict.fromkeys(_PIXELS_FIRST, 28),
        device="cpu",
        precision="float32",
        settings={"batch_size": 16, "learning_rate": 1e-3},
        perceptual={"perceptual_features": "dae", "dae_steps": 5},
        metrics=_EXACT,
        sample=2_000,
        image_items=64,
        sweep_seeds=2,
        fresh_seeds=1,
    ),
    "cpu": Scale(
        summary="a short run on a CPU, far from converged",
        arms=_arms(
            {**dict.fromkeys(_PIXEL_ARMS, 3), "perceptual": 1, "sparse_perceptual": 1},
            dict.fromkeys(("vae", "beta_vae", "sparse"), 1),
        ),
        steps=8_000,
        perceptual_steps=2_000,
        device="cpu",
        precision="auto",
        settings={"batch_size": 64, "learning_rate": 1e-3},
        # a quarter of the images: `experiments.benchmark.perceptual` found it the best use of the same time
        perceptual={**ONE_RESOLUTION, "perceptual_layers": "relu2_2", "perceptual_images": 16, "save_every": 200},
        metrics=_SUITE,
        sample=100_000,
        image_items=10_000,
        sweep_seeds=2,
        fresh_seeds=3,
    ),
    "long": Scale(
        summary="a quarter of an hour of one core a run on dSprites, a third of that on the others",
        arms=_arms(
            dict.fromkeys((*_LONG_ARMS, "capacity", *_PIXELS_FIRST), 3),
            {**dict.fromkeys(_LONG_ARMS, 1), **dict.fromkeys(_LONG_THRICE, 3)},
        ),
        steps=_LONG_STEPS,
        perceptual_steps=_LONG_STEPS * 3 // 8,
        # features of half of the images, and of none at first: 14,000 steps take half as long again as 16,000 without
        shorter={"factor_vae": _LONG_STEPS * 5 // 8, **dict.fromkeys(_PIXELS_FIRST, 14_000)},
        device="cpu",
        precision="auto",
        settings={
            "batch_size": 64,
            "learning_rate": 1e-3,
            "learning_rate_decay": "cosine",
            "final_learning_rate": 1e-5,
            "initialisation": "he",
            "sparsity_warmup": 2_000,
        },
        perceptual={"batch_size": 32},
        arm_settings=_LONG_STARTS,
        metrics=_SUITE,
        sample=100_000,
        image_items=10_000,
        sweep_seeds=2,
        fresh_seeds=3,
        early_stop=False,
        elsewhere=1 / 3,
    ),
    # the one row that meets the public figures, for a machine without a card
    "full": Scale(
        summary="the full protocol for one VAE, three and a half hours of one core",
        arms=_arms({"vae": 1}, {}),
        steps=_FULL_STEPS,
        perceptual_steps=_FULL_STEPS,
        device="cpu",
        precision="auto",
        settings={"batch_size": 64, "log_every": 1_000, "picture_every": 100_000},
        perceptual={},
        metrics=_SUITE,
        sample=100_000,
        image_items=10_000,
        sweep_seeds=2,
        fresh_seeds=3,
    ),
    "gpu": Scale(
        summary="the full protocol",
        arms=_arms(dict.fromkeys(METHODS, 10), dict.fromkeys(_OF_THE_PAPER, 10)),
        steps=_FULL_STEPS,
        perceptual_steps=_FULL_STEPS,
        device="cuda",
        precision="bf16",
        # a save of ten models may take as long as a thousand of their steps, and each line of a log waits for the card
        settings={"batch_size": 64, "save_every": 10_000, "log_every": 1_000, "picture_every": 100_000},
        perceptual={},
        metrics=f"{_SUITE},dci",
        sample=None,
        image_items=10_000,
        sweep_seeds=5,
        fresh_seeds=10,
    ),
}
"""Name -> scale."""


def make_cell(
    scale: Scale,
    dataset: str,
    method: str,
    seed: int,
    out: Path,
    *,
    marks: str = "",
    changes: Mapping[str, Any] | None = None,
    brief: bool = False,
    threads: int = 1,
) -> Cell:
    """The cell of a data set, method and seed.

    Args:
        scale: entry of `PAPER_SCALES`.
        dataset: key of `PAPER_NAMES`.
        method: key of `METHODS`.
        seed: of the run.
        out: folder of the study.
        marks: stand behind the method's name in that of the cell, for a sweep.
        changes: settings of `PretrainConfig` on top of the method's.
        brief: evaluate at the end alone, the exact and the histogram scores, without LPIPS.
        threads: CPU threads; another number gives other bits.

    Raises:
        ValueError: an unknown name (close matches are suggested), or settings that do not fit together.
    """
    paper_name = lookup(PAPER_NAMES, dataset, "data set of the study")
    chosen = lookup(METHODS, method, "method")
    steps = scale.steps_of(dataset, method)
    # a stand-in is trained by the recipe of the data set it stands in for
    settings: dict[str, Any] = dict(PRESETS[f"{paper_name}/{chosen.recipe}"])
    others = {*weight_names(), *option_names()} - default_settings(settings["objective"]).keys()
    settings.update({name: value for name, value in scale.settings.items() if name not in others})
    if chosen.perceptual:
        settings.update(scale.perceptual)
    settings.update(scale.arm_settings.get(f"{paper_name}/{method}", {}))
    if chosen.opened:
        settings.update(opened(chosen.recipe, steps))
    if chosen.with_beta:
        settings["beta"] = PRESETS[f"{paper_name}/beta_vae"]["beta"]
    if "capacity_steps" in settings:
        # the published schedule takes 100,000 steps; in a shorter run it spans the run
        settings["capacity_steps"] = min(settings["capacity_steps"], steps)
    if "sparsity_warmup" in settings:
        settings["sparsity_warmup"] = min(settings["sparsity_warmup"], steps // 4)
    settings.update(changes or {})
    training = PretrainConfig(
        **{
            **settings,
            "dataset": dataset,
            "seed": seed,
            "steps": steps,
            "device": scale.device,
            "precision": scale.precision,
            "threads": threads,
            "run_dir": str(out / f"{dataset}-{method}{marks}-seed{seed}"),
            "progress": False,
        }
    )
    if brief:
        stops = [Stop(steps, _EXACT, scale.sample, scale.image_items, lpips_items=0)]
    else:
        metrics = scale.metrics if dataset == "dsprites" else _EXACT
        stops = [Stop(steps, metrics, scale.sample, scale.image_items)]
        if scale.early_stop and scale.perceptual_steps < steps:
            stops.insert(0, Stop(scale.perceptual_steps, _EXACT, scale.sample, scale.image_items))
    return Cell(dataset, f"{method}{marks}", training, tuple(stops))


def paper_cells(
    scale: Scale,
    out: Path,
    *,
    datasets: Sequence[str],
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (),
    threads: int = 1,
) -> list[Cell]:
    """The cells of the paper's tables and figures, data sets first, then seeds, so that one of each arm is there early.

    Args:
        scale: entry of `PAPER_SCALES`.
        out: folder of the study.
        datasets: keys of `PAPER_NAMES`.
        methods: keys of `METHODS`; by default those that the scale lists for the data set.
        seeds: of every arm; by default as many as the scale lists.
        threads: CPU threads of every run.

    Raises:
        ValueError: an unknown name.
    """
    cells: list[Cell] = []
    for dataset in datasets:
        arms = methods or tuple(scale.arms[lookup(PAPER_NAMES, dataset, "data set of the study")])
        wanted = [(seed, arm) for arm in arms for seed in seeds or scale.seeds(dataset, arm)]
        # sorted is stable: the methods of a seed keep their order
        cells += [
            make_cell(scale, dataset, arm, seed, out, threads=threads)
            for seed, arm in sorted(wanted, key=lambda pair: pair[0])
        ]
    return cells


def datasets_of(parts: Sequence[str]) -> list[str]:
    """The data sets of the paper that tables and figures need, in the order of the paper.

    Raises:
        ValueError: an unknown part, with its close matches.
    """
    wanted = {lookup(PARTS, part, "table or figure") for part in parts}
    return [dataset for dataset in dict.fromkeys(PARTS.values()) if dataset in wanted]


def present_or_stand_in(dataset: str) -> str:
    """The data set itself where its files are found (folder ``SPARSE_REPR_DATA``), else the drawn one in its place.

    Raises:
        ValueError: files are there but damaged.
    """
    if dataset not in STAND_INS:
        return dataset
    try:
        load_dataset(dataset)
    except FileNotFoundError:
        return STAND_INS[dataset]
    return dataset
