"""How much of an image its code brings back: whether the decoder listens to the code at all."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from sparse_repr.data import FactorDataset
from sparse_repr.encoder.preprocessing import Preprocessing
from sparse_repr.encoder.statistics import ACTIVE_VARIANCE
from sparse_repr.models import VAE

LEAST_SPREAD = 0.01
"""A smaller share of the images' variance in the reconstructions is none: after 500 steps of dSprites at 32x32 it was
below 0.0001 in runs on their plateau and above 0.1 in those that had left it."""
_ITEMS = 128
_SLAB = 64


@dataclasses.dataclass(frozen=True)
class CodeUse:
    """What the reconstructions of images, decoded from their posterior means, have to do with the images."""

    spread: float
    """Variance of the reconstructions over the images, summed over the pixels, as a share of the images' own: 0 where
    every image gets the same picture. NaN where the images are all alike."""
    error: float
    """Squared error as a share of that of the mean picture, which needs no code: 1 is no better. NaN likewise."""
    active_units: int
    """Units of the code whose variance over the images is above 0.01 (Burda et al. 2016, section 5.2)."""

    @property
    def ignored(self) -> bool:
        """Whether the decoder draws the same picture whatever the code says."""
        return self.spread < LEAST_SPREAD

    def in_words(self) -> str:
        """The three measures as half a sentence."""
        units = f"{self.active_units} active unit{'' if self.active_units == 1 else 's'}"
        return (
            f"reconstructions vary by {100 * self.spread:.2g} % of the images' variance, with {units} and "
            f"{self.error:.2f} times the squared error of the mean picture"
        )


def use_of_code(vae: VAE, images: Tensor) -> CodeUse:
    """Measure what a model makes of images; no random number is drawn, and the model is left as it was.

    Args:
        vae: the networks.
        images: (B, C, S, S) in 0..1, on their device.
    """
    with torch.no_grad(), vae.at_rest():
        codes = torch.cat([vae.encoder(slab).mean for slab in images.split(_SLAB)])  # (B, D)
        pictures = torch.cat([torch.sigmoid(vae.decoder(slab)) for slab in codes.split(_SLAB)])  # (B, C, S, S)
    own = images.var(0, correction=0).sum()  # the squared error of the mean picture is this, too
    return CodeUse(
        spread=float(pictures.var(0, correction=0).sum() / own),
        error=float((pictures - images).square().mean(0).sum() / own),
        active_units=int((codes.var(0, correction=0) > ACTIVE_VARIANCE).sum()),
    )


def some_training_images(
    data: FactorDataset, preprocessing: Preprocessing, device: torch.device | str, *, count: int = _ITEMS
) -> Tensor:
    """`count` random training images (seed 0), or all if fewer, as the network takes them: (n, C, S, S)."""
    chosen = np.sort(np.random.default_rng(0).permutation(data.split[0])[:count])
    return preprocessing(torch.from_numpy(data.images(chosen)).to(device))
