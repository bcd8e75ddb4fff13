"""Opening: units that are closed late in a run are turned to what the open ones leave out of the picture.

A weight of the KL from far above lets few units open, each for one thing: the place, the size. Their pictures are
discs, and the other units stay closed, since nothing leads out of there: the decoder does not listen to them, and what
they say varies with nothing. Starting all at once gives sharp pictures, and places smeared over all units. So first
few, then the others, along the directions in which the encoder's last features vary *for reasons that the open units do
not tell*. Not from a paper. What it brings: `experiments/results/time_to_quality/training_curves/opening`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparse_repr.encoder.statistics import ACTIVE_VARIANCE
from sparse_repr.models import VAE
from sparse_repr.pretrain.code_layers import first_layer, posterior_layer, posterior_means

OPENING_IMAGES = 4_096
"""Training images that the directions are found on."""
_WAVES = 256
# of an opened unit: its noise is small enough to be heard, and large enough to be made larger
_LOG_VARIANCE = -3.0
# a direction that varies less, of all that the features vary by, is rounding
_LEAST = 1e-4


@torch.no_grad()
def open_closed_units(vae: VAE, images: Tensor, *, seed: int) -> list[int]:
    """Open the units whose posterior mean does not vary, in place.

    H, the encoder's last features (n, F), are predicted from the means of the open units by least squares on them and
    on 256 random cosines of them (Rahimi and Recht 2007). The principal directions of what is left become the means of
    the closed units, the strongest first, with variance 1 over the images and log-variance -3; the decoder's weights
    for them are drawn as large as those for the open ones.

    Args:
        vae: of networks with a layer of features and one of the posterior, such as `burgess`.
        images: (n, C, S, S) in 0..1.
        seed: of the cosines and of the decoder's new weights.

    Returns:
        The units that were opened.

    Raises:
        ValueError: a network of another kind.
    """
    heads, listeners = posterior_layer(vae), first_layer(vae)
    features, means = posterior_means(vae, images)  # (n, F) and (n, D)
    varies = means.var(0, correction=0) > ACTIVE_VARIANCE
    closed = (~varies).nonzero().flatten().tolist()
    if not closed:
        return []
    generator = torch.Generator().manual_seed(seed)
    directions = _untold_directions(features, means[:, varies], generator)[: len(closed)]
    opened = closed[: len(directions)]
    for unit, direction in zip(opened, directions, strict=True):
        told = features @ direction
        readout = direction / told.std(correction=0)
        heads.weight[unit] = readout.to(heads.weight)
        heads.bias[unit] = -(features.mean(0) @ readout).to(heads.bias)
        heads.weight[vae.code_size + unit] = 0
        heads.bias[vae.code_size + unit] = _LOG_VARIANCE
    size = listeners.weight[:, varies].std() if varies.any() else listeners.in_features**-0.5
    drawn = torch.randn((listeners.out_features, len(opened)), generator=generator)
    listeners.weight[:, opened] = (drawn * float(size)).to(listeners.weight)
    return opened


def _untold_directions(features: Tensor, means: Tensor, generator: torch.Generator) -> Tensor:
    """Principal directions (k, F) of the features (n, F) less what the means of the open units (n, m) tell of them."""
    told = means - means.mean(0)
    told = told / told.square().mean(0).sqrt()
    waves = min(_WAVES, len(told) // 8)  # so that few images are not told by heart
    frequencies = torch.randn((told.shape[1], waves), generator=generator, dtype=torch.float64)
    phases = 2 * torch.pi * torch.rand(waves, generator=generator, dtype=torch.float64)
    known = torch.cat([torch.ones(len(told), 1, dtype=torch.float64), told, (told @ frequencies + phases).cos()], 1)
    left = features - known @ torch.linalg.lstsq(known, features).solution
    _, strengths, directions = torch.linalg.svd(left - left.mean(0), full_matrices=False)
    return directions[strengths > _LEAST * (features - features.mean(0)).norm()]


def restart(optimiser: torch.optim.Optimizer) -> None:
    """Forget what an optimiser remembers of gradients, in place: they were of other units."""
    for state in optimiser.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                value.zero_()
