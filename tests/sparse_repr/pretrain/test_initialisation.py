"""Initial weights: what each kind leaves alone, how bright the first picture is, a signal that does not fade."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.encoder.preprocessing import Preprocessing
from sparse_repr.models import VAE, build_vae
from sparse_repr.pretrain.initialisation import initialise

ARGUMENTS = {"channels": 1, "size": 64, "code_size": 10}
PREPROCESSING = Preprocessing(channels=1, source_size=(64, 64), network_size=(64, 64))


def _initialised(name: str, data: FactorDataset, seed: int = 0, architecture: str = "burgess") -> VAE:
    vae = build_vae(architecture, ARGUMENTS, seed=seed)
    initialise(vae, name, data, PREPROCESSING, seed=seed)
    return vae


def _changed(first: VAE, second: VAE) -> set[str]:
    return {name for name, tensor in first.state_dict().items() if not torch.equal(tensor, second.state_dict()[name])}


def test_default_changes_nothing_and_output_bias_one_tensor(dsprites: FactorDataset) -> None:
    before = build_vae("burgess", ARGUMENTS, seed=0)
    assert not _changed(before, _initialised("default", dsprites))
    biased = _initialised("output_bias", dsprites)
    (name,) = _changed(before, biased)
    assert name.startswith("decoder.layers.")
    assert torch.sigmoid(biased.state_dict()[name]).item() == pytest.approx(
        dsprites.images(np.arange(0, len(dsprites), 997)).mean() / 255, rel=0.05
    )


@pytest.mark.parametrize("architecture", ["burgess", "burgess_resize"])
def test_he_keeps_the_size_of_the_signal(architecture: str, dsprites: FactorDataset) -> None:
    images = PREPROCESSING(torch.from_numpy(dsprites.images(np.arange(0, len(dsprites), 9973))))
    vae = _initialised("he", dsprites, architecture=architecture)
    sizes = []
    with torch.no_grad():
        signal = images
        for layer in vae.encoder.features:
            signal = layer(signal)
            if isinstance(layer, torch.nn.ReLU):
                sizes.append(float(signal.square().mean()))
        signal = torch.randn((64, 10), generator=torch.Generator().manual_seed(0))
        for layer in vae.decoder.layers:
            signal = layer(signal)
            if isinstance(layer, torch.nn.ReLU):
                sizes.append(float(signal.square().mean()))
    assert len(sizes) == 12
    assert all(0.2 < size < 5 for size in sizes), sizes
    kept = {"encoder.posterior.weight", "encoder.posterior.bias", "decoder.layers.14.weight"}
    assert not kept & _changed(vae, build_vae(architecture, ARGUMENTS, seed=0))
    assert not _changed(vae, _initialised("he", dsprites, architecture=architecture))
    assert "encoder.features.0.weight" in _changed(vae, _initialised("he", dsprites, seed=1, architecture=architecture))


def test_black_pictures_get_a_finite_bias(tmp_path_factory: pytest.TempPathFactory) -> None:
    from tests.small_pictures import encode, write_folder

    folder = write_folder(
        tmp_path_factory.mktemp("black") / "own",
        {f"{item}.png": encode(np.zeros((32, 32), np.uint8)) for item in range(12)},
    )
    vae = build_vae("burgess", {"channels": 1, "size": 32, "code_size": 2}, seed=0)
    with pytest.warns(UserWarning, match="the brightest pixel of 12 images is 0"):
        data = load_dataset("folder", folder)
    initialise(vae, "he", data, Preprocessing(1, (32, 32), (32, 32)), seed=0)
    assert all(torch.isfinite(tensor).all() for tensor in vae.state_dict().values())


@pytest.mark.parametrize("name", ["output_bias", "he"])
def test_a_network_made_otherwise_is_told_to_take_its_own_weights(name: str, dsprites: FactorDataset) -> None:
    vae = build_vae("burgess", {"channels": 1, "size": 64, "code_size": 4}, seed=0)
    vae.decoder.layers.append(torch.nn.Unflatten(1, (1, 1)))
    with pytest.raises(
        ValueError, match=f"initialisation '{name}' needs a decoder .*BurgessDecoder are made otherwise"
    ):
        initialise(vae, name, dsprites, Preprocessing(1, (64, 64), (64, 64)), seed=0)
    initialise(vae, "default", dsprites, Preprocessing(1, (64, 64), (64, 64)), seed=0)
