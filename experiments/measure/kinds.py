"""The kinds of sparsity that studies compare, and the dense codes that are as wide."""

from __future__ import annotations

from typing import Any

KIND_UNITS = 64
"""Size of all their codes."""
_OWN: dict[str, dict[str, Any]] = {
    "wide_autoencoder": {"objective": "beta_vae", "beta": 0.0},
    "wide_vae": {"objective": "vae"},
    "wide_sparse": {"objective": "sparse", "beta": 1.0, "sparsity_weight": 1.0},
    "sparse_shrinkage": {"objective": "sparse_shrinkage", "beta": 1.0, "sparsity_weight": 1.0},
    "spike_and_slab": {"objective": "spike_and_slab"},
    "vaease": {"objective": "vaease", "reconstruction": "gaussian"},
    "top_k": {"objective": "top_k", "units_per_image": 8},
    "batch_top_k": {"objective": "batch_top_k", "units_per_image": 8},
    "jump_relu": {"objective": "jump_relu"},
    "rectified_gaussian": {"objective": "rectified_gaussian", "units_per_image": 8},
    # at the default weight five sprites in colour make 50 of 64 units speak that are to be 8
    "tight_rectified_gaussian": {
        "objective": "rectified_gaussian",
        "units_per_image": 16,
        "matching_weight": 150.0,
    },
    "latent_quantisation": {"objective": "latent_quantisation"},
}
KINDS = {name: {**settings, "code_size": KIND_UNITS} for name, settings in _OWN.items()}
"""Kind of sparsity -> settings of `PretrainConfig`, and the dense codes that are as wide: all of `KIND_UNITS` units."""
KIND_TITLES = {
    "wide_autoencoder": "wide autoencoder",
    "wide_vae": "wide VAE",
    "wide_sparse": "wide sparse (L1)",
    "sparse_shrinkage": "L1 and shrinkage",
    "spike_and_slab": "spike and slab",
    "vaease": "VAEase",
    "top_k": "top-k",
    "batch_top_k": "batch top-k",
    "jump_relu": "JumpReLU",
    "rectified_gaussian": "rectified Gaussian",
    "tight_rectified_gaussian": "tight rectified Gaussian",
    "latent_quantisation": "latent quantisation",
}
"""What tables call them."""
