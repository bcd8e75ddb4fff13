"""What a run leaves for others: the frozen encoder and the whole VAE, as the weight files of its folder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from sparse_repr.artefact import serialise
from sparse_repr.data import FactorDataset
from sparse_repr.encoder import EncoderSpec, FrozenEncoder, UnitStatistics, save_encoder
from sparse_repr.encoder.preprocessing import Preprocessing
from sparse_repr.encoder.spec import package_version
from sparse_repr.encoder.statistics import unit_statistics
from sparse_repr.files import write_bytes
from sparse_repr.models import ARCHITECTURES, VAE
from sparse_repr.objectives import choose_objective
from sparse_repr.pretrain.config import PretrainConfig
from sparse_repr.pretrain.term_sums import NonFiniteLossError


def export_run(
    config: PretrainConfig,
    data: FactorDataset,
    vae: VAE,
    preprocessing: Preprocessing,
    arguments: dict[str, int],
    *,
    steps: int,
    measured: Mapping[str, Any] | None = None,
) -> FrozenEncoder:
    """Write `encoder.safetensors` and `vae.safetensors` into the run folder of a resolved configuration.

    The unit statistics in the header are computed over 10,000 random training images (seed 0), or all if fewer. What a
    perceptual loss `measured` on the data is told there beside its settings. An objective without a decoder leaves no
    `vae.safetensors`, and the header of its encoder says so ("decodes").

    Raises:
        NonFiniteLossError: a code of these images is NaN or infinite; nothing is written.
    """
    choice = choose_objective(config.objective)
    decodes = choice.decodes
    perceptual = config.perceptual().header()
    nothing = (0.0,) * arguments["code_size"]
    spec = EncoderSpec(
        architecture=config.network_name(),
        arguments=arguments,
        preprocessing=preprocessing,
        objective={
            "name": config.objective,
            "weights": config.objective_weights(),
            "options": config.objective_options(),
            "reconstruction": config.pixel_reconstruction() if choice.reconstructs else None,
            "perceptual": {**perceptual, **(measured or {})} if perceptual else None,
            "steps": steps,
            "seed": config.seed,
            **({} if decodes else {"decodes": False}),
        },
        dataset={"name": config.dataset, "factor_names": list(data.factor_names)},
        units=UnitStatistics(nothing, nothing, nothing, (False,) * arguments["code_size"]),
        posterior=ARCHITECTURES[config.network_name()].posterior,
        package_version=package_version(),
    )
    weights = vae.encoder.state_dict()
    units = unit_statistics(FrozenEncoder(spec, weights), data, config.device)
    if not all(map(math.isfinite, (*units.kl_nats, *units.mean, *units.std))):
        raise NonFiniteLossError(f"the codes of step {steps} are NaN or infinite on the training images")
    encoder = FrozenEncoder(dataclasses.replace(spec, units=units), weights)
    folder = config.run_folder()
    save_encoder(encoder, folder / "encoder.safetensors")
    if decodes:
        header = {**encoder.spec.to_header(), "kind": "vae"}
        write_bytes(folder / "vae.safetensors", serialise(vae.state_dict(), header))
    return encoder
