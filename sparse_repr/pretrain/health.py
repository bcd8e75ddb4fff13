"""Looks at a run on its way: whether its decoder uses the code, and what is wrong with its settings if not."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sparse_repr.encoder.code_use import CodeUse, use_of_code
from sparse_repr.encoder.collapse import IgnoredCodeWarning, PresenceWarning
from sparse_repr.models import VAE, KeypointEncoder, Presences, presences_of
from sparse_repr.objectives import choose_objective
from sparse_repr.pretrain.causes import LEAST_ROOM_NATS, capacity_at, kl_weight_at, likely_causes
from sparse_repr.pretrain.dead_neurons import dead_share
from sparse_repr.pretrain.loggers import Logger


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
    if kl_weight_at(settings, step) > 2 * kl_weight_at(settings, settings["steps"]):
        return settings["beta_steps"] <= settings["steps"] / 2
    return capacity_at(settings, step) < LEAST_ROOM_NATS <= capacity_at(settings, settings["steps"]) / 2


def presence_message(settings: Mapping[str, Any], presences: Presences, step: int) -> str | None:
    """What to tell of a run whose keypoints are all present in every image, or none in any; None elsewhere.

    Where presences have no price, all may be on. Where they have one, it is waited until twice its warm-up.
    """
    price = settings.get("presence_weight") or 0
    if not price or step < 2 * settings["presence_warmup"]:
        return None
    told = f"after {step:,} steps {{}}: {{}} (presence_weight, --presence-weight, is {price:g} %)"
    if presences.always == presences.keypoints:
        return told.format(f"all {presences.keypoints} keypoints are present in every image", "raise their price")
    if presences.never == presences.keypoints:
        return told.format(f"none of {presences.keypoints} keypoints is present in any image", "lower their price")
    return None


class HealthCheck:
    """The looks of one run: what they find is logged, and what is wrong is told once."""

    def __init__(self, first: int, folder: Path, settings: Mapping[str, Any]) -> None:
        """Look at a run.

        Args:
            first: steps until the first look; 0 for none.
            folder: of the run, for messages.
            settings: of the run, as `PretrainConfig.to_json` has them.
        """
        self._looks = Looks(first)
        self._folder = folder
        self._settings = settings
        self._told: set[type[Warning]] = set()

    def is_due(self, step: int) -> bool:
        """Whether there is a look after `step` steps."""
        return self._looks.is_due(step)

    def look(self, vae: VAE, images: Tensor, writer: Logger, step: int) -> None:
        """Write how much the decoder makes of the code, and warn if that is nothing; draws no random number.

        Args:
            vae: the networks, which stay as they are.
            images: (B, C, S, S) in 0..1.
            writer: of the run's events.
            step: steps taken.
        """
        use = use_of_code(vae, images)
        measures: dict[str, float] = dataclasses.asdict(use)
        self._tell(IgnoredCodeWarning, ignored_code_message(self._settings, use, step))
        if isinstance(vae.encoder, KeypointEncoder):
            presences = presences_of(vae.encoder, images)
            measures["present"] = presences.mean
            self._tell(PresenceWarning, presence_message(self._settings, presences, step))
        dead = dead_share(vae, images)
        if dead is not None:
            measures["dead_neurons"] = dead
        for name, value in measures.items():
            writer.add_scalar(f"health/{name}", value, step)

    def _tell(self, kind: type[Warning], message: str | None) -> None:
        if message is None or kind in self._told:
            return
        self._told.add(kind)
        warnings.warn(
            f"{self._folder}: {message}. Training goes on; health/... in TensorBoard shows whether it recovers "
            "(health_check, --health-check 0, ends these looks)",
            kind,
            stacklevel=3,
        )
