"""The networks: one file for each architecture, what encoders end in, and how a VAE is put together."""

from sparse_repr.models.architectures import (
    ARCHITECTURES,
    DEFAULT_ARCHITECTURE,
    Architecture,
    build_encoder,
    build_vae,
    choose_architecture,
    posterior_of,
)
from sparse_repr.models.burgess import BurgessDecoder, BurgessEncoder
from sparse_repr.models.exported import EXPORTED, OPERATORS, ExportedNetwork
from sparse_repr.models.heads import (
    HEADS,
    POSTERIOR_FAMILIES,
    Eased,
    Head,
    Posterior,
    Quantised,
    SpikeAndSlab,
    Thresholded,
    TopK,
    largest_of_each,
    soft_threshold,
)
from sparse_repr.models.keypoints import KeypointEncoder, Keypoints, Presences, presences_of, split_code
from sparse_repr.models.vae import VAE

__all__ = [
    "ARCHITECTURES",
    "DEFAULT_ARCHITECTURE",
    "EXPORTED",
    "HEADS",
    "OPERATORS",
    "POSTERIOR_FAMILIES",
    "VAE",
    "Architecture",
    "BurgessDecoder",
    "BurgessEncoder",
    "Eased",
    "ExportedNetwork",
    "Head",
    "KeypointEncoder",
    "Keypoints",
    "Posterior",
    "Presences",
    "Quantised",
    "SpikeAndSlab",
    "Thresholded",
    "TopK",
    "build_encoder",
    "build_vae",
    "choose_architecture",
    "largest_of_each",
    "posterior_of",
    "presences_of",
    "soft_threshold",
    "split_code",
]
