"""Codes that carry nothing: encoders no unit of which is active, said once for each, and runs on the way there."""

from __future__ import annotations

import warnings
import weakref

from sparse_repr.encoder import FrozenEncoder
from sparse_repr.models import ARCHITECTURES
from sparse_repr.models.heads import HEADS

_TOLD: weakref.WeakSet[FrozenEncoder] = weakref.WeakSet()


class CollapsedEncoderWarning(UserWarning):
    """An encoder gives every image nearly the same code."""


class IgnoredCodeWarning(UserWarning):
    """The decoder of a run in training draws one picture for all images, whatever the code says."""


class PresenceWarning(UserWarning):
    """The keypoints of a run in training are all present in every image, or none is in any."""


_REWARDS = (
    *("feature_weight", "information_weight", "variance_weight", "matching_weight"),
    *("quantise_weight", "commit_weight"),
)
"""Weights that do not keep units from being used: lower ones would not help."""


def _keypoints_preset(encoder: FrozenEncoder) -> str:
    """The preset of the objective and architecture of keypoints."""
    name = "keypoints" if encoder.spec.objective["name"] == "keypoints" else "sparse_keypoints"
    return "sparse_keypoints_looks" if encoder.spec.architecture == "keypoints_looks" else name


def warn_if_collapsed(encoder: FrozenEncoder, *, stacklevel: int = 2) -> None:
    """Warn, once for each encoder, if none of its units was active on its training images (Burda et al. 2016).

    Decided by the statistics in the artefact. An encoder that was never trained counts no unit as dead.

    Args:
        encoder: any.
        stacklevel: of the warning, as in `warnings.warn`.
    """
    units = encoder.spec.units
    if any(units.active) or encoder in _TOLD:
        return
    _TOLD.add(encoder)
    training = encoder.spec.objective
    network = ARCHITECTURES.get(encoder.spec.architecture)
    head = None if network is None else HEADS.get(network.head)
    family = network is not None and head is None  # keypoints, which are no vector of units behind a head
    deaf = network is None or (head is not None and head.deaf_at_zero)
    if not any(units.std) and training.get("steps") and deaf:
        warnings.warn(
            f"none of the {len(units.active)} units of {encoder!r} is active: all are the same in all of its training "
            f"images after {training['steps']} steps, as units are that are 0 everywhere and learn nothing any more. "
            "More steps do not help: start again in another folder (--run-dir), by the preset of the objective where "
            "it has one (--preset DATASET/OBJECTIVE), a smaller learning rate (--learning-rate) or another seed "
            "(--seed)",
            CollapsedEncoderWarning,
            stacklevel=stacklevel + 1,
        )
        return
    given = dict(training.get("weights") or {})
    weights = ", ".join(f"{name} {value:g}" for name, value in given.items() if name not in _REWARDS and value)
    outweighed = f"the penalties ({weights}) still outweigh what a unit would add" if weights else "no unit is used yet"
    warnings.warn(
        f"none of the {len(units.active)} units of {encoder!r} is active: over its training images no code varies by "
        f"more than {max(units.std):.2g} (standard deviation), so every image has nearly the same code, which tells "
        f"metrics and agents nothing. After {training.get('steps')} steps {outweighed}: train for more steps "
        f"(steps, --steps), {'with lower weights, ' if weights else ''}"
        + (
            f"or by its preset (--preset DATASET/{_keypoints_preset(encoder)})"
            if family
            else "or by the settings of --preset fast (learning_rate 1e-3 and initialisation he), which leave this "
            "plateau sooner"
        ),
        CollapsedEncoderWarning,
        stacklevel=stacklevel + 1,
    )
