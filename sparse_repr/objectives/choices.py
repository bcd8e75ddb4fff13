"""The objectives by name. Another one is a file beside this, with its entry, and a line in `OBJECTIVES`."""

from __future__ import annotations

from collections.abc import Mapping

from sparse_repr.models import ARCHITECTURES, DEFAULT_ARCHITECTURE, choose_architecture
from sparse_repr.objectives.beta_tcvae import BETA_TCVAE
from sparse_repr.objectives.capacity import BETA_VAE_CAPACITY
from sparse_repr.objectives.dip_vae import DIP_VAE_I, DIP_VAE_II
from sparse_repr.objectives.entry import ObjectiveChoice, Option
from sparse_repr.objectives.factor_vae import FACTOR_VAE
from sparse_repr.objectives.feature_prediction import FEATURE_PREDICTION
from sparse_repr.objectives.importance_weighted import IWAE
from sparse_repr.objectives.info_gan import INFO_GAN
from sparse_repr.objectives.jump_relu import JUMP_RELU
from sparse_repr.objectives.keypoints import KEYPOINTS, SPARSE_KEYPOINTS
from sparse_repr.objectives.laplace_prior import LAPLACE_PRIOR
from sparse_repr.objectives.latent_quantisation import LATENT_QUANTISATION
from sparse_repr.objectives.rectified_gaussian import RECTIFIED_GAUSSIAN
from sparse_repr.objectives.sparse_vae import SPARSE, SPARSE_SHRINKAGE
from sparse_repr.objectives.spike_and_slab import SPIKE_AND_SLAB
from sparse_repr.objectives.top_k import BATCH_TOP_K, TOP_K
from sparse_repr.objectives.vaease import VAEASE
from sparse_repr.objectives.weighted_kl import BETA_VAE, VAE
from sparse_repr.registry import lookup

OBJECTIVES: dict[str, ObjectiveChoice] = {
    "vae": VAE,
    "beta_vae": BETA_VAE,
    "sparse": SPARSE,
    "sparse_shrinkage": SPARSE_SHRINKAGE,
    "spike_and_slab": SPIKE_AND_SLAB,
    "laplace_prior": LAPLACE_PRIOR,
    "top_k": TOP_K,
    "batch_top_k": BATCH_TOP_K,
    "jump_relu": JUMP_RELU,
    "rectified_gaussian": RECTIFIED_GAUSSIAN,
    "vaease": VAEASE,
    "latent_quantisation": LATENT_QUANTISATION,
    "beta_vae_capacity": BETA_VAE_CAPACITY,
    "factor_vae": FACTOR_VAE,
    "beta_tcvae": BETA_TCVAE,
    "dip_vae_i": DIP_VAE_I,
    "dip_vae_ii": DIP_VAE_II,
    "iwae": IWAE,
    "info_gan": INFO_GAN,
    "feature_prediction": FEATURE_PREDICTION,
    "keypoints": KEYPOINTS,
    "sparse_keypoints": SPARSE_KEYPOINTS,
}


def choose_objective(name: str) -> ObjectiveChoice:
    """The entry of `OBJECTIVES` called `name`; an unknown name raises with its close matches."""
    return lookup(OBJECTIVES, name, "objective", own=True)


def weight_names() -> list[str]:
    """Every weight that some objective takes, in one fixed order."""
    return list(dict.fromkeys(name for choice in OBJECTIVES.values() for name in choice.weights))


def option_names() -> list[str]:
    """Every option that some objective takes, in one fixed order."""
    return list(dict.fromkeys(name for choice in OBJECTIVES.values() for name in choice.options))


def default_settings(name: str) -> dict[str, Option]:
    """What the settings of the objective called `name` are unless set, weights first."""
    choice = choose_objective(name)
    return {**choice.weights, **{key: setting.default for key, setting in choice.options.items()}}


def resolve_weights(name: str, given: Mapping[str, float | None]) -> dict[str, float]:
    """The weights to train the objective called `name` with: the user's where given, else the defaults.

    Raises:
        ValueError: a weight that this objective does not take, or one that is negative or not finite.
    """
    weights = dict(choose_objective(name).weights)
    for key, value in given.items():
        if value is None:
            continue
        if key not in weights:
            raise _not_taken(name, key)
        if not value >= 0 or value == float("inf"):
            raise ValueError(f"{key} needs a finite number of at least 0, got {value}")
        weights[key] = float(value)
    return weights


def resolve_options(name: str, given: Mapping[str, Option | None]) -> dict[str, Option]:
    """The further settings to train the objective called `name` with: the user's where given, else the defaults.

    Raises:
        ValueError: a setting that this objective does not take, or a value it cannot use.
    """
    choice = choose_objective(name)
    options = {key: setting.default for key, setting in choice.options.items()}
    for key, value in given.items():
        if value is None:
            continue
        if key not in options:
            raise _not_taken(name, key)
        choice.options[key].check(key, value)
        options[key] = value
    if choice.check is not None:
        choice.check(**options)
    return options


def require_code_size(name: str, code_size: int, options: Mapping[str, Option]) -> None:
    """Check that the settings of the objective called `name` fit a code of D units.

    Raises:
        ValueError: they do not.
    """
    choice = choose_objective(name)
    if choice.check_code is not None:
        choice.check_code(code_size, **options)


def network_for(objective: str, architecture: str) -> str:
    """The entry of `ARCHITECTURES` that an objective trains: `architecture`, with the head that it needs.

    >>> network_for("spike_and_slab", "burgess")
    'burgess_spike_and_slab'
    >>> network_for("sparse_keypoints", "burgess")  # which is what nobody asked for
    'keypoints'

    Raises:
        ValueError: the objective cannot train that architecture.
    """
    heads, head = choose_objective(objective).heads, choose_architecture(architecture).head
    if head in heads:
        return architecture
    if architecture == DEFAULT_ARCHITECTURE and heads[0] in ARCHITECTURES:
        return heads[0]
    if head == "gaussian" and f"{architecture}_{heads[0]}" in ARCHITECTURES:
        return f"{architecture}_{heads[0]}"
    raise ValueError(
        f"objective {objective!r} cannot train architecture {architecture!r}: it needs an encoder that "
        f"ends in {' or '.join(heads)}, this one ends in {head}; leave architecture (--architecture) out"
    )


def require_batch(objective: str, name: str, size: int | None) -> None:
    """Check that an objective can estimate its terms within a batch; `name` is what the size is called.

    Raises:
        ValueError: too few images.
    """
    least = choose_objective(objective).smallest_batch
    if size is not None and size < least:
        raise ValueError(
            f"objective {objective!r} needs a {name} of at least {least} to estimate its terms within a batch, got "
            f"{size}"
        )


def require_reconstruction(objective: str, *, is_likelihood: bool) -> None:
    """Check that an objective can do with a reconstruction loss, a likelihood of the pixels or something else.

    Raises:
        ValueError: it needs the likelihood, or compares no pictures at all.
    """
    choice = choose_objective(objective)
    if not choice.reconstructs and not is_likelihood:
        instead = "a discriminator judges the pictures" if choice.decodes else "it has no decoder"
        raise ValueError(
            f"objective {objective!r} takes no pixel_weight, saliency_weight or perceptual_weight: it never compares a "
            f"reconstruction with its image, {instead}"
        )
    if choice.needs_likelihood and not is_likelihood:
        raise ValueError(
            f"objective {objective!r} takes no perceptual_weight or saliency_weight and a pixel_weight of 1: its bound "
            "needs the reconstruction to be a likelihood, which a weighted or perceptual distance is not"
        )


def _not_taken(name: str, key: str) -> ValueError:
    takers = [other for other, choice in OBJECTIVES.items() if key in choice.weights or key in choice.options]
    return ValueError(f"objective {name!r} has no {key}; objectives that take it: {', '.join(takers)}")


def read_settings(name: str, text: str) -> dict[str, Option]:
    """Settings of the objective called `name` from a text, each in the type of its default.

    >>> read_settings("sparse", "beta=2,sparsity_target=sample")
    {'beta': 2.0, 'sparsity_target': 'sample'}

    Raises:
        ValueError: not name=value, separated by commas; a setting that the objective does not take, or one twice; a
            value of another type.
    """
    defaults, settings = default_settings(name), dict[str, Option]()
    for part in text.split(","):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals or not value or key in settings:
            raise ValueError(f"settings need name=value once for each name, separated by commas, got {text!r}")
        kind = type(lookup(defaults, key, f"setting of objective {name!r}"))
        try:
            settings[key] = _FLAGS[value.lower()] if kind is bool else kind(value)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{key} needs a value such as {defaults[key]!r}, got {value!r}") from error
    return settings


_FLAGS = {"true": True, "false": False}
