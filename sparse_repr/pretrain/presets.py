"""Presets: published hyper-parameters by name, as ``dsprites/sparse``; ``fast``, ``steady``, ``opened``, ``turned``."""

from __future__ import annotations

from typing import Any

from sparse_repr.data import DATASETS
from sparse_repr.objectives import choose_objective, default_settings
from sparse_repr.perceptual.features import SHALLOW_LAYERS
from sparse_repr.perceptual.levels import COARSE_TO_FINE
from sparse_repr.pretrain.config import PretrainConfig
from sparse_repr.registry import lookup

# The reference settings are those of the public comparison of these objectives that accompanies Dubois et al. 2019:
# batch 64, Adam 5e-4 unless said otherwise, code size 10, Bernoulli likelihood. It starts from larger weights
# (Kaiming's everywhere; torch's own here), lets the regulariser grow from 0 over 10,000 steps, and takes 30 epochs of
# dSprites, 345,600 steps: --initialisation he --beta-start 0 --beta-steps 10_000 --steps 345_600 come close.
_COMMON: dict[str, Any] = {"batch_size": 64, "code_size": 10, "learning_rate": 5e-4}
_PERCEPTUAL: dict[str, Any] = {
    # the paper, section 3.2, replaces the pixel loss and names VGG16 (Johnson et al. 2016), but no layer and no weight
    "pixel_weight": 0.0,
    "perceptual_weight": 1.0,
    "perceptual_features": "vgg16",
    "perceptual_layers": SHALLOW_LAYERS,
    # from coarse to fine: at the full resolution alone this loss stays at one grey picture
    "perceptual_levels": COARSE_TO_FINE,
    "perceptual_scale": "data",
    "roughness_weight": 0.05,
    "initialisation": "he",
}
ONE_RESOLUTION: dict[str, Any] = {
    "perceptual_layers": "relu1_2,relu2_2,relu3_3",
    "perceptual_levels": None,
    "perceptual_scale": "image",
    "roughness_weight": 0.0,
    "initialisation": "default",
    "perceptual_weight": 1.0,
    "beta_start": None,
    "beta_steps": None,
}
"""What the perceptual recipes had before they went from coarse to fine: for results that were computed so."""
RECIPES: dict[str, dict[str, Any]] = {
    "vae": {"objective": "vae"},  # Kingma and Welling 2013; reference settings
    "beta_vae": {"objective": "beta_vae", "beta": 4.0},  # Higgins et al. 2017, section 4.2; reference settings
    # Burgess et al. 2018, section 5: 25 nats over 100,000 steps; gamma 100 and learning rate 1e-3: reference settings
    "beta_vae_capacity": {
        "objective": "beta_vae_capacity",
        "learning_rate": 1e-3,
        "capacity_weight": 100.0,
        "capacity_nats": 25.0,
        "capacity_steps": 100_000,
    },
    # Kim and Mnih 2018, appendix A, has 1e-4 for both networks; gamma 6.4 and 1e-5 beyond dSprites: reference settings
    "factor_vae": {
        "objective": "factor_vae",
        "learning_rate": 1e-4,
        "discriminator_learning_rate": 1e-5,
        "total_correlation_weight": 6.4,
    },
    "beta_tcvae": {"objective": "beta_tcvae", "total_correlation_weight": 6.4},  # Chen et al. 2018; reference settings
    "sparse": {"objective": "sparse", "beta": 1.0, "sparsity_weight": 1.0},  # the paper, section 4, gives no weight
    "perceptual": {"objective": "vae", **_PERCEPTUAL},
    "sparse_perceptual": {"objective": "sparse", "beta": 1.0, "sparsity_weight": 1.0, **_PERCEPTUAL},
    "feature_prediction": {"objective": "feature_prediction"},  # Pihlgren et al. 2021; its defaults are measured ones
}
"""Recipe -> settings of `PretrainConfig` for every data set."""
_KEYPOINTS: dict[str, Any] = {
    # chosen on recorded frames of SpriteChase, 64x64: 80 seconds of one core
    "batch_size": 32,
    "learning_rate": 2e-3,
    "learning_rate_warmup": 100,
    "learning_rate_decay": "cosine",
    "final_learning_rate": 1e-4,
    "steps": 3_000,
    "keypoints": 32,
}
CORRUPTED: dict[str, Any] = {"denoising_noise": 0.1, "denoising_color": 0.3, "denoising_background": 0.5}
"""Noise, other colours and other backgrounds that an encoder sees while it redraws the clean image; not tuned."""
ROBUST: dict[str, Any] = {**CORRUPTED, "random_shift": 8}
"""The same, and images moved by up to 8 pixels, an eighth of their width: as a camera that is moved; not tuned."""
KEYPOINT_RECIPES: dict[str, dict[str, Any]] = {
    "keypoints": {**_KEYPOINTS, "objective": "keypoints"},
    "sparse_keypoints": {**_KEYPOINTS, "objective": "sparse_keypoints"},
    "sparse_keypoints_denoised": {**_KEYPOINTS, "objective": "sparse_keypoints", **CORRUPTED},
    "sparse_keypoints_robust": {**_KEYPOINTS, "objective": "sparse_keypoints", **ROBUST},
    # as many as there are things, since each takes seven numbers
    "sparse_keypoints_looks": {
        **_KEYPOINTS,
        "objective": "sparse_keypoints",
        "architecture": "keypoints_looks",
        "keypoints": 8,
    },
}
"""Recipe -> settings of `PretrainConfig` for every data set, quick ones already: places of small things, for agents."""
_SPARSE_CODES: dict[str, Any] = {
    "batch_size": 64,
    "learning_rate": 1e-3,
    # a unit that is 0 in all images hears nothing: all must speak at first
    "initialisation": "he",
    "steps": 3_000,
    "code_size": 64,
}
SPARSE_CODE_RECIPES: dict[str, dict[str, Any]] = {
    "top_k": {**_SPARSE_CODES, "objective": "top_k", "units_per_image": 8},
    "batch_top_k": {**_SPARSE_CODES, "objective": "batch_top_k", "units_per_image": 8},
    "jump_relu": {**_SPARSE_CODES, "objective": "jump_relu"},
    "rectified_gaussian": {**_SPARSE_CODES, "objective": "rectified_gaussian", "units_per_image": 8},
    "vaease": {**_SPARSE_CODES, "objective": "vaease"},
}
"""Recipe -> settings of `PretrainConfig` for every data set, quick ones already: 64 units of which few are not 0."""
# One half: the scale of the features is that of the squared error, half of which is the loss of a Gaussian with unit
# variance. The weight of the KL comes down to beta from four times as much, so that positions get a unit each before
# other units open: with `he`, or with beta early, all open at once (MIG 0.01 to 0.02 in one run each).
_PERCEPTUAL_DSPRITES: dict[str, Any] = {
    "perceptual_weight": 0.5,
    "initialisation": "output_bias",
    "beta_start": 4.0,
    "beta_steps": 3_000,
}
_OF_DATASET: dict[str, dict[str, Any]] = {
    "dsprites/perceptual": _PERCEPTUAL_DSPRITES,
    "dsprites/sparse_perceptual": _PERCEPTUAL_DSPRITES,
    "dsprites/factor_vae": {"discriminator_learning_rate": 1e-4},  # reference settings
    "celeba/beta_vae": {"beta": 10.0},  # reference settings
    "celeba/beta_vae_capacity": {"capacity_nats": 50.0},  # reference settings
    "chairs/factor_vae": {"total_correlation_weight": 3.2},  # reference settings
}

FAST: dict[str, Any] = {
    "learning_rate": 1e-3,
    "initialisation": "he",
    "steps": 3_000,
}
"""What ``fast`` changes, chosen by `experiments.time_to_quality` on dSprites.

The bound of 10,000 published steps is reached in 7 to 19 % of their time, and passed by 8 to 24 nats in a third. The
code is another one: all units carry something, and MIG and AAM are lower than in the published settings, which start on
a plateau from torch's initial weights and leave it with 3 or 4 units. Where disentanglement counts, train by those.
"""
ROBUST_RECIPES: dict[str, dict[str, Any]] = {
    "vae_robust": {**_COMMON, "objective": "vae", **FAST, **ROBUST},  # as it was measured on SpriteReach
}
"""Recipe -> settings of `PretrainConfig` for every data set, quick ones already: dense codes of corrupted images."""


def _hastened(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a recipe with those of `FAST` on top."""
    hastened = {**settings, **FAST}
    if choose_objective(settings["objective"]).discriminates:
        # two networks play against each other at rates that are balanced: they keep them
        hastened["learning_rate"] = settings["learning_rate"]
    if "capacity_steps" in settings:
        hastened["capacity_steps"] = FAST["steps"]  # the published schedule spans the run
    if "beta_steps" in settings:
        hastened["beta_steps"] = FAST["steps"] // 2
    return hastened


STEADY: dict[str, Any] = {
    "learning_rate": 1e-3,
    "learning_rate_decay": "cosine",
    "final_learning_rate": 1e-5,
    "initialisation": "output_bias",
    "steps": 10_000,
}
"""What ``steady`` changes beside the schedules of the weights, chosen by `experiments.time_to_quality.training_curves`.

Runs start from the mean picture and with a larger weight of the KL, which goes down to beta, so that units open one
after another. Ten seeds of VAE, beta-VAE, sparse, both together and capacity all left the mean picture after 220 to 680
steps (32x32, batches of 32).
"""
_STEADY_STEPS = 1_000
_STEADY_BETA = 10.0
_STEADY_NATS = 12.0
_STEADY_GAMMA = 10.0


def _is_steadied(settings: dict[str, Any]) -> bool:
    choice = choose_objective(settings["objective"])
    return "perceptual_weight" not in settings and choice.reconstructs and not choice.discriminates


def _steadied(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a recipe with those of `STEADY` on top, and the schedules of those weights that its objective has."""
    taken = default_settings(settings["objective"])
    schedules = {
        # far enough above a large beta too
        "beta_start": max(_STEADY_BETA, 2.5 * settings.get("beta", 1.0)),
        "beta_steps": _STEADY_STEPS,
        "sparsity_warmup": _STEADY_STEPS,
        # the published gamma of 100 holds the KL at its capacity from step 0, before the decoder reads the code:
        # in a short run it is filled by a code that says nothing of the picture
        "capacity_weight": _STEADY_GAMMA,
        # what a VAE's code carries after some thousand steps; the published 25 nats are those of 100,000
        "capacity_nats": _STEADY_NATS,
        "capacity_steps": STEADY["steps"] * 3 // 4,
    }
    return {**settings, **STEADY, **{name: value for name, value in schedules.items() if name in taken}}


OPENED: dict[str, Any] = {
    "learning_rate": 2e-3,
    "learning_rate_decay": "cosine",
    "final_learning_rate": 1e-5,
    "initialisation": "he",
    "steps": 4_000,
}
"""What ``opened`` changes beside the schedules, chosen on dSprites with seeds from 100 on.

For the 128 from which the KL comes down where units are turned, the first steps of seeds 0 and 2 were looked at too.

`he` by itself opens all units at once, and positions are spread over all of them (MIG 0.02 to 0.04). So large a weight
of the KL that none is open at first lets positions and size have units of their own; with that alone all else stays
closed, and shapes are discs. So the others are opened then (`sparse_repr.pretrain.opening`); an L1 penalty, which would
close them again, counts only behind that. Most neurons die while few units are open, and where units are turned these
get new weights (`sparse_repr.pretrain.dead_neurons`).
"""
_STEPS_TO_TURN = 2_000
_TURNED_STEPS = 16_000
_FIRST_STEPS = 4 * _TURNED_STEPS // 25
"""What the first part of a longer run has too: in a longer one no unit opened."""
_TURNED: dict[str, Any] = {"beta_start": 128.0, "opening_ica": True, "opening_recycle": True}
_HURRIED: dict[str, Any] = {"beta_start": 64.0}
_PARTS = 28
_OPENED_STEPS_OF_FEATURES = 14_000
_OPENED_RECIPES = ("vae", "beta_vae", "sparse", "perceptual", "sparse_perceptual")


def opened(recipe: str, steps: int) -> dict[str, Any]:
    """Settings by which a run of `steps` steps gets sharp and disentangled, its schedules as shares of the run.

    With a perceptual loss the pixels draw the first 19 of 28 parts of the run, fade over the next two, and the features
    are alone for the last seven: by themselves they find places and sizes, and take a disc for any shape.

    Where the first part has 2,000 steps, the weight of the KL comes down from 128 so slowly that a place has two units,
    which are turned to its coordinates (`sparse_repr.pretrain.independent_units`). In fewer steps (640 and 1,000 were
    tried) three units share a place, from 128 on as from 64, which turning does not undo; such runs are only opened.
    The first part of a longer run has 2,560 steps too: where it had 12,160, of 76,000, no
    unit opened in it (a VAE of dSprites, one run; other recipes were not tried so long).

    Args:
        recipe: vae, beta_vae, sparse, perceptual or sparse_perceptual.
        steps: of the run, at least 7 so that every part of the schedule has one, with a perceptual loss 28.

    Raises:
        ValueError: another recipe, or fewer steps.

    Example:
        >>> opened("vae", 16_000)["opening_step"], opened("sparse", 16_000)["sparsity_start"]
        (2560, 9600)
    """
    lookup(dict.fromkeys(_OPENED_RECIPES), recipe, "recipe whose units can be opened")
    least = _PARTS if "perceptual" in recipe else 7
    if steps < least:
        raise ValueError(f"steps needs at least {least} for the parts of this schedule, got {steps}")
    if "perceptual" in recipe:
        # the L1 penalty counts from where the features do, by itself
        warmup = {"sparsity_warmup": steps // _PARTS} if recipe == "sparse_perceptual" else {}
        return {**OPENED, **_opened_before_features(steps), **warmup}
    share = 4 * steps // 25
    first = min(share, _FIRST_STEPS)
    schedules = {
        **_first_units(first),
        "learning_rate_warmup": min(steps, _TURNED_STEPS) // 40,
        "beta_steps": first,
        "opening_step": first,
        "opening_steps": 11 * steps // 25,
    }
    if recipe == "sparse":
        schedules["sparsity_start"] = first + 3 * steps // 5 - share
    return {**OPENED, **schedules, "steps": steps}


def _first_units(steps: int) -> dict[str, Any]:
    """How the first units open, in as many steps."""
    return _TURNED if steps >= _STEPS_TO_TURN else _HURRIED


def _opened_before_features(steps: int) -> dict[str, Any]:
    """The same where features take over, in 28ths of the run: shapes are there once the KL is whole again, and stay."""
    first, joins = min(5 * steps // _PARTS, _FIRST_STEPS), 19 * steps // _PARTS
    return {
        **_first_units(first),
        "steps": steps,
        "batch_size": 64,
        "learning_rate_warmup": min(steps, _TURNED_STEPS) // 40,
        "learning_rate_decay_steps": 26 * steps // _PARTS,
        "beta_steps": first,
        "opening_step": first,
        "opening_steps": 13 * steps // _PARTS,
        "pixel_start": 1.0,
        "pixel_steps": 2 * steps // _PARTS,
        "perceptual_weight": 0.5,
        "perceptual_images": 32,
        "perceptual_levels": f"8@{joins},16@{joins},32@{joins}:1/4,64@{joins}:1/8",
    }


_PUBLISHED: dict[str, dict[str, Any]] = {
    f"{dataset}/{recipe}": {
        "dataset": dataset,
        **_COMMON,
        **settings,
        **_OF_DATASET.get(f"{dataset}/{recipe}", {}),
    }
    for dataset in DATASETS
    for recipe, settings in RECIPES.items()
}
PRESETS: dict[str, dict[str, Any]] = {
    "fast": FAST,
    **_PUBLISHED,
    **{f"{name}/fast": _hastened(settings) for name, settings in _PUBLISHED.items()},
    **{
        f"dsprites/{recipe}/opened": {
            **_PUBLISHED[f"dsprites/{recipe}"],
            **opened(recipe, _OPENED_STEPS_OF_FEATURES if "perceptual" in recipe else OPENED["steps"]),
        }
        for recipe in _OPENED_RECIPES
    },
    **{
        f"dsprites/{recipe}/turned": {
            **_PUBLISHED[f"dsprites/{recipe}"],
            **opened(recipe, _TURNED_STEPS),
            **({"sparsity_warmup": _TURNED_STEPS // 8} if recipe == "sparse" else {}),
        }
        for recipe in ("vae", "beta_vae", "sparse")
    },
    **{f"{name}/steady": _steadied(settings) for name, settings in _PUBLISHED.items() if _is_steadied(settings)},
    **{
        f"{dataset}/{recipe}": {"dataset": dataset, **settings}
        for dataset in DATASETS
        for recipe, settings in {**KEYPOINT_RECIPES, **SPARSE_CODE_RECIPES, **ROBUST_RECIPES}.items()
    },
}
"""``DATASET/RECIPE``, ``DATASET/RECIPE/fast``, ``DATASET/RECIPE/steady`` (recipes of the pixels without a
discriminator), ``dsprites/RECIPE/opened`` (vae, beta_vae, sparse, perceptual, sparse_perceptual),
``dsprites/RECIPE/turned`` (vae, beta_vae, sparse) or ``fast`` (the default data set and objective) -> settings of
`PretrainConfig`."""


def preset_config(name: str, **changes: Any) -> PretrainConfig:
    """The configuration called `name` in `PRESETS`, with `changes` on top.

    Raises:
        ValueError: unknown preset, or settings that do not fit together.
    """
    return PretrainConfig(**{**lookup(PRESETS, name, "preset"), **changes})
