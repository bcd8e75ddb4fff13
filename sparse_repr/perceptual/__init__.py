"""The perceptual loss (Johnson et al. 2016): distances of features. `python -m sparse_repr.perceptual` gets VGG16."""

from sparse_repr.perceptual.distance import (
    PerceptualDistance,
    combine_reconstruction,
    content_distance,
    gram_matrix,
    style_distance,
)
from sparse_repr.perceptual.features import VGG_LAYERS, VGGFeatures, parse_layers
from sparse_repr.perceptual.pyramid import PyramidDistance
from sparse_repr.perceptual.settings import PerceptualSettings

__all__ = [
    "VGG_LAYERS",
    "PerceptualDistance",
    "PerceptualSettings",
    "PyramidDistance",
    "VGGFeatures",
    "combine_reconstruction",
    "content_distance",
    "gram_matrix",
    "parse_layers",
    "style_distance",
]
