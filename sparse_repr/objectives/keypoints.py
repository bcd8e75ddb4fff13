"""Keypoint autoencoders: places and presences that redraw the image, with a price on every presence or without."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from sparse_repr.command_line.bounds import require_whole
from sparse_repr.models import VAE
from sparse_repr.objectives.base import Objective, SingleOptimiserObjective, StepNumber, in_precision_of, ramp, reported
from sparse_repr.objectives.entry import ObjectiveChoice, Setting
from sparse_repr.objectives.reconstruction import Reconstruction

_HALF = 0.5
# a pixel of exactly 0 or 1 has no finite logit
_EDGE = 1e-6
_SLAB = 64


@dataclasses.dataclass(frozen=True)
class PresencePrice:
    """lambda min(1, step / warmup) sum_k softplus(l_k), in nats per image.

    lambda is `presence_weight` percent of the `background_loss`. The penalty is on the logits, as a saturated presence
    has no gradient: one that is on costs its logit, one that is off nothing.
    """

    presence_weight: float | Tensor
    """Price of a logit of 1, in percent of the background's loss."""
    presence_warmup: int
    """Steps over which it grows linearly from 0."""
    background_loss: float
    """What `background_only_loss` returned, in nats."""

    def __call__(self, logits: Tensor, step_number: StepNumber) -> Tensor:
        """Logits of the presences (B, K) -> what is added to the loss, scalar."""
        price = self.presence_weight * (self.background_loss / 100) * ramp(step_number, self.presence_warmup)
        size = F.softplus(logits).sum(1).mean()
        return in_precision_of(size, price) * size


class KeypointObjective(SingleOptimiserObjective):
    """Reconstruction from keypoints, without noise and without a prior (after Minderer et al. 2019), + the price."""

    def __init__(
        self,
        vae: VAE,
        reconstruction: Reconstruction,
        price: PresencePrice | None = None,
        *,
        learning_rate: float,
    ) -> None:
        """Own `vae` and an Adam optimiser for it.

        Args:
            vae: of `models.keypoints`.
            reconstruction: f(logits, images) -> (B,) nats.
            price: of the presences; None for none.
            learning_rate: of Adam.
        """
        super().__init__(vae, learning_rate=learning_rate, noise_size=0)
        self.reconstruction = reconstruction
        self.price = price

    def loss(
        self,
        images: Tensor,
        noise: Tensor,  # noqa: ARG002
        autocast: torch.autocast,
        step_number: StepNumber = 0,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss (scalar, with gradient) and its terms (scalars, detached), averaged over the batch."""
        with autocast:
            (x, y, logit), looks = self.vae.encoder.keypoints_and_looks(self.vae.seen(images))
            presence = torch.sigmoid(logit)
            # the places as they are: those in the code, divided by a presence near 0 again, would lose their digits
            drawn = self.vae.decoder.draw(x, y, presence, looks)
        reconstruction = self.reconstruction(drawn, images).mean()
        terms = {"reconstruction": reconstruction, "present": (presence > _HALF).float().sum(1).mean()}
        loss = reconstruction
        if self.price is not None:
            terms["presence_price"] = self.price(logit, step_number)
            loss = loss + terms["presence_price"]
        return loss, reported({"loss": loss, **terms})

    def with_weights(self, weights: Mapping[str, Tensor]) -> KeypointObjective:
        """The same networks under another price, a scalar tensor by its name."""
        changed = copy.copy(self)
        if weights and self.price is not None:
            changed.price = dataclasses.replace(self.price, presence_weight=weights["presence_weight"])
        return changed


@torch.no_grad()
def background_only_loss(background: Tensor, images: Tensor, reconstruction: Reconstruction) -> float:
    """How much more the background alone loses than the images themselves, mean in nats: what there is to draw.

    Args:
        background: (C, S, S) in 0..1.
        images: (n, C, S, S) in 0..1.
        reconstruction: f(logits, images) -> (n,) nats.
    """
    total = 0.0
    alone = torch.logit(background.clamp(_EDGE, 1 - _EDGE))
    for slab in images.split(_SLAB):
        exact = torch.logit(slab.clamp(_EDGE, 1 - _EDGE))
        total += float((reconstruction(alone.expand_as(slab), slab) - reconstruction(exact, slab)).sum())
    return total / len(images)


def _build(vae: VAE, reconstruction: Reconstruction, *, learning_rate: float) -> Objective:
    return KeypointObjective(vae, reconstruction, learning_rate=learning_rate)


def _build_sparse(
    vae: VAE,
    reconstruction: Reconstruction,
    *,
    learning_rate: float,
    presence_weight: float,
    presence_warmup: int,
    background_loss: float,
) -> Objective:
    price = PresencePrice(presence_weight, presence_warmup, background_loss)
    return KeypointObjective(vae, reconstruction, price, learning_rate=learning_rate)


KEYPOINTS = ObjectiveChoice(
    "autoencoder of keypoints, places and presences (Finn et al. 2016, Jakab et al. 2018), architecture keypoints",
    {},
    _build,
    heads=("keypoints",),
)
SPARSE_KEYPOINTS = ObjectiveChoice(
    "keypoints with a price on every presence (after Minderer et al. 2019), so that few are on",
    # 0.3 nats on the frames of SpriteChase. At ten times it, the first default, agents do no better there and transfer
    # worse; and on SpritePose, with a single sprite, presences shrink until units count as dead
    {"presence_weight": 0.007},
    _build_sparse,
    {"presence_warmup": Setting(1_000, partial(require_whole, least=0))},
    needs=("background_loss",),
    heads=("keypoints",),
)
