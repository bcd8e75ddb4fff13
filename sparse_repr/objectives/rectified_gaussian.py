"""Codes distributed as a rectified Gaussian: how many units of an image are not 0 is set, and none can collapse."""

from __future__ import annotations

import dataclasses
import statistics
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from sparse_repr.command_line.bounds import require_whole
from sparse_repr.models import VAE, Posterior
from sparse_repr.objectives.base import Objective, StepNumber
from sparse_repr.objectives.entry import ObjectiveChoice, Setting
from sparse_repr.objectives.point_code import Coded, PointCodeObjective
from sparse_repr.objectives.reconstruction import Reconstruction


def rectified_mean(share: float) -> float:
    """m for which relu(m + e), e standard normal, is above 0 with probability `share`.

    >>> round(rectified_mean(0.1), 3)
    -1.282
    """
    return statistics.NormalDist().inv_cdf(share)


def sliced_distance(codes: Tensor, targets: Tensor, directions: Tensor) -> Tensor:
    """Squared 2-Wasserstein distance between two samples, averaged over directions, times D (Rabin et al. 2011).

    Along a direction w the two samples are numbers, and the distance that of the sorted ones.

    Args:
        codes: (B, D).
        targets: (B, D).
        directions: (P, D), of any length.

    Returns:
        Scalar, at least 0.

    >>> import torch
    >>> one, two = torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [1.0]])
    >>> sliced_distance(one, two, torch.tensor([[5.0]]))  # 0 goes to 1, and 1 to 3
    tensor(2.5000)
    """
    along = F.normalize(directions, dim=1).T  # (D, P)
    ours, theirs = (codes @ along).sort(dim=0).values, (targets @ along).sort(dim=0).values
    return codes.shape[1] * (ours - theirs).square().mean()


@dataclasses.dataclass(frozen=True)
class RectifiedGaussian:
    """matching_weight times the sliced distance of a batch of codes z = relu(a) from relu(m + e), e standard normal.

    Kuang et al. 2026 (RDMReg), whose target is a rectified generalised Gaussian. Its mean m sets how many units of an
    image are not 0: P(m + e > 0) = k / D. The target is not closed under projection, so that it is compared as a
    sample, along random directions. Deviations: as many directions as there are images in the batch, where the authors'
    code has 8,192 (the gradient is that of more on average); the target is Gaussian throughout, and the regulariser
    stands beside a reconstruction.
    """

    matching_weight: float | Tensor
    """Weight of the distance, in nats for each unit's squared distance."""
    units_per_image: int
    """k, the expected number of units of an image that are not 0."""

    def __call__(self, components: Posterior, noise: Tensor, step_number: StepNumber) -> Coded:  # noqa: ARG002
        code = components.mean
        drawn, directions = noise.chunk(2, dim=1)
        target = (rectified_mean(self.units_per_image / code.shape[1]) + drawn).relu()
        distance = sliced_distance(code, target, directions)
        return code, self.matching_weight * distance, {"distance": distance}


def require_some_units(code_size: int, *, units_per_image: int, **_: Any) -> None:
    """Check how many units of a code may be other than 0.

    Raises:
        ValueError: all of them, or more than there are.
    """
    if units_per_image >= code_size:
        raise ValueError(
            f"units_per_image needs fewer than code_size, {code_size} units, got {units_per_image}: a rectified "
            "Gaussian always has zeros; lower it (--units-per-image), or raise code_size (--code-size)"
        )


def _build(vae: VAE, reconstruction: Reconstruction, *, learning_rate: float, **settings: Any) -> Objective:
    sparsifier = RectifiedGaussian(**settings)
    return PointCodeObjective(
        vae, reconstruction, sparsifier, learning_rate=learning_rate, noise_size=2 * vae.code_size
    )


RECTIFIED_GAUSSIAN = ObjectiveChoice(
    "autoencoder whose codes are distributed as a rectified Gaussian, which sets how many are not 0 "
    "(Kuang et al. 2026)",
    {"matching_weight": 20.0},
    _build,
    {"units_per_image": Setting(4, require_whole)},
    check_code=require_some_units,
    heads=("rectified",),
    smallest_batch=2,
    couples_images="it compares the codes of a batch with a sample",
)
