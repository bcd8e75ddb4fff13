"""The networks: one file for each architecture, what encoders end in, and how a VAE is put together."""

from sparse_repr.models.architectures import (
    ARCHITECTURES,
    Architecture,
    build_encoder,
    build_vae,
    choose_architecture,
)
from sparse_repr.models.burgess import BurgessDecoder, BurgessEncoder
from sparse_repr.models.heads import HEADS, POSTERIOR_FAMILIES, Head, Posterior, SpikeAndSlab, soft_threshold
from sparse_repr.models.vae import VAE

__all__ = [
    "ARCHITECTURES",
    "HEADS",
    "POSTERIOR_FAMILIES",
    "VAE",
    "Architecture",
    "BurgessDecoder",
    "BurgessEncoder",
    "Head",
    "Posterior",
    "SpikeAndSlab",
    "build_encoder",
    "build_vae",
    "choose_architecture",
    "soft_threshold",
]
