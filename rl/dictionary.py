"""`python -m rl.dictionary RUN`: fit a dictionary to the codes of a frozen encoder, a learned expansion for agents."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch import Tensor

from rl.code_scaling import CodeScaling
from rl.dictionaries import Dictionary, largest, make_dictionary
from rl.recoding import MOST_VALUES
from sparse_repr import FrozenEncoder, load_encoder
from sparse_repr.command_line.bounds import (
    MOST_SEED,
    require_name,
    require_threads,
    require_types,
    require_whole,
    take_plain_numbers,
)
from sparse_repr.command_line.plugins import PLUGIN_HELP, take_plugins
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.devices import cpu_threads
from sparse_repr.encoder.statistics import encode_dataset
from sparse_repr.pretrain.export import package_version
from sparse_repr.pretrain.run_folder import read_settings

_LEARNING_RATE = 3e-3
_AUXILIARY = 1 / 32
_SILENT_STEPS = 20
_ITEMS = 20_000


@dataclasses.dataclass(frozen=True)
class DictionarySettings:
    """How a dictionary is fitted."""

    width: int | None = None
    """Values in place of a code; 20 for each unit unless set."""
    k: int | None = None
    """How many of them are not 0; a tenth of the width unless set."""
    binary: bool = False
    """Show 1 in place of each of them."""
    steps: int = 1_000
    """Steps of the fit."""
    batch_size: int = 512
    """Codes per step."""
    seed: int = 0
    """Of the initial weights and the order of the codes."""

    def __post_init__(self) -> None:
        take_plain_numbers(self)
        if self.width is not None:
            require_whole("width", self.width, most=MOST_VALUES)
        if self.k is not None:
            require_whole("k", self.k, most=self.width or MOST_VALUES)
        for name in ("steps", "batch_size"):
            require_whole(name, getattr(self, name))
        require_whole("seed", self.seed, least=0, most=MOST_SEED)

    def sizes(self, code_size: int) -> tuple[int, int]:
        """Width and k for codes of D units.

        Raises:
            ValueError: k is above the width.
        """
        width = 20 * code_size if self.width is None else self.width
        k = max(1, width // 10) if self.k is None else self.k
        require_whole("k", k, most=width)
        return width, k


def fit_dictionary(encoder: FrozenEncoder, codes: Any, settings: DictionarySettings | None = None) -> Dictionary:
    """Fit a sparse autoencoder to codes: what `recode=` then shows in their place.

    z = standardised code; h = the k largest of relu(z W + b); z' = h V + c; squared error of z'. Gao et al. 2024, with
    its start (W the transpose of V, whose rows have length 1, as they keep) and its auxiliary loss: units that have
    been silent for some steps explain what the others leave, with a weight of 1/32. Deviation: none of its biases is
    taken off before the encoder, as standardised codes have mean 0.

    Args:
        encoder: of the codes; its statistics standardise them.
        codes: (N, D) float32 of training images, numpy.
        settings: width, k and how long.

    Returns:
        The dictionary; `save` writes it, `recode=` takes it.

    Raises:
        ValueError: codes of another size, not finite or all the same, an encoder without an active unit, or sizes that
            do not fit.
    """
    settings = settings or DictionarySettings()
    array = np.asarray(codes, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] != encoder.code_size or len(array) < 2:
        raise ValueError(f"codes needs shape (N, {encoder.code_size}), N at least 2, got {array.shape}")
    width, k = settings.sizes(encoder.code_size)
    if not any(encoder.spec.units.active):
        raise ValueError(
            f"a dictionary needs active units, but none of the {encoder.code_size} units of {encoder!r} was active on "
            "its training images: train it longer or with weaker penalties"
        )
    if not np.isfinite(array).all():
        raise ValueError("codes needs finite numbers, got NaN or infinity: look whether the encoder's run diverged")
    # dead units are 0, as when the dictionary is shown
    z = torch.from_numpy(CodeScaling(encoder, "standardize").numpy(array))
    if not z.std(0, correction=0).any():
        raise ValueError(f"codes needs items that differ, got {len(array)} with the same code: give other images")
    generator = torch.Generator().manual_seed(settings.seed)
    rows = torch.nn.functional.normalize(torch.randn(width, encoder.code_size, generator=generator), dim=1)
    decoder, encoding = rows.clone().requires_grad_(), rows.T.clone().requires_grad_()
    bias, offset = torch.zeros(width, requires_grad=True), torch.zeros(encoder.code_size, requires_grad=True)
    optimiser = torch.optim.Adam([encoding, bias, decoder, offset], lr=_LEARNING_RATE)
    silent = torch.zeros(width)
    for step in range(settings.steps):
        optimiser.param_groups[0]["lr"] = _LEARNING_RATE * (1 - step / settings.steps)
        batch = z[torch.randint(len(z), (settings.batch_size,), generator=generator)]
        activations = (batch @ encoding + bias).relu()
        kept = largest(activations, k)
        left = batch - (kept @ decoder + offset)
        spare = largest(activations * (silent > _SILENT_STEPS), k)
        loss = left.square().sum(1).mean() + _AUXILIARY * (left.detach() - spare @ decoder).square().sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            decoder.copy_(torch.nn.functional.normalize(decoder, dim=1))
            silent = torch.where((kept > 0).any(0), 0.0, silent + 1)
    with torch.no_grad():
        explained = _explained(z, encoding, bias, decoder, offset, k)
    tensors = {"encoder.weight": encoding, "encoder.bias": bias, "decoder.weight": decoder, "decoder.bias": offset}
    header = {
        "encoder": encoder.fingerprint,
        "code_size": encoder.code_size,
        "width": width,
        "k": k,
        "binary": settings.binary,
        "explained": explained,
        "fit": {
            "items": len(z),
            "steps": settings.steps,
            "batch_size": settings.batch_size,
            "seed": settings.seed,
        },
        "package_version": package_version(),
    }
    return make_dictionary(header, {name: tensor.detach() for name, tensor in tensors.items()})


def _explained(z: Tensor, encoding: Tensor, bias: Tensor, decoder: Tensor, offset: Tensor, k: int) -> float:
    """Share of the variance of standardised codes that a dictionary brings back."""
    error = torch.zeros((), dtype=torch.float64)
    for slab in z.split(4096):
        drawn = largest((slab @ encoding + bias).relu(), k) @ decoder + offset
        error += (slab - drawn).square().sum(dtype=torch.float64)
    return float(1 - error / (z - z.mean(0)).square().sum(dtype=torch.float64))


@dataclasses.dataclass(frozen=True)
class DictionaryConfig(DictionarySettings):
    """What to fit a dictionary to, and how."""

    run: Annotated[str, tyro.conf.Positional] = ""
    """Run folder of python -m sparse_repr.pretrain."""
    out: str | None = None
    """File to write, ending in .safetensors; dictionary.safetensors in the run folder unless set."""
    items: int = _ITEMS
    """Codes of this many random training images (seed 0) are fitted."""
    data_path: str | None = None
    """Your own copy of the data; by default the path the run was trained with."""
    threads: int | None = None
    """CPU threads; by default torch's choice."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole("items", self.items)
        require_threads(self.threads)
        require_types(self)
        for name in ("run", "out", "data_path"):
            require_name(name, getattr(self, name))


def fit_to_run(config: DictionaryConfig) -> tuple[Dictionary, Path]:
    """Encode training images of a run, fit a dictionary to their codes and write it.

    Returns:
        The dictionary, and its file.

    Raises:
        FileNotFoundError, ValueError: not a run folder, other data, or settings that do not fit.
    """
    run = Path(config.run)
    encoder = load_encoder(run)
    config.sizes(encoder.code_size)
    out = run / "dictionary.safetensors" if config.out is None else Path(config.out)
    if out.suffix != ".safetensors":
        raise ValueError(f"out needs a path that ends in .safetensors, got {out}")
    described = read_settings(run)
    data = load_dataset(
        described["dataset"], config.data_path or described["data_path"], factor_sizes=described.get("factor_sizes")
    )
    encoder.preprocessing.layout_of(data.image_shape)
    with cpu_threads(config.threads):
        dictionary = fit_to_images(encoder, data, config, items=config.items)
    dictionary.save(out)
    return dictionary, out


def fit_to_images(
    encoder: FrozenEncoder, data: FactorDataset, settings: DictionarySettings | None = None, *, items: int = _ITEMS
) -> Dictionary:
    """Fit a dictionary to the codes of random training images (seed 0).

    Args:
        encoder: of the codes.
        data: what it learned from.
        settings: as for `fit_dictionary`.
        items: how many images.

    Raises:
        ValueError: as `fit_dictionary`.
    """
    chosen = np.sort(np.random.default_rng(0).permutation(data.split[0])[:items])
    return fit_dictionary(encoder, encode_dataset(encoder, data, chosen).mean, settings)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _as_asked(arguments))


def _as_asked(arguments: list[str] | None) -> None:
    description = (
        "Fit a dictionary, a sparse autoencoder with the k largest units, to the codes of a frozen encoder. Agents see "
        f"it in place of the codes with recode=FILE.\n\n{PLUGIN_HELP}"
    )
    words = take_plugins(arguments)
    config = parse_options(DictionaryConfig, words, program="python -m rl.dictionary", description=description)
    dictionary, out = fit_to_run(config)
    header = dictionary.header
    print(f"dictionary: {out}")
    print(
        f"{header['width']} values, {header['k']} of them not 0, bring back {100 * header['explained']:.1f} % of the "
        f"codes of {header['fit']['items']:,} images"
    )
    print(f'next:       LatentObservation(env, "{config.run}", recode="{out}")')


if __name__ == "__main__":
    sys.exit(main())
