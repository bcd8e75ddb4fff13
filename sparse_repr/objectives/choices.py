"""The objectives by name: how each is described, which settings it takes and how it is built."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from sparse_repr.models import VAE
from sparse_repr.objectives.base import Objective
from sparse_repr.objectives.factor_vae import DISCRIMINATOR_BATCHES, FactorVAEObjective
from sparse_repr.objectives.info_gan import InfoGANObjective
from sparse_repr.objectives.reconstruction import Reconstruction
from sparse_repr.objectives.regularisers import Capacity, LaplacePrior, MomentMatching, TotalCorrelation
from sparse_repr.objectives.sparsity import SPARSITY_TARGETS
from sparse_repr.objectives.spike_and_slab import SpikeAndSlabObjective
from sparse_repr.objectives.total_correlation import DENSITY_ESTIMATORS
from sparse_repr.objectives.variational import ImportanceWeightedObjective, VariationalObjective
from sparse_repr.registry import lookup

Option = float | int | str | bool


@dataclasses.dataclass(frozen=True)
class ObjectiveChoice:
    """An entry of `OBJECTIVES`: how an objective is described, which weights it takes and how it is built."""

    summary: str
    """One line with its paper, for --help."""
    default_weights: Mapping[str, float]
    """Weights of its terms it uses when the user gives none; a weight that is not listed cannot be set."""
    build: Callable[..., Objective]
    """build(vae, reconstruction, learning_rate=..., **weights, **options), and what `needs` lists."""
    default_options: Mapping[str, Option] = dataclasses.field(default_factory=dict)
    """Its further settings (schedules, places, estimators), as `default_weights`."""
    needs: tuple[str, ...] = ()
    """What else `build` takes, of "seed" (of further networks) and "dataset_size" (training images)."""
    heads: tuple[str, ...] = ("gaussian", "shrinkage")
    """Heads of the encoder it can train (see `models.Architecture`); the first is its own."""
    reconstructs: bool = True
    """Whether it compares a reconstruction with the image."""
    needs_likelihood: bool = False
    """Whether the reconstruction must be a density, which a perceptual distance is not."""
    smallest_batch: int = 1
    """Images per step that it needs at least."""
    discriminates: bool = False
    """Whether it trains a discriminator with an optimiser of its own; else it is a `WeightedLoss`."""
    couples_images: str = ""
    """Why its loss is not a mean over the images of a batch, where it is not: parts of a batch would not add up."""

    def resolve_weights(self, name: str, given: Mapping[str, float | None]) -> dict[str, float]:
        """The weights to train with: the user's where given, else the defaults.

        Raises:
            ValueError: a weight that this objective fixes is given another value, or a weight is negative.
        """
        weights = dict(self.default_weights)
        for key, value in given.items():
            if value is None:
                continue
            if key not in weights:
                takers = [other for other, choice in OBJECTIVES.items() if key in choice.default_weights]
                raise ValueError(f"objective {name!r} has no {key}; objectives that take it: {', '.join(takers)}")
            if not value >= 0 or value == float("inf"):
                raise ValueError(f"{key} needs a finite number of at least 0, got {value}")
            weights[key] = float(value)
        return weights

    def resolve_options(self, name: str, given: Mapping[str, Option | None]) -> dict[str, Option]:
        """The further settings to train with: the user's where given, else the defaults.

        Raises:
            ValueError: a setting that this objective does not take, or a value it cannot use.
        """
        options = dict(self.default_options)
        for key, value in given.items():
            if value is None:
                continue
            if key not in options:
                takers = [other for other, choice in OBJECTIVES.items() if key in choice.default_options]
                raise ValueError(f"objective {name!r} has no {key}; objectives that take it: {', '.join(takers)}")
            OPTION_CHECKS[key](key, value)
            options[key] = value
        if options.get("sparsity_proximal") and options["sparsity_target"] != "weights":
            raise ValueError(
                f"sparsity_proximal needs sparsity_target 'weights', got {options['sparsity_target']!r}: a proximal "
                "step needs parameters to act on; for exact zeros in the codes use the objective sparse_shrinkage"
            )
        return options


def _whole(least: int) -> Callable[[str, Any], None]:
    def check(key: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{key} needs a whole number of at least {least}, got {value!r}")

    return check


def _number(low: float, high: float) -> Callable[[str, Any], None]:
    def check(key: str, value: Any) -> None:
        if not low < value < high:
            wanted = f"a number between {low:g} and {high:g}" if math.isfinite(high) else "a positive number"
            raise ValueError(f"{key} needs {wanted}, got {value!r}")

    return check


def _one_of(names: Any) -> Callable[[str, Any], None]:
    def check(key: str, value: Any) -> None:
        if value not in names:
            raise ValueError(f"{key} needs one of {', '.join(names)}, got {value!r}")

    return check


def _flag(key: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{key} needs True or False, got {value!r}")


OPTION_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "sparsity_target": _one_of(SPARSITY_TARGETS),
    "sparsity_warmup": _whole(0),
    "sparsity_proximal": _flag,
    "capacity_nats": _number(0, math.inf),
    "capacity_steps": _whole(0),
    "density_estimator": _one_of(DENSITY_ESTIMATORS),
    "discriminator_learning_rate": _number(0, math.inf),
    "discriminator_batch": _one_of(DISCRIMINATOR_BATCHES),
    "noise_units": _whole(1),
    "importance_samples": _whole(1),
    "slab_probability": _number(0, 1),
    "prior_scale": _number(0, math.inf),
}
"""Option name -> check(name, value), which raises ValueError."""


def _beta_vae(vae: VAE, reconstruction: Reconstruction, *, learning_rate: float, beta: float = 1.0) -> Objective:
    return VariationalObjective(vae, reconstruction, learning_rate=learning_rate, beta=beta)


def _sparse(vae: VAE, reconstruction: Reconstruction, *, learning_rate: float, **settings: Any) -> Objective:
    return VariationalObjective(vae, reconstruction, learning_rate=learning_rate, report_sparsity=True, **settings)


def _capacity(vae: VAE, reconstruction: Reconstruction, *, learning_rate: float, **settings: Any) -> Objective:
    regulariser = Capacity(**{**_CAPACITY, **settings})
    return VariationalObjective(vae, reconstruction, learning_rate=learning_rate, regulariser=regulariser)


def _beta_tcvae(vae: VAE, reconstruction: Reconstruction, *, learning_rate: float, **settings: Any) -> Objective:
    regulariser = TotalCorrelation(**{**_ESTIMATOR, **settings})
    return VariationalObjective(vae, reconstruction, learning_rate=learning_rate, regulariser=regulariser)


def _dip_vae_i(vae: VAE, reconstruction: Reconstruction, *, learning_rate: float, **settings: Any) -> Objective:
    regulariser = MomentMatching(of_samples=False, **settings)
    return VariationalObjective(vae, reconstruction, learning_rate=learning_rate, regulariser=regulariser)


def _dip_vae_ii(vae: VAE, reconstruction: Reconstruction, *, learning_rate: float, **settings: Any) -> Objective:
    regulariser = MomentMatching(of_samples=True, **settings)
    return VariationalObjective(vae, reconstruction, learning_rate=learning_rate, regulariser=regulariser)


def _laplace_prior(vae: VAE, reconstruction: Reconstruction, *, learning_rate: float, **settings: Any) -> Objective:
    regulariser = LaplacePrior(**{**_PRIOR, **settings})
    return VariationalObjective(
        vae, reconstruction, learning_rate=learning_rate, regulariser=regulariser, report_sparsity=True
    )


def _info_gan(vae: VAE, reconstruction: Reconstruction, **settings: Any) -> Objective:  # noqa: ARG001 (it has none)
    return InfoGANObjective(vae, **settings)


_SPARSITY: dict[str, Option] = {"sparsity_target": "mean", "sparsity_warmup": 0, "sparsity_proximal": False}
# Burgess et al. 2018: dSprites up to 25 nats over 100,000 steps, gamma 100 in public reference settings
_CAPACITY: dict[str, Any] = {"capacity_nats": 25.0, "capacity_steps": 100_000}
_ESTIMATOR: dict[str, Any] = {"density_estimator": "mws"}
# scale 1 / sqrt 2: a Laplace of variance 1, like the Gaussian it replaces
_PRIOR: dict[str, Any] = {"prior_scale": 0.7071}

OBJECTIVES: dict[str, ObjectiveChoice] = {
    "vae": ObjectiveChoice("the evidence lower bound (Kingma and Welling 2013)", {}, _beta_vae),
    "beta_vae": ObjectiveChoice("the KL term weighted by beta (Higgins et al. 2017)", {"beta": 4.0}, _beta_vae),
    "sparse": ObjectiveChoice(
        "VAE with an L1 penalty on the posterior mean (Cristovao et al., this package's paper)",
        {"beta": 1.0, "sparsity_weight": 1.0},
        _sparse,
        _SPARSITY,
    ),
    "sparse_shrinkage": ObjectiveChoice(
        "sparse, and a shrinkage unit that makes exact zeros in the code (Gregor and LeCun 2010)",
        {"beta": 1.0, "sparsity_weight": 1.0},
        _sparse,
        _SPARSITY,
        heads=("shrinkage",),
    ),
    "spike_and_slab": ObjectiveChoice(
        "variational sparse coding: units are exactly 0 with a learned probability (Tonolini et al. 2019)",
        {"beta": 1.0},
        SpikeAndSlabObjective,
        {"slab_probability": 0.2},
        heads=("spike_and_slab",),
    ),
    "laplace_prior": ObjectiveChoice(
        "VAE with a Laplace prior, which pulls like an L1 penalty (closed-form KL)",
        {"beta": 1.0},
        _laplace_prior,
        _PRIOR,
    ),
    "beta_vae_capacity": ObjectiveChoice(
        "the KL held at a capacity that grows with the steps (Burgess et al. 2018)",
        {"capacity_weight": 100.0},
        _capacity,
        _CAPACITY,
        couples_images="it takes the distance of the batch's mean KL from the capacity",
    ),
    "factor_vae": ObjectiveChoice(
        "total correlation penalised through a discriminator (Kim and Mnih 2018)",
        {"total_correlation_weight": 6.4},
        FactorVAEObjective,
        {"discriminator_learning_rate": 1e-4, "discriminator_batch": "second"},
        needs=("seed",),
        smallest_batch=4,
        discriminates=True,
        couples_images="it permutes the codes of a batch",
    ),
    "beta_tcvae": ObjectiveChoice(
        "total correlation penalised through estimates within the batch (Chen et al. 2018)",
        {"mutual_information_weight": 1.0, "total_correlation_weight": 6.4, "dimension_kl_weight": 1.0},
        _beta_tcvae,
        _ESTIMATOR,
        needs=("dataset_size",),
        smallest_batch=2,
        couples_images="it estimates q(z) within a batch",
    ),
    # lambda_d is 10 lambda_od for I and lambda_od for II in the public reference settings
    "dip_vae_i": ObjectiveChoice(
        "the covariance of the means drawn to the identity (Kumar et al. 2018)",
        {"covariance_weight": 10.0, "variance_weight": 100.0},
        _dip_vae_i,
        smallest_batch=2,
        couples_images="it takes the covariance of a batch's codes",
    ),
    "dip_vae_ii": ObjectiveChoice(
        "the covariance of the samples drawn to the identity (Kumar et al. 2018)",
        {"covariance_weight": 10.0, "variance_weight": 10.0},
        _dip_vae_ii,
        smallest_batch=2,
        couples_images="it takes the covariance of a batch's codes",
    ),
    "iwae": ObjectiveChoice(
        "the importance-weighted bound (Burda et al. 2016; the paper's future work)",
        {},
        ImportanceWeightedObjective,
        {"importance_samples": 5},
        needs_likelihood=True,
    ),
    "info_gan": ObjectiveChoice(
        "a generator whose codes a Q network reads back, which becomes the encoder (Chen et al. 2016)",
        {"information_weight": 0.1},
        _info_gan,
        {"discriminator_learning_rate": 1e-3, "noise_units": 5},
        needs=("seed",),
        heads=("gaussian",),
        reconstructs=False,
        smallest_batch=2,
        discriminates=True,
        couples_images="its two networks take turns on one batch",
    ),
}


def choose_objective(name: str) -> ObjectiveChoice:
    """The entry of `OBJECTIVES` called `name`; an unknown name raises with its close matches."""
    return lookup(OBJECTIVES, name, "objective")
