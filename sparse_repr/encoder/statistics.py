"""What the units of a code do on the items of a data set: codes, KL and the statistics of the artefact."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sparse_repr.data import FactorDataset
from sparse_repr.data.storage.resident import image_reader
from sparse_repr.encoder.frozen import FrozenEncoder
from sparse_repr.encoder.spec import UnitStatistics
from sparse_repr.files.json_reader import number, require
from sparse_repr.objectives import kl_divergence, laplace_kl_divergence, spike_and_slab_kl

ACTIVE_VARIANCE = 0.01
"""A unit whose code varies by less than this over the images is dead (Burda et al. 2016, section 5.2)."""
_STATISTICS_ITEMS = 10_000
_KL_SLAB = 512
_LAPLACE_PRIOR = "laplace_prior"


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedItems:
    """Items of a data set and what an encoder made of them: what is scored, compared and drawn."""

    items: npt.NDArray[np.int64]
    """(n,) their indices."""
    mean: npt.NDArray[np.float32]
    """(n, D) posterior means, the codes."""
    log_variance: npt.NDArray[np.float32]
    """(n, D) log-variances of the posterior."""

    def __len__(self) -> int:
        return len(self.items)


def unit_statistics(encoder: FrozenEncoder, data: FactorDataset, device: torch.device | str = "cpu") -> UnitStatistics:
    """Mean KL, mean and standard deviation of every unit over at most 10,000 random training images (seed 0)."""
    train = data.split[0]
    indices = np.sort(np.random.default_rng(0).permutation(train)[:_STATISTICS_ITEMS])
    encoded = encode_dataset(encoder, data, indices, device=device)
    mean = encoded.mean
    return UnitStatistics(
        kl_nats=tuple(kl_per_unit(encoder, data, encoded, device=device)),
        mean=tuple(mean.mean(0, dtype=np.float64).tolist()),
        std=tuple(mean.std(0, dtype=np.float64).tolist()),
        active=tuple((mean.var(0, dtype=np.float64) > ACTIVE_VARIANCE).tolist()),
    )


def kl_per_unit(
    encoder: FrozenEncoder,
    data: FactorDataset,
    encoded: EncodedItems,
    *,
    device: torch.device | str = "cpu",
) -> list[float]:
    """Mean KL divergence of each unit's posterior from its prior, in nats; D values.

    The prior is that of the objective: a Laplace distribution for `laplace_prior`, N(0, 1) for all others.

    Args:
        encoder: the encoder.
        data: the data set.
        encoded: what `encode_dataset` returned: enough for a Gaussian, other posteriors are read again from at most
            10,000 of the items.
        device: where they are read again.

    Returns:
        0 for each unit of a code that is a point: it has no prior.
    """
    if encoder.spec.posterior == "point":
        return [0.0] * encoder.code_size
    if encoder.spec.posterior == "gaussian":
        # in float32 the variance of a single blurred image could be too large a number
        posterior = torch.from_numpy(encoded.mean).double(), torch.from_numpy(encoded.log_variance).double()
        return _kl_of_gaussian(encoder)(*posterior).mean(0).tolist()
    chosen = np.sort(np.random.default_rng(0).permutation(encoded.items)[:_STATISTICS_ITEMS])
    kl = _kl_of_eased if encoder.spec.posterior == "vaease" else _kl_of_spike_and_slab(encoder)
    network: Any = encoder.network(device)
    read = image_reader(data, torch.device(device))
    total = torch.zeros(encoder.code_size, dtype=torch.float64)
    with torch.no_grad():
        for start in range(0, len(chosen), _KL_SLAB):
            components = network.components(encoder.preprocessing(read(chosen[start : start + _KL_SLAB])))
            total += kl(components).cpu().double().sum(0)
    return (total / len(chosen)).tolist()


def _kl_of_gaussian(encoder: FrozenEncoder) -> Callable[..., torch.Tensor]:
    """Of means and log-variances: (B, D) nats."""
    if encoder.spec.objective.get("name") != _LAPLACE_PRIOR:
        return kl_divergence
    require(encoder.spec.objective, {"options": {"prior_scale": number(0)}}, f"the objective of {encoder!r}")
    return partial(laplace_kl_divergence, scale=encoder.spec.objective["options"]["prior_scale"])


def _kl_of_eased(components: Any) -> torch.Tensor:
    """Of mu and sigma themselves, not of what the decoder sees: (B, D) nats."""
    return kl_divergence(components.mean, components.log_variance)


def _kl_of_spike_and_slab(encoder: FrozenEncoder) -> Callable[[Any], torch.Tensor]:
    require(encoder.spec.objective, {"options": {"slab_probability": number(0, 1)}}, f"the objective of {encoder!r}")
    alpha = encoder.spec.objective["options"]["slab_probability"]
    return lambda components: spike_and_slab_kl(components, slab_probability=alpha)


def encode_dataset(
    encoder: FrozenEncoder,
    data: FactorDataset,
    items: npt.NDArray[np.int64],
    *,
    device: torch.device | str = "cpu",
    precision: str = "float32",
    slab: int = 8192,
    on_slab: Any = None,
) -> EncodedItems:
    """Posterior means and log-variances of items of a data set, read and encoded slab by slab.

    Args:
        encoder: the encoder.
        data: the data set.
        items: (n,) indices.
        device: where to compute.
        precision: as in `FrozenEncoder.encode`.
        slab: images read at a time.
        on_slab: called with the number of images after each slab, for progress bars.
    """
    read = image_reader(data, torch.device(device))
    # one copy to the host at the end: a copy of each slab would make it wait for the device
    mean = torch.empty((len(items), encoder.code_size), dtype=torch.float32, device=device)
    log_variance = torch.empty_like(mean)
    for start in range(0, len(items), slab):
        rows = slice(start, start + slab)
        images = read(items[rows])
        mean[rows], log_variance[rows] = encoder.posterior(images, precision=precision)
        if on_slab is not None:
            on_slab(len(images))
    return EncodedItems(items, mean.cpu().numpy(), log_variance.cpu().numpy())
