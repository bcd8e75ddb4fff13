"""What is minimised: pure terms, and the small objective classes made of them.

An objective owns its networks, its optimisers and one `step`, so that adversarial objectives fit beside these.
"""

from sparse_repr.objectives.base import Objective, Regulariser, WeightedLoss, ramp
from sparse_repr.objectives.beta_tcvae import TotalCorrelation
from sparse_repr.objectives.capacity import Capacity
from sparse_repr.objectives.choices import (
    OBJECTIVES,
    choose_objective,
    default_settings,
    network_for,
    option_names,
    read_settings,
    require_batch,
    require_code_size,
    require_reconstruction,
    resolve_options,
    resolve_weights,
    weight_names,
)
from sparse_repr.objectives.dip_vae import MomentMatching
from sparse_repr.objectives.entry import ObjectiveChoice, Option, Setting
from sparse_repr.objectives.factor_vae import FactorVAEObjective, build_code_discriminator
from sparse_repr.objectives.importance_weighted import ImportanceWeightedObjective
from sparse_repr.objectives.info_gan import InfoGANObjective
from sparse_repr.objectives.keypoints import KeypointObjective, PresencePrice, background_only_loss
from sparse_repr.objectives.laplace_prior import LaplacePrior
from sparse_repr.objectives.point_code import PointCodeObjective, Sparsifier, point_code
from sparse_repr.objectives.sparsity import (
    SPARSITY_TARGETS,
    L1Penalty,
    achieved_sparsity,
    shrink_weights,
    sparsity_penalty,
)
from sparse_repr.objectives.spike_and_slab import SpikeAndSlabObjective, sample_spike_and_slab, spike_and_slab_kl
from sparse_repr.objectives.terms import (
    covariance,
    gaussian_log_density,
    kl_divergence,
    l1_penalty,
    laplace_kl_divergence,
    moment_penalty,
)
from sparse_repr.objectives.top_k import LargestOfBatch, LargestOfImage
from sparse_repr.objectives.total_correlation import (
    DENSITY_ESTIMATORS,
    KLDecomposition,
    decompose_kl,
    permute_units,
    stratified_log_weights,
    weighted_log_weights,
)
from sparse_repr.objectives.variational import VariationalObjective, variational
from sparse_repr.objectives.weighted_kl import WeightedKL

__all__ = [
    "DENSITY_ESTIMATORS",
    "OBJECTIVES",
    "SPARSITY_TARGETS",
    "Capacity",
    "FactorVAEObjective",
    "ImportanceWeightedObjective",
    "InfoGANObjective",
    "KLDecomposition",
    "KeypointObjective",
    "L1Penalty",
    "LaplacePrior",
    "LargestOfBatch",
    "LargestOfImage",
    "MomentMatching",
    "Objective",
    "ObjectiveChoice",
    "Option",
    "PointCodeObjective",
    "PresencePrice",
    "Regulariser",
    "Setting",
    "Sparsifier",
    "SpikeAndSlabObjective",
    "TotalCorrelation",
    "VariationalObjective",
    "WeightedKL",
    "WeightedLoss",
    "achieved_sparsity",
    "background_only_loss",
    "build_code_discriminator",
    "choose_objective",
    "covariance",
    "decompose_kl",
    "default_settings",
    "gaussian_log_density",
    "kl_divergence",
    "l1_penalty",
    "laplace_kl_divergence",
    "moment_penalty",
    "network_for",
    "option_names",
    "permute_units",
    "point_code",
    "ramp",
    "read_settings",
    "require_batch",
    "require_code_size",
    "require_reconstruction",
    "resolve_options",
    "resolve_weights",
    "sample_spike_and_slab",
    "shrink_weights",
    "sparsity_penalty",
    "spike_and_slab_kl",
    "stratified_log_weights",
    "variational",
    "weight_names",
    "weighted_log_weights",
]
