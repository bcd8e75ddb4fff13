"""Opening closed units: what they are turned to, by hand, when it happens, and that a resumed run is the same."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparse_repr import PretrainConfig, pretrain_encoder
from sparse_repr.data import load_dataset
from sparse_repr.models import VAE, Posterior, build_vae
from sparse_repr.objectives.weighted_kl import WeightedKL
from sparse_repr.pretrain import trainer as trainer_module
from sparse_repr.pretrain.opening import open_closed_units, restart
from sparse_repr.pretrain.together.stacked import why_not_stacked
from sparse_repr.pretrain.trainer import Trainer

_OPENING = {"objective": "vae", "opening_step": 7, "opening_steps": 4}
_TURNED = {**_OPENING, "opening_ica": True, "opening_recycle": True}


class _Encoder(nn.Module):
    """Features are the pixels themselves; unit 0 says the first one, the others nothing."""

    def __init__(self, pixels: int, code_size: int) -> None:
        super().__init__()
        self.code_size = code_size
        self.features = nn.Flatten()
        self.posterior = nn.Linear(pixels, 2 * code_size)
        with torch.no_grad():
            self.posterior.weight.zero_()
            self.posterior.bias.zero_()
            self.posterior.weight[0, 0] = 1

    def forward(self, images: Tensor) -> Posterior:
        return Posterior(*self.posterior(self.features(images)).chunk(2, dim=1))


class _Decoder(nn.Module):
    def __init__(self, pixels: int, code_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(code_size, pixels))


def _vae(code_size: int = 3) -> VAE:
    return VAE(_Encoder(4, code_size), _Decoder(4, code_size))


def _images(count: int = 4_096) -> Tensor:
    """(n, 1, 2, 2): independent pixels, the third a smooth function of the first, which unit 0 tells too."""
    values = torch.randn((count, 4), generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 3.0, 0.0, 2.0])
    values[:, 2] = 5 * torch.cos(values[:, 0])
    return (values + 1).view(count, 1, 2, 2)


def test_closed_units_get_what_the_open_ones_do_not_tell_the_strongest_first() -> None:
    vae, images = _vae(), _images()
    kept = vae.encoder.posterior.weight[0].clone(), vae.decoder.layers[0].weight[:, 0].clone()
    assert open_closed_units(vae, images, seed=0) == [1, 2]
    posterior = vae.encoder(images)
    pixels = images.flatten(1)
    correlations = torch.corrcoef(torch.cat([posterior.mean, pixels], 1).T)[:3, 3:].abs()
    # the third pixel varies most, but unit 0 tells it
    assert correlations.argmax(1).tolist() == [0, 1, 3]
    assert correlations[1, 1] > 0.98
    assert correlations[2, 3] > 0.98
    torch.testing.assert_close(posterior.mean[:, 1:].mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(posterior.mean[:, 1:].std(0, correction=0), torch.ones(2), atol=1e-4, rtol=0)
    assert (posterior.log_variance[:, 1:] == -3).all()
    assert torch.equal(vae.encoder.posterior.weight[0], kept[0])
    assert torch.equal(vae.decoder.layers[0].weight[:, 0], kept[1])
    assert (vae.decoder.layers[0].weight[:, 1:] != 0).all()


@pytest.mark.parametrize(
    ("code_size", "images"),
    [(1, _images(200)), (3, torch.ones(300, 1, 2, 2))],
    ids=["every unit is open", "nothing is left to tell"],
)
def test_where_nothing_can_be_opened_the_network_stays_as_it_is(code_size: int, images: Tensor) -> None:
    vae = _vae(code_size)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    assert open_closed_units(vae, images, seed=0) == []
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())


def test_as_many_units_are_opened_as_there_are_directions() -> None:
    vae = _vae(code_size=8)
    # four pixels, of which the open unit tells one and, through the cosines, another
    assert open_closed_units(vae, _images(), seed=0) == [1, 2]


def test_a_network_of_another_kind_is_refused() -> None:
    keypoints = build_vae("keypoints", {"channels": 1, "size": 32, "code_size": 6}, seed=0)
    with pytest.raises(ValueError, match="opening_step needs an encoder with features and a linear posterior, got Key"):
        open_closed_units(keypoints, torch.rand(4, 1, 32, 32), seed=0)
    vae = _vae()
    vae.decoder = nn.Identity()
    with pytest.raises(ValueError, match="opening_step needs a decoder that begins with a linear layer, got Identity"):
        open_closed_units(vae, _images(50), seed=0)


def test_the_weight_of_the_kl_falls_to_a_tenth_and_becomes_whole_again() -> None:
    regulariser = WeightedKL(2.0, beta_start=8.0, beta_steps=2, opening_step=4, opening_steps=4)
    wanted = [8, 5, 2, 2, 0.2, 0.2, 0.2, 1.1, 2, 2]
    posterior = Posterior(torch.tensor([[2.0], [0.0]]), torch.zeros(2, 1))  # KL 2 and 0, on average 1
    for step, value in enumerate(wanted):
        for number in (step, torch.tensor(step, dtype=torch.float64)):
            found, terms = regulariser(posterior, posterior.mean, number)
            assert float(found) == pytest.approx(value, rel=1e-6)
            assert float(terms["beta"]) == pytest.approx(value, rel=1e-6)


def test_an_optimiser_forgets_in_place() -> None:
    weight = nn.Parameter(torch.ones(3))
    optimiser = torch.optim.Adam([weight], lr=0.1)
    weight.square().sum().backward()
    optimiser.step()
    moments = optimiser.state[weight]["exp_avg"]
    restart(optimiser)
    assert optimiser.state[weight]["exp_avg"] is moments
    assert not any(value.any() for value in optimiser.state[weight].values())


@pytest.mark.parametrize("stopped", [6, 7, 8])
def test_a_run_that_opens_units_resumes_bit_identically(small_study: PretrainConfig, stopped: int) -> None:
    config = dataclasses.replace(small_study, **_TURNED, weight_averaging=0.9)
    whole = pretrain_encoder(dataclasses.replace(config, run_dir=f"{config.run_dir}-whole"))
    pretrain_encoder(dataclasses.replace(config, steps=stopped))
    parts = pretrain_encoder(dataclasses.replace(config, resume=True))
    assert (parts / "encoder.safetensors").read_bytes() == (whole / "encoder.safetensors").read_bytes()


def test_open_units_are_turned_and_dead_neurons_recycled_before_the_others_are_opened(
    small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    monkeypatch.setattr(trainer_module, "make_units_independent", lambda *_, seed: called.append(("turned", seed)))
    monkeypatch.setattr(trainer_module, "recycle_dead_neurons", lambda *_, seed: called.append(("recycled", seed)))
    monkeypatch.setattr(trainer_module, "open_closed_units", lambda *_, seed: called.append(("opened", seed)))
    whole = [("turned", 3), ("recycled", 3), ("opened", 3)]
    for added, wanted in ((False, whole[2:]), (True, whole)):
        called.clear()
        settings = {**_OPENING, "opening_step": 1, "opening_ica": added, "opening_recycle": added, "seed": 3}
        config = dataclasses.replace(small_study, **settings).resolve()
        trainer = Trainer(config, load_dataset(config.dataset, config.data_path))
        trainer.train_step()
        assert called == []
        trainer.train_step()
        assert called == wanted


def test_units_are_opened_before_the_step_of_that_number(small_study: PretrainConfig) -> None:
    config = dataclasses.replace(small_study, **_OPENING).resolve()
    trainer = Trainer(config, load_dataset(config.dataset, config.data_path))
    head = trainer.objective.vae.encoder.posterior
    with torch.no_grad():
        head.weight.zero_()  # every unit is closed
    for _ in range(7):
        trainer.train_step()
        with torch.no_grad():
            head.weight.zero_()
    assert not head.weight.any()
    terms = trainer.train_step()
    assert float(terms["beta"]) == pytest.approx(0.1)
    assert head.weight[: config.code_size].any(1).all()
    assert not math.isnan(float(terms["loss"]))


def test_runs_that_open_units_are_not_stacked(small_study: PretrainConfig) -> None:
    runs = [dataclasses.replace(small_study, **_OPENING, seed=seed).resolve() for seed in range(2)]
    assert why_not_stacked(runs) == "its closed units are opened model by model"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"opening_step": 5}, "opening_step 5 needs opening_steps, got 0: units that nothing keeps open close again"),
        ({"opening_steps": 5}, "opening_steps 5 needs opening_step, the step at which units are opened, got 0"),
        ({"opening_step": -1}, "opening_step needs a whole number of at least 0, got -1"),
        ({"opening_ica": True}, "opening_ica turns units at opening_step, and there is none: set opening_step and"),
        (
            {"opening_recycle": True},
            "opening_recycle gives dead neurons new weights at opening_step, and there is none",
        ),
        (
            {"opening_warmup": 5},
            "opening_warmup warms the learning rate up behind opening_step, and there is none: set opening_step and",
        ),
        ({"opening_warmup": -1}, "opening_warmup needs a whole number of at least 0, got -1"),
        ({"objective": "factor_vae", "opening_ica": True}, "opening_ica turns units at opening_step, and there is non"),
        ({"objective": "factor_vae", "opening_step": 5}, "'factor_vae' has no opening_step; objectives that take it"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        PretrainConfig(**{"objective": "vae", **settings}, run_dir=str(tmp_path))
