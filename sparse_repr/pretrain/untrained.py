"""Encoders that have learned nothing: what a trained one is compared with."""

from __future__ import annotations

import dataclasses

from sparse_repr.data import FactorDataset
from sparse_repr.encoder import EncoderSpec, FrozenEncoder, UnitStatistics
from sparse_repr.encoder.preprocessing import Preprocessing
from sparse_repr.encoder.spec import package_version
from sparse_repr.encoder.statistics import unit_statistics
from sparse_repr.models import build_vae
from sparse_repr.pretrain.initialisation import initialise

_ARCHITECTURE = "burgess"


def untrained_encoder(
    channels: int,
    *,
    size: int = 64,
    source: int | None = None,
    code_size: int = 10,
    seed: int = 0,
    data: FactorDataset | None = None,
    initialisation: str = "default",
) -> FrozenEncoder:
    """A frozen encoder with the weights from which pretraining with this seed starts (architecture burgess).

    The global random state is left as it was.

    Args:
        channels: C of the pictures, 1 or 3.
        size: height and width of the network's input, 32 or 64.
        source: height and width of the pictures; `size` where not given.
        code_size: D.
        seed: of the weights.
        data: images on which the statistics of the units are measured (at most 10,000 of them, at random, seed 0). A
            unit that varies at all counts as active, however little: there was no prior to which it could have
            collapsed. Without images every unit has mean 0 and standard deviation 1.
        initialisation: as in `PretrainConfig`; all but ``"default"`` need `data`.

    Returns:
        The encoder; its objective is called untrained.

    Raises:
        ValueError: the images are not what the encoder takes, an initialisation that is unknown or needs images where
            there are none, or a size that the architecture does not have.

    Example:
        >>> encoder = untrained_encoder(3, source=96, code_size=4)
        >>> encoder.image_shape, encoder.code_size
        ((3, 96, 96), 4)
    """
    arguments = {"channels": channels, "size": size, "code_size": code_size}
    side = size if source is None else source
    preprocessing = Preprocessing(channels, (side, side), (size, size))
    if data is not None:
        preprocessing.layout_of(data.image_shape)
    elif initialisation != "default":
        raise ValueError(f"untrained_encoder: initialisation={initialisation!r} needs data: it suits the weights to it")
    vae = build_vae(_ARCHITECTURE, arguments, seed=seed)
    if data is not None:
        initialise(vae, initialisation, data, preprocessing, seed=seed)
    zeros, ones = (0.0,) * code_size, (1.0,) * code_size
    spec = EncoderSpec(
        architecture=_ARCHITECTURE,
        arguments=arguments,
        preprocessing=preprocessing,
        objective={"name": "untrained", "initialisation": initialisation, "steps": 0, "seed": seed},
        dataset={"name": "none", "factor_names": []}
        if data is None
        else {"name": data.name, "factor_names": list(data.factor_names)},
        units=UnitStatistics(kl_nats=zeros, mean=zeros, std=ones, active=(True,) * code_size),
        package_version=package_version(),
    )
    encoder = FrozenEncoder(spec, vae.encoder.state_dict())
    if data is None:
        return encoder
    measured = unit_statistics(encoder, data)
    units = dataclasses.replace(measured, active=tuple(deviation > 0 for deviation in measured.std))
    return FrozenEncoder(dataclasses.replace(spec, units=units), vae.encoder.state_dict())
