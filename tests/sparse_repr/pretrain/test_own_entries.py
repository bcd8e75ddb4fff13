"""An objective, an architecture and a data set are a file and a line in a registry: the command line trains them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparse_repr import PretrainConfig, load_encoder, pretrain_encoder
from sparse_repr.data import DATASETS, ArrayImages, FactorDataset
from sparse_repr.encoder.vae import load_vae
from sparse_repr.models import ARCHITECTURES, Architecture, BurgessDecoder, BurgessEncoder, Posterior
from sparse_repr.models.architectures import with_heads
from sparse_repr.objectives import OBJECTIVES, ObjectiveChoice, Setting, kl_divergence, variational
from sparse_repr.objectives.base import Regularised, StepNumber
from sparse_repr.objectives.entry import number, one_of
from sparse_repr.pretrain.__main__ import main
from sparse_repr.pretrain.run_folder import read_settings

WORDS = "--steps 3 --batch-size 4 --code-size 4 --image-size 32 --device cpu --threads 1 --step-graph none"
SMALL = WORDS.split()


@pytest.fixture
def own_data(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 32, 32), np.uint8)
    data = FactorDataset("own_data", ArrayImages(images), source="drawn for this test")
    monkeypatch.setitem(DATASETS, "own_data", lambda _: data)


@dataclasses.dataclass(frozen=True)
class _Margin:
    """beta * KL above a margin, or its square."""

    beta: float | Tensor
    slope: float | Tensor
    margin: float
    shape: str

    def __call__(self, posterior: Posterior, z: Tensor, step_number: StepNumber) -> Regularised:
        excess = (kl_divergence(*posterior).sum(1).mean() - self.margin).clamp_min(0)
        return self.beta * self.slope * (excess if self.shape == "line" else excess.square()), {"excess": excess}


@pytest.fixture
def own_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"margin": Setting(0.5, number(0, 9)), "shape": Setting("line", one_of(("line", "square")))}
    choice = ObjectiveChoice("the KL term above a margin", {"beta": 2.0, "slope": 1.0}, variational(_Margin), options)
    monkeypatch.setitem(OBJECTIVES, "own_objective", choice)


@pytest.mark.usefixtures("own_data", "own_objective")
def test_an_objective_from_outside_is_trained_with_its_own_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["--dataset", "own_data", "--objective", "own_objective", "--run-dir", str(run), *SMALL, "--beta", "3"]
    settings = ["--objective-settings", "margin=0.25,shape=square"]
    assert main([*words, *settings]) == 0
    assert load_encoder(run).spec.objective["weights"] == {"beta": 3.0, "slope": 1.0}
    assert load_encoder(run).spec.objective["options"] == {"margin": 0.25, "shape": "square"}
    assert read_settings(run)["objective_settings"] == "slope=1.0,margin=0.25,shape=square"
    assert main([*words, *settings, "--resume"]) == 0
    assert main([*words, "--resume"]) == 2  # other settings than there
    for wrong, message in (
        ("margin=10", "margin needs a number between 0 and 9, got 10.0"),
        ("margin=wide", "margin needs a value such as 0.5, got 'wide'"),
        ("margn=1", "unknown setting of objective 'own_objective' 'margn'. Did you mean 'margin'"),
        ("beta=1", "objective_settings is for what has no option of its own, got beta"),
        ("margin", "settings need name=value once for each name, separated by commas, got 'margin'"),
    ):
        assert main([*words, "--objective-settings", wrong]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "own_objective: the KL term above a margin" in capsys.readouterr().out


class _Decoder(nn.Module):
    def __init__(self, *, channels: int, size: int, code_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(code_size, channels * size * size), nn.Unflatten(1, (channels, size, size))
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z).float()


@pytest.mark.usefixtures("own_data")
@pytest.mark.parametrize(
    ("objective", "trained"),
    [("vae", "own"), ("spike_and_slab", "own_spike_and_slab"), ("batch_top_k", "own_thresholded")],
)
def test_an_architecture_from_outside_is_trained_with_every_head(
    objective: str, trained: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, architecture in with_heads("own", BurgessEncoder, _Decoder).items():
        monkeypatch.setitem(ARCHITECTURES, name, architecture)
    run = tmp_path / "run"
    words = ["--dataset", "own_data", "--objective", objective, "--architecture", "own", "--run-dir", str(run), *SMALL]
    assert main(words) == 0
    encoder = load_encoder(run)
    assert encoder.spec.architecture == trained
    assert encoder.spec.dataset["name"] == "own_data"
    assert torch.isfinite(torch.from_numpy(encoder.encode(np.zeros((2, 1, 32, 32), np.uint8)))).all()


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.convolution = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.convolution(self.relu(x))


class _Own(nn.Module):
    """An encoder whose middle reads a ReLU's input twice, or keeps statistics."""

    def __init__(self, middle: nn.Module, channels: int, size: int, code_size: int) -> None:
        super().__init__()
        self.code_size = code_size
        first = nn.Conv2d(channels, 8, 8, stride=8)
        self.features = nn.Sequential(first, middle, nn.ReLU(), nn.Flatten(), nn.Linear(8 * (size // 8) ** 2, 16))
        self.posterior = nn.Linear(16, 2 * code_size)

    def forward(self, x: Tensor) -> Posterior:
        return Posterior(*self.posterior(self.features(x)).float().chunk(2, dim=1))


def test_an_encoder_that_adds_to_what_its_relu_reads_is_exported_as_it_was_trained(
    small_study: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        ARCHITECTURES, "residual", Architecture(lambda **sizes: _Own(_Residual(8), **sizes), BurgessDecoder)
    )
    run = pretrain_encoder(dataclasses.replace(small_study, architecture="residual", learning_rate=1e-2))
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 32, 32), np.uint8)
    encoder = load_encoder(run)
    trained = load_vae(run)[0].encoder(encoder.preprocessing(torch.from_numpy(images))).mean
    np.testing.assert_allclose(encoder.encode(images), trained.detach(), atol=1e-5)


@pytest.mark.parametrize("averaged", [0.0, 0.9])
def test_statistics_of_layers_are_those_of_training_whatever_is_looked_at(
    small_study: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, averaged: float
) -> None:
    monkeypatch.setitem(
        ARCHITECTURES, "normalised", Architecture(lambda **sizes: _Own(nn.BatchNorm2d(8), **sizes), BurgessDecoder)
    )
    config = dataclasses.replace(small_study, architecture="normalised", weight_averaging=averaged)
    run = pretrain_encoder(dataclasses.replace(config, picture_every=1_000))
    looked = pretrain_encoder(dataclasses.replace(config, run_dir=str(tmp_path / "looked"), picture_every=2))
    assert (looked / "encoder.safetensors").read_bytes() == (run / "encoder.safetensors").read_bytes()
    state = torch.load(run / "state.pt", weights_only=True)["objective"]["vae"]
    kept = load_encoder(run).network().state_dict()
    for name in ("features.1.running_var", "features.1.num_batches_tracked"):
        torch.testing.assert_close(kept[name], state[f"encoder.{name}"])
