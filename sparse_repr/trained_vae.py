"""The two weight files of a run folder: the frozen encoder and the whole VAE, which can also reconstruct."""

from __future__ import annotations

import dataclasses
import math
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sparse_repr.artefact import load_into, parse, serialise
from sparse_repr.config import PretrainConfig
from sparse_repr.data import FactorDataset
from sparse_repr.encoder import EncoderSpec, FrozenEncoder, UnitStatistics, load_encoder, save_encoder
from sparse_repr.files import write_bytes
from sparse_repr.json_reader import number, require
from sparse_repr.models import ARCHITECTURES, VAE, build_vae
from sparse_repr.objectives import kl_divergence, spike_and_slab_kl
from sparse_repr.preprocessing import Preprocessing
from sparse_repr.resident import image_reader
from sparse_repr.term_sums import NonFiniteLossError

ACTIVE_VARIANCE = 0.01
"""A unit whose code varies by less than this over the images is dead (Burda et al. 2016, section 5.2)."""
_STATISTICS_ITEMS = 10_000
_KL_SLAB = 512


def package_version() -> str:
    """The installed version of sparse-repr."""
    try:
        return version("sparse-repr")
    except PackageNotFoundError:
        return "unknown"


def export_run(
    config: PretrainConfig,
    data: FactorDataset,
    vae: VAE,
    preprocessing: Preprocessing,
    arguments: dict[str, int],
    *,
    steps: int,
) -> FrozenEncoder:
    """Write `encoder.safetensors` and `vae.safetensors` into the run folder of a resolved configuration.

    The unit statistics in the header are computed over 10,000 random training images (seed 0), or all if fewer.

    Raises:
        NonFiniteLossError: a code of these images is NaN or infinite; nothing is written.
    """
    nothing = (0.0,) * arguments["code_size"]
    spec = EncoderSpec(
        architecture=config.network_name(),
        arguments=arguments,
        preprocessing=preprocessing,
        objective={
            "name": config.objective,
            "weights": config.objective_weights(),
            "options": config.objective_options(),
            "reconstruction": config.reconstruction,
            "perceptual": _perceptual_settings(config),
            "steps": steps,
            "seed": config.seed,
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
    write_bytes(folder / "vae.safetensors", serialise(vae.state_dict(), {**encoder.spec.to_header(), "kind": "vae"}))
    return encoder


def _perceptual_settings(config: PretrainConfig) -> dict[str, Any] | None:
    if not config.perceptual_weight:
        return None
    return {
        "weight": config.perceptual_weight,
        "pixel_weight": config.pixel_weight,
        "features": config.perceptual_features,
        "layers": config.perceptual_layers if config.perceptual_features == "vgg16" else None,
        "style_weight": config.style_weight,
        "resolution": config.perceptual_resolution or config.image_size,
        "every": config.perceptual_every,
        "images": config.perceptual_images or config.batch_size,
    }


def unit_statistics(encoder: FrozenEncoder, data: FactorDataset, device: torch.device | str = "cpu") -> UnitStatistics:
    """Mean KL, mean and standard deviation of every unit over at most 10,000 random training images (seed 0)."""
    train = data.split[0]
    indices = np.sort(np.random.default_rng(0).permutation(train)[:_STATISTICS_ITEMS])
    mean, log_variance = encode_dataset(encoder, data, indices, device=device)
    return UnitStatistics(
        kl_nats=tuple(kl_per_unit(encoder, data, indices, mean, log_variance, device=device)),
        mean=tuple(mean.mean(0, dtype=np.float64).tolist()),
        std=tuple(mean.std(0, dtype=np.float64).tolist()),
        active=tuple((mean.var(0, dtype=np.float64) > ACTIVE_VARIANCE).tolist()),
    )


def kl_per_unit(
    encoder: FrozenEncoder,
    data: FactorDataset,
    indices: npt.NDArray[np.int64],
    mean: npt.NDArray[np.float32],
    log_variance: npt.NDArray[np.float32],
    *,
    device: torch.device | str = "cpu",
) -> list[float]:
    """Mean KL divergence of each unit's posterior from the prior, in nats; D values.

    Args:
        encoder: the encoder.
        data: the data set.
        indices: (n,) items.
        mean: (n, D) what `encode_dataset` returned for them.
        log_variance: (n, D) likewise; enough for a Gaussian, a spike-and-slab posterior is read again from at most
            10,000 of the items.
        device: where they are read again.
    """
    if encoder.spec.posterior == "gaussian":
        return kl_divergence(torch.from_numpy(mean), torch.from_numpy(log_variance)).double().mean(0).tolist()
    chosen = np.sort(np.random.default_rng(0).permutation(indices)[:_STATISTICS_ITEMS])
    require(encoder.spec.objective, {"options": {"slab_probability": number(0, 1)}}, f"the objective of {encoder!r}")
    alpha = encoder.spec.objective["options"]["slab_probability"]
    network: Any = encoder.network(device)
    read = image_reader(data, torch.device(device))
    total = torch.zeros(encoder.code_size, dtype=torch.float64)
    with torch.no_grad():
        for start in range(0, len(chosen), _KL_SLAB):
            components = network.components(encoder.preprocessing(read(chosen[start : start + _KL_SLAB])))
            total += spike_and_slab_kl(components, slab_probability=alpha).cpu().double().sum(0)
    return (total / len(chosen)).tolist()


def encode_dataset(
    encoder: FrozenEncoder,
    data: FactorDataset,
    indices: npt.NDArray[np.int64],
    *,
    device: torch.device | str = "cpu",
    precision: str = "float32",
    slab: int = 8192,
    on_slab: Any = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Posterior means and log-variances of items of a data set, read and encoded slab by slab.

    Args:
        encoder: the encoder.
        data: the data set.
        indices: (n,) items.
        device: where to compute.
        precision: as in `FrozenEncoder.encode`.
        slab: images read at a time.
        on_slab: called with the number of images after each slab, for progress bars.

    Returns:
        Two float32 arrays (n, D).
    """
    read = image_reader(data, torch.device(device))
    # one copy to the host at the end: a copy of each slab would make it wait for the device
    mean = torch.empty((len(indices), encoder.code_size), dtype=torch.float32, device=device)
    log_variance = torch.empty_like(mean)
    for start in range(0, len(indices), slab):
        rows = slice(start, start + slab)
        images = read(indices[rows])
        mean[rows], log_variance[rows] = encoder.posterior(images, precision=precision)
        if on_slab is not None:
            on_slab(len(images))
    return mean.cpu().numpy(), log_variance.cpu().numpy()


def load_vae(run: Path) -> tuple[VAE, EncoderSpec]:
    """The whole VAE of a run folder, in eval mode on the CPU, and its description.

    Raises:
        FileNotFoundError: the folder holds no `vae.safetensors`.
        ValueError: the file is damaged, does not fit its header, or does not belong to the encoder beside it.
    """
    path = run / "vae.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"no VAE at {path}: expected the folder of a run of python -m sparse_repr.pretrain")
    tensors, header = parse(path.read_bytes(), str(path), "vae")
    spec = EncoderSpec.from_header(header, str(path))
    try:
        vae = build_vae(spec.architecture, dict(spec.arguments), seed=0)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    load_into(vae, tensors, str(path))
    if (run / "encoder.safetensors").is_file():
        _check_pair(run, FrozenEncoder(spec, vae.encoder.state_dict()), load_encoder(run))
    return vae.eval().requires_grad_(False), spec


def _check_pair(run: Path, encoder_of_vae: FrozenEncoder, encoder: FrozenEncoder) -> None:
    """Check that both weight files of a run folder were written together: a kill between the two leaves one of each."""
    if encoder_of_vae == encoder:
        return
    steps = [found.spec.objective.get("steps") for found in (encoder, encoder_of_vae)]
    raise ValueError(
        f"{run}: encoder.safetensors and vae.safetensors were not written together (steps {steps[0]} and {steps[1]}): "
        "the run was stopped between the two, or a file was put there; the command of the run plus --resume writes "
        "both again from state.pt"
    )
