"""The paper's sparse VAE: an L1 penalty beside the KL divergence, alone or with a shrinkage unit in the encoder."""

from __future__ import annotations

from typing import Any

from sparse_repr.models import VAE
from sparse_repr.objectives.base import Objective
from sparse_repr.objectives.entry import ObjectiveChoice
from sparse_repr.objectives.reconstruction import Reconstruction
from sparse_repr.objectives.sparsity import SPARSITY_OPTIONS, L1Penalty
from sparse_repr.objectives.variational import VariationalObjective
from sparse_repr.objectives.weighted_kl import KL_OPTIONS, OPENING_OPTIONS, WeightedKL, check_kl_options


def _build(
    vae: VAE,
    reconstruction: Reconstruction,
    *,
    learning_rate: float,
    beta: float,
    beta_start: float,
    beta_steps: int,
    opening_step: int,
    opening_steps: int,
    **penalty: Any,
) -> Objective:
    return VariationalObjective(
        vae,
        reconstruction,
        WeightedKL(beta, beta_start, beta_steps, opening_step, opening_steps),
        L1Penalty(**penalty),
        learning_rate=learning_rate,
        report_sparsity=True,
    )


# the paper, section 4, gives no weight
_WEIGHTS = {"beta": 1.0, "sparsity_weight": 1.0}
_OPTIONS = {**KL_OPTIONS, **OPENING_OPTIONS, **SPARSITY_OPTIONS}


def _check(*, beta_start: float, beta_steps: int, opening_step: int, opening_steps: int, **options: Any) -> None:
    check_kl_options(
        beta_start=beta_start, beta_steps=beta_steps, opening_step=opening_step, opening_steps=opening_steps
    )
    L1Penalty(0.0, **options)


SPARSE = ObjectiveChoice(
    "VAE with an L1 penalty on the posterior mean (Cristovao et al., this package's paper), or on what "
    "sparsity-target names",
    _WEIGHTS,
    _build,
    _OPTIONS,
    check=_check,
)
SPARSE_SHRINKAGE = ObjectiveChoice(
    "sparse, and a shrinkage unit that makes exact zeros in the code (Gregor and LeCun 2010)",
    _WEIGHTS,
    _build,
    _OPTIONS,
    check=_check,
    heads=("shrinkage",),
)
