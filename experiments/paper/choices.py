"""What the paper leaves open: our choice, read from the presets and scales that are really used, and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.pages.tables import Table
from experiments.paper.cells import METHODS, PAPER_SCALES, PARTS, make_cell
from experiments.paper.sweep import FAMILIES
from sparse_repr.data import celeba, chairs
from sparse_repr.pretrain.config import PretrainConfig
from sparse_repr.pretrain.presets import PRESETS, preset_config

_DATASETS = tuple(dict.fromkeys(PARTS.values()))
_RECIPES = ("vae", "beta_vae", "sparse", "perceptual", "sparse_perceptual")


def _per_dataset(recipe: str, key: str) -> str:
    """A setting of a recipe, one value where all data sets have the same."""
    values = {dataset: getattr(preset_config(f"{dataset}/{recipe}"), key) for dataset in _DATASETS}
    if len(set(values.values())) == 1:
        return _text(next(iter(values.values())))
    return ", ".join(f"{_text(value)} on {dataset}" for dataset, value in values.items())


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _same(key: str) -> str:
    """A setting that all recipes of the paper's methods share.

    Raises:
        ValueError: they do not: the table would not be true.
    """
    values = {_text(getattr(preset_config(f"{name}/{recipe}"), key)) for name in _DATASETS for recipe in _RECIPES}
    if len(values) > 1:
        raise ValueError(f"{key} differs between the methods ({', '.join(sorted(values))}): say so in the table")
    return values.pop()


def _by_scale(write: Any) -> str:
    return "; ".join(f"{name}: {write(PAPER_SCALES[name])}" for name in ("cpu", "long", "gpu"))


def _perceptual_layers(scale: Any) -> str:
    training = _training(scale, "dsprites", "perceptual")
    images, levels = training.perceptual_images, training.perceptual_levels
    where = f" at {levels}" if levels else ""
    taken = f"{images} of each {training.batch_size}" if images else f"all {training.batch_size}"
    return f"{training.perceptual_layers}{where} on {taken} images"


def _steps(scale: Any) -> str:
    others = {} if scale.steps == scale.perceptual_steps else {"perceptual": scale.perceptual_steps}
    others |= {METHODS[method].title: steps for method, steps in scale.shorter.items()}
    words = ", ".join(f"{name} {steps:,}" for name, steps in others.items())
    return f"{scale.steps:,}{f' ({words})' if words else ''}"


def _over_arms(key: str) -> Callable[[Any], str]:
    """A setting as a scale has it: what most arms have, and the arms that have another."""

    def write(scale: Any) -> str:
        values: dict[str, list[str]] = {}
        for dataset in _DATASETS:
            for method in scale.arms[dataset]:
                value = _text(getattr(_training(scale, dataset, method), key))
                values.setdefault(value, []).append(f"{dataset}/{method}")
        usual = max(values, key=lambda value: len(values[value]))
        others = "; ".join(f"{value}: {', '.join(arms)}" for value, arms in values.items() if value != usual)
        return f"{usual} ({others})" if others else usual

    return write


def _training(scale: Any, dataset: str, method: str) -> PretrainConfig:
    """What a scale trains a method by."""
    return make_cell(scale, dataset, method, 0, Path()).training


def _kl_start(scale: Any) -> str:
    starts: dict[str, list[str]] = {}
    for method in scale.arms["dsprites"]:
        training = _training(scale, "dsprites", method)
        if training.beta_start is not None:
            words = f"{_text(training.beta_start)} over {training.beta_steps:,} steps"
            if training.opening_ica:
                words += ", then the open units are turned to independent axes"
            if training.opening_recycle:
                words += " and dead neurons get new weights"
            if training.opening_step:
                until = training.opening_step + (training.opening_steps or 0)
                words += f", then a tenth of β until it is whole at {until:,}, while closed units are opened"
            starts.setdefault(words, []).append(METHODS[method].title)
    return "; ".join(f"{words} ({', '.join(arms)}, dsprites)" for words, arms in starts.items()) or "β"


def _pixels_first() -> str:
    """Until when the pixels count in the arms that start with them."""
    training = _training(PAPER_SCALES["long"], "dsprites", "perceptual_opened").perceptual()
    joins = training.features_from
    return f"alone until step {joins:,} of {training.steps:,}, gone at {joins + training.pixel_steps:,}"


def _batch_size(scale: Any) -> str:
    own, features = (_training(scale, "dsprites", method).batch_size for method in ("vae", "perceptual"))
    return str(own) if own == features else f"{own} (perceptual {features})"


def _of_scale(key: str) -> Any:
    """A setting as each scale has it: its own, or the one that all recipes share."""
    return _by_scale(lambda scale: _text(scale.settings[key]) if key in scale.settings else _same(key))


def _seeds(scale: Any) -> str:
    counts = sorted(set(scale.arms["dsprites"].values()), reverse=True)
    return f"{' or '.join(map(str, counts))} per method on dsprites"


def choices_table() -> Table:
    """The settings that the paper does not give, ours, and why."""
    sparse: PretrainConfig = preset_config("dsprites/sparse")
    perceptual = preset_config("dsprites/sparse_perceptual")
    weights = sorted({change["sparsity_weight"] for change in FAMILIES["sparse"].configurations})
    targets = dict.fromkeys(change["sparsity_target"] for change in FAMILIES["sparse"].configurations)
    capacity = PRESETS["dsprites/beta_vae_capacity"]
    shorter = _training(PAPER_SCALES["long"], "dsprites", "capacity")
    full = PAPER_SCALES["gpu"]
    rows = (
        (
            "β of β-VAE",
            _per_dataset("beta_vae", "beta"),
            "no value is given; these are of the public comparison that accompanies Dubois et al. 2019, whose AAM the "
            "paper uses. Six values are in the sweep",
        ),
        (
            "β of sparse and of Ours",
            _text(sparse.objective_weights()["beta"]),
            "section 2: disentanglement “without penalizing the KL divergence”; “β + sparse” is ours, for comparison",
        ),
        (
            "L1 weight",
            f"{_text(sparse.objective_weights()['sparsity_weight'])} (sweep: {', '.join(map(_text, weights))})",
            "none is given; 1 is this package's default, and the sweep shows what another one does",
        ),
        (
            "what L1 is on",
            f"{sparse.objective_options()['sparsity_target']} (sweep: {', '.join(targets)})",
            "section 4: “an L1 penalty at the output” of the encoder, which puts out mean and log-variance, while the "
            "abstract samples “from a sparse distribution”: all readings are in the sweep, the mean is the code",
        ),
        (
            "features of the perceptual loss",
            f"{perceptual.perceptual_features}; {_by_scale(_perceptual_layers)}",
            "section 3.2 names VGG16 and Johnson et al. 2016, but no layer; some of theirs. From coarse to fine "
            "(resolution@start:part of the batch), as one resolution alone does not start; scale cpu was computed "
            "before that, with one layer and a part of each batch",
        ),
        (
            "weights of the loss",
            f"pixels {_text(perceptual.pixel_weight)}, features "
            f"{_per_dataset('perceptual', 'perceptual_weight')}, style "
            f"{_text(perceptual.style_weight)} (perceptual methods); pixels {_text(sparse.pixel_weight)} (others). "
            f"Pixels first: {_pixels_first()}",
            "section 3.2: the features “replace” the pixel loss; no weight of a style term is given. By themselves "
            "they take a disc for any shape, so two arms of ours start with the pixels",
        ),
        (
            "likelihood of pixels",
            _same("reconstruction"),
            "section 3.2 speaks of a mean squared error; Bernoulli is the public comparison's, and dSprites is binary",
        ),
        ("code size", _same("code_size"), "not given; that of the public comparisons"),
        (
            "network",
            f"{_same('architecture')}, {_same('image_size')} x {_same('image_size')} pixels",
            "not given; Burgess et al. 2018, that of the public comparisons",
        ),
        (
            "initial weights",
            _by_scale(_over_arms("initialisation")),
            "not given; torch's own, or `he` (weights that keep the size of the signal, He et al. 2015, and an output "
            "bias at the mean pixel) where the run is short or compares features from coarse to fine",
        ),
        (
            "weight of the KL at the start",
            _by_scale(_kl_start),
            "not given; from far above, no unit is open at first, then one after another opens",
        ),
        (
            "optimiser",
            f"Adam, learning rate {_by_scale(_over_arms('learning_rate'))} ({_of_scale('learning_rate_decay')}); batch "
            f"{_by_scale(_batch_size)}",
            "not given; the public comparison's, and twice its rate where the run is short",
        ),
        (
            "steps",
            _by_scale(_steps),
            f"no number of epochs is given; {full.steps:,} steps of {full.settings['batch_size']} are 30 epochs of "
            "dSprites, the public comparison's",
        ),
        ("seeds", _by_scale(_seeds), "the paper gives single numbers without a spread"),
        (
            "capacity (not in the paper)",
            f"{_text(capacity['capacity_nats'])} nats over {capacity['capacity_steps']:,} steps, or over the run where "
            f"it is shorter; γ {_text(capacity['capacity_weight'])}; long: {shorter.capacity_steps:,} steps, "
            f"γ {_text(shorter.capacity_weight)}",
            "Burgess et al. 2018, section 5; γ of the public comparison, by which no run of cpu left the mean picture",
        ),
        (
            "split",
            "dsprites, faces, chairs3d: none; celeba: its partition's test; chairs: by model",
            "not given; drawn grids hold every picture, so their scores are of images that were trained on",
        ),
        (
            "crop",
            f"celeba: the middle {100 * celeba.CROP:.0f} % of the width; chairs: the middle {100 * chairs.CROP:.0f} %",
            "not given; the usual ones",
        ),
        (
            "images of PSNR and SSIM",
            _by_scale(lambda scale: f"{scale.image_items:,}") + "; PSNR of the pooled error, range 1",
            "not given; the paper's PSNR would be explained by range 255, which stands beside ours",
        ),
    )
    return Table("Not in the paper: our choice, and why", ("what", "our choice", "why"), rows, "")
