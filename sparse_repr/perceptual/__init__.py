"""The perceptual loss (Johnson et al. 2016): distances of features. `python -m sparse_repr.perceptual` gets VGG16."""

from sparse_repr.perceptual.distance import (
    VGG_LAYERS,
    PerceptualDistance,
    VGGFeatures,
    combine_reconstruction,
    content_distance,
    gram_matrix,
    parse_layers,
    style_distance,
)
from sparse_repr.perceptual.settings import PerceptualSettings

__all__ = [
    "VGG_LAYERS",
    "PerceptualDistance",
    "PerceptualSettings",
    "VGGFeatures",
    "combine_reconstruction",
    "content_distance",
    "gram_matrix",
    "parse_layers",
    "style_distance",
]
