"""Why the decoder of a run may ignore its code, as far as its settings tell, and what to do about each cause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sparse_repr.objectives import WeightedKL, ramp
from sparse_repr.perceptual.levels import COARSE_TO_FINE, parse_levels

LEAST_ROOM_NATS = 2.0
"""A smaller capacity has no room for a picture's place."""
# what a perceptual loss sees of a vague guess: at 16x16 it falls with every pixel a blob comes nearer, at 64x64 it
# rises above that of an empty picture
_COARSE = 16
_QUICK_RATE = 1e-3
_KL_WEIGHTS = ("mutual_information_weight", "dimension_kl_weight")


def likely_causes(settings: Mapping[str, Any], step: int) -> Iterator[str]:
    """Why the decoder of a run may ignore its code, by its settings, each with what to do; likeliest first.

    Args:
        settings: of the run, as `PretrainConfig.to_json` has them.
        step: steps taken.
    """
    room = capacity_at(settings, step)
    if room < LEAST_ROOM_NATS:
        yield (
            f"the capacity has grown to no more than {room:.2g} of {settings['capacity_nats']:g} nats: let it grow "
            f"sooner, over a part of the run (capacity_steps, --capacity-steps, below {settings['steps']})"
        )
    yield from _of_perceptual_loss(settings)
    yield from _of_penalty(settings, step)
    price = settings.get("presence_weight") or 0
    if price:
        yield (
            f"the presences of keypoints, at presence_weight {price:g} %, cost more than they save: lower it "
            "(presence_weight, --presence-weight)"
        )
    yield from _of_weights(settings, step)
    yield from _of_start(settings)


def capacity_at(settings: Mapping[str, Any], step: int) -> float:
    """The KL that is let through after `step` steps, in nats; infinite where nothing holds it at a value."""
    if settings.get("capacity_nats") is None:
        return float("inf")
    return settings["capacity_nats"] * float(ramp(step, settings["capacity_steps"]))


def kl_weight_at(settings: Mapping[str, Any], step: int) -> float:
    """beta at a step; 1 where the objective has none."""
    beta = settings.get("beta")
    schedule = {name: settings.get(name) or 0 for name in ("beta_start", "beta_steps", "opening_step", "opening_steps")}
    return float(WeightedKL(1.0 if beta is None else beta, **schedule).weight_at(step))


def _of_perceptual_loss(settings: Mapping[str, Any]) -> Iterator[str]:
    # pixels that are there at first have brought it off the mean picture, or something else keeps it there
    if not settings["perceptual_weight"] or settings["pixel_weight"] or settings.get("pixel_steps"):
        return
    if settings["perceptual_features"] != "vgg16":
        yield (
            "features of a denoising autoencoder alone draw the pictures: add the loss of the pixels (pixel_weight, "
            "--pixel-weight 1)"
        )
        return
    size = settings["perceptual_resolution"] or settings["image_size"]
    if settings["perceptual_levels"] is not None:
        levels = parse_levels(settings["perceptual_levels"], settings["steps"])
        size = min(level.resolution for level in levels if level.start == 0)
    if size > _COARSE:
        yield (
            f"a perceptual loss alone at {size}x{size} sees edges, and earns nothing for knowing roughly where they "
            f"are: go from coarse to fine (perceptual_levels, --perceptual-levels {COARSE_TO_FINE} with "
            "--perceptual-scale data, as --preset DATASET/perceptual does), or add the loss of the pixels "
            "(pixel_weight, --pixel-weight 1)"
        )


def _of_penalty(settings: Mapping[str, Any], step: int) -> Iterator[str]:
    weight = settings.get("sparsity_weight") or 0
    warmup, start = settings.get("sparsity_warmup") or 0, settings.get("sparsity_start") or 0
    now = weight * float(ramp(max(0, step - start), warmup)) if step >= start else 0.0
    if not now:
        return
    if not warmup and not start:
        yield (
            f"the L1 weight {weight:g} counts from step 0, before a unit has earned anything: let it grow "
            f"(sparsity_warmup, --sparsity-warmup {max(1_000, settings['steps'] // 5)}), or lower it "
            f"(sparsity_weight, --sparsity-weight)"
        )
    elif now > 1:
        yield f"the L1 weight, {now:g} by now, outweighs a unit's gain: lower it (sparsity_weight, --sparsity-weight)"


def _of_weights(settings: Mapping[str, Any], step: int) -> Iterator[str]:
    beta = kl_weight_at(settings, step)
    weights = {"beta": beta, **{name: settings.get(name) or 0 for name in _KL_WEIGHTS}}
    for name, weight in weights.items():
        if weight > 1:
            sooner = ", or let beta_steps end sooner" if name == "beta" and settings.get("beta_steps") else ""
            yield (
                f"{name} {weight:g} makes every nat of the code that much dearer than what it saves: lower it "
                f"({name}, --{name.replace('_', '-')}){sooner}"
            )
    pixels = settings["pixel_weight"]
    if 0 < pixels < 1 and not settings["perceptual_weight"]:
        yield f"pixel_weight {pixels:g} makes what the code saves that much cheaper: raise it (--pixel-weight)"


def _of_start(settings: Mapping[str, Any]) -> Iterator[str]:
    rate = settings["learning_rate"]
    plain = settings["initialisation"] == "default" and settings.get("keypoints") is None
    if plain:
        yield (
            "the plain start lies on a plateau, which it leaves by itself after some hundred to some thousand steps: "
            "wait (steps, --steps), or start beyond it (initialisation, --initialisation output_bias or he; or by a "
            "preset DATASET/RECIPE/steady)"
        )
    if rate < _QUICK_RATE:
        yield f"the learning rate {rate:g} is slow to leave a plateau: raise it (learning_rate, --learning-rate 1e-3)"
    if not plain and rate >= _QUICK_RATE:
        yield "there were too few steps for these images (steps, --steps)"
