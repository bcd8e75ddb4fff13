"""Looks at a run on its way: whether its decoder uses the code, and what most likely keeps it from doing so."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from sparse_repr.encoder.code_use import CodeUse
from sparse_repr.objectives import WeightedKL, choose_objective, ramp
from sparse_repr.perceptual.levels import parse_levels

# below so many nats there is no room for a picture's place
_ROOM_NATS = 2.0
# what a perceptual loss sees of a vague guess: at 16x16 it falls with every pixel a blob comes nearer, at 64x64 it
# rises above that of an empty picture
_COARSE = 16
_QUICK_RATE = 1e-3
_KL_WEIGHTS = ("mutual_information_weight", "dimension_kl_weight")


@dataclasses.dataclass(frozen=True)
class Looks:
    """When a run is looked at: after `first` steps, twice, four times, eight times as many ...; 0 is never.

    >>> [step for step in range(4_001) if Looks(500).is_due(step)]
    [500, 1000, 2000, 4000]
    """

    first: int

    def is_due(self, step: int) -> bool:
        """Whether there is a look after `step` steps."""
        if not self.first or not step or step % self.first:
            return False
        times = step // self.first
        return times & (times - 1) == 0


def ignored_code_message(settings: Mapping[str, Any], use: CodeUse, step: int) -> str | None:
    """What to tell of a run whose decoder ignores its code: what was measured, and the causes, likeliest first.

    Args:
        settings: of the run, as `PretrainConfig.to_json` has them.
        use: what was measured.
        step: steps taken.

    Returns:
        None where the code is used; where a schedule holds the run on its plateau and will let it go; and for an
        objective that never compares a picture with its image.
    """
    if not use.ignored or not choose_objective(settings["objective"]).reconstructs or _held(settings, step):
        return None
    causes = list(likely_causes(settings, step))
    numbered = [f"({place}) {cause}" for place, cause in enumerate(causes, 1)] if len(causes) > 1 else causes
    return (
        f"after {step:,} steps the decoder ignores the code and draws one picture for all images: {use.in_words()}. "
        f"Likely because {'; '.join(numbered)}"
    )


def _held(settings: Mapping[str, Any], step: int) -> bool:
    """Whether a schedule still keeps a run on its plateau, and will let it go in good time."""
    if step < settings["learning_rate_warmup"]:
        return True
    if _kl_weight(settings, step) > 2 * _kl_weight(settings, settings["steps"]):
        return settings["beta_steps"] <= settings["steps"] / 2
    return _capacity(settings, step) < _ROOM_NATS <= _capacity(settings, settings["steps"]) / 2


def likely_causes(settings: Mapping[str, Any], step: int) -> Iterator[str]:
    """Why the decoder of a run may ignore its code, by its settings, each with what to do; likeliest first.

    Args:
        settings: of the run, as `PretrainConfig.to_json` has them.
        step: steps taken.
    """
    room = _capacity(settings, step)
    if room < _ROOM_NATS:
        yield (
            f"the capacity has grown to no more than {room:.2g} of {settings['capacity_nats']:g} nats: let it grow "
            f"sooner, over a part of the run (capacity_steps, --capacity-steps, below {settings['steps']})"
        )
    yield from _of_perceptual_loss(settings)
    yield from _of_penalty(settings, step)
    yield from _of_weights(settings, step)
    yield from _of_start(settings)


def _capacity(settings: Mapping[str, Any], step: int) -> float:
    """The KL that is let through, in nats; infinite where nothing holds it at a value."""
    if settings.get("capacity_nats") is None:
        return float("inf")
    return settings["capacity_nats"] * float(ramp(step, settings["capacity_steps"]))


def _kl_weight(settings: Mapping[str, Any], step: int) -> float:
    """beta at a step; 1 where the objective has none."""
    beta = settings.get("beta")
    start, steps = settings.get("beta_start") or 0.0, settings.get("beta_steps") or 0
    return float(WeightedKL(1.0 if beta is None else beta, start, steps).weight_at(step))


def _of_perceptual_loss(settings: Mapping[str, Any]) -> Iterator[str]:
    if not settings["perceptual_weight"] or settings["pixel_weight"]:
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
            "are: go from coarse to fine (perceptual_levels, --perceptual-levels 8,16,32@0.12:1/4,64@0.35:1/8 with "
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
    beta = _kl_weight(settings, step)
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
    if settings["initialisation"] == "default":
        yield (
            "the plain start lies on a plateau, which it leaves by itself after some hundred to some thousand steps: "
            "wait (steps, --steps), or start beyond it (initialisation, --initialisation output_bias or he; or by a "
            "preset DATASET/RECIPE/steady)"
        )
    if rate < _QUICK_RATE:
        yield f"the learning rate {rate:g} is slow to leave a plateau: raise it (learning_rate, --learning-rate 1e-3)"
    if settings["initialisation"] != "default" and rate >= _QUICK_RATE:
        yield "there were too few steps for these images (steps, --steps)"
