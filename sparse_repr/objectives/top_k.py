"""The k largest units of each image, or the B k largest of a batch: as many zeros as are asked for, no shrinkage."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sparse_repr.command_line.bounds import require_whole
from sparse_repr.models import VAE, Thresholded, TopK, largest_of_each
from sparse_repr.objectives.base import Objective, StepNumber, ramp
from sparse_repr.objectives.entry import ObjectiveChoice, Setting
from sparse_repr.objectives.point_code import Coded, PointCodeObjective, point_code
from sparse_repr.objectives.reconstruction import Reconstruction


@dataclasses.dataclass(frozen=True)
class UnitsPerImage:
    """How many units stand at a step: from D down to k, linearly.

    A unit that never was among the largest has learned nothing and never will be: all speak at first (Makhzani and Frey
    2013 lower their k from epoch to epoch for the same reason).
    """

    units_per_image: int
    """k, units of each image in the end."""
    units_per_image_steps: int
    """Steps over which D go down to k; 0 for k throughout."""

    def at(self, step_number: StepNumber, code_size: int) -> float | Tensor:
        """k_t = D + (k - D) min(1, step / steps)."""
        return code_size + (self.units_per_image - code_size) * ramp(step_number, self.units_per_image_steps)


def _as_tensor(value: float | Tensor, like: Tensor) -> Tensor:
    # filled on the device: a number that is copied there makes the host wait
    return value.to(like.dtype) if isinstance(value, Tensor) else like.new_full((), value)


@dataclasses.dataclass(frozen=True)
class LargestOfImage(UnitsPerImage):
    """z = the k largest of relu(a), the others 0; the gradient passes those that stand.

    Makhzani and Frey 2013; Gao et al. 2024, whose activations pass a ReLU too. Deviations: theirs are linear
    autoencoders, here a network is on either side; what keeps units alive is the schedule of k, and not the auxiliary
    loss of Gao et al., which needs a linear decoder.
    """

    def __call__(self, components: TopK, noise: Tensor, step_number: StepNumber) -> Coded:  # noqa: ARG002
        activations = components.activations
        units = _as_tensor(self.at(step_number, activations.shape[1]), activations).round()
        return activations * largest_of_each(activations, units), 0.0, {}


@dataclasses.dataclass(frozen=True)
class LargestOfBatch(UnitsPerImage):
    """z = the B k largest of relu(a) over the batch, so that an image has as many as it needs, k on average.

    Bussmann et al. 2024. For encoding, where there is no batch, units above one threshold stand. Deviation:
    theirs is the mean of the smallest that stood in each batch; here it is learned, as the quantile 1 - k / D of the
    activations, by that quantile's own loss (Koenker and Bassett 1978), whose gradient reaches nothing else.
    """

    def __call__(self, components: Thresholded, noise: Tensor, step_number: StepNumber) -> Coded:  # noqa: ARG002
        activations = components.activations
        batch, size = activations.shape
        units = _as_tensor(self.at(step_number, size), activations)
        stands = largest_of_each(activations.reshape(1, -1), (batch * units).round()).reshape(batch, size)
        # that of the mean alone: all of them get the same gradient and stay one threshold
        threshold = components.threshold.mean()
        above = activations.detach() - threshold
        # the slopes of the quantile's loss, k / D of all being above; as its value says nothing, it is left out
        slopes = torch.where(above > 0, 1 - units / size, -units / size)
        pinball = (slopes.to(above.dtype) * above).mean()
        return activations * stands, pinball - pinball.detach(), {"threshold": threshold}


def require_units(code_size: int, *, units_per_image: int, **_: Any) -> None:
    """Check how many of the units of a code may stand.

    Raises:
        ValueError: more than there are.
    """
    if units_per_image > code_size:
        raise ValueError(
            f"units_per_image needs at most code_size, {code_size} units, got {units_per_image}: lower it "
            "(--units-per-image), or raise code_size (--code-size)"
        )


_OPTIONS = {
    "units_per_image": Setting(4, require_whole),
    "units_per_image_steps": Setting(1_000, partial(require_whole, least=0)),
}


def _build_top_k(vae: VAE, reconstruction: Reconstruction, *, learning_rate: float, **settings: Any) -> Objective:
    sparsifier = LargestOfImage(**settings)
    vae.encoder.units.fill_(sparsifier.units_per_image)
    return PointCodeObjective(vae, reconstruction, sparsifier, learning_rate=learning_rate)


TOP_K = ObjectiveChoice(
    "autoencoder of the k largest units of each image, the others are exactly 0 (Makhzani and Frey 2013)",
    {},
    _build_top_k,
    _OPTIONS,
    check_code=require_units,
    heads=("top_k",),
)
BATCH_TOP_K = ObjectiveChoice(
    "top_k over a batch, k units on average, and a learned threshold to encode by (Bussmann et al. 2024)",
    {},
    point_code(LargestOfBatch),
    _OPTIONS,
    check_code=require_units,
    heads=("thresholded",),
    couples_images="it keeps the largest units of a batch",
)
