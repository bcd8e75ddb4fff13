"""Turning open units: which directions are found, that pictures stay, and what is left alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sparse_repr.models import VAE, Posterior, build_vae
from sparse_repr.pretrain import independent_units
from sparse_repr.pretrain.independent_units import make_units_independent


class _Encoder(nn.Module):
    """Features are the pixels; the units say what the given matrix makes of them."""

    def __init__(self, matrix: Tensor, log_variances: list[float]) -> None:
        super().__init__()
        self.code_size = len(matrix)
        self.features = nn.Flatten()
        self.posterior = nn.Linear(matrix.shape[1], 2 * self.code_size)
        with torch.no_grad():
            self.posterior.weight.zero_()
            self.posterior.weight[: self.code_size] = matrix
            self.posterior.bias[: self.code_size] = 3
            self.posterior.bias[self.code_size :] = torch.tensor(log_variances)

    def forward(self, images: Tensor) -> Posterior:
        return Posterior(*self.posterior(self.features(images)).chunk(2, dim=1))


class _Decoder(nn.Module):
    def __init__(self, code_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(code_size, 5))


def _vae(degrees: float, log_variances: list[float] | None = None) -> VAE:
    """Units 0 and 2 hold two pixels, turned; unit 1 holds hardly anything, unit 3 a third pixel."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = torch.tensor([[cos, sin, 0.0, 0.0], [0.0, 0.0, 0.0, 0.1], [-sin, cos, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    torch.manual_seed(0)
    return VAE(_Encoder(matrix, log_variances or [-4.0, -4.0, -4.0, -4.0]), _Decoder(4))


def _images() -> Tensor:
    """(n, 1, 2, 2): independent pixels, uniform with variance 1."""
    return (torch.rand((4_096, 1, 2, 2), generator=torch.Generator().manual_seed(1)) - 0.5) * math.sqrt(12)


def _correlations(vae: VAE, images: Tensor) -> Tensor:
    """(D, pixels)."""
    return torch.corrcoef(torch.cat([vae.encoder(images).mean, images.flatten(1)], 1).T)[:4, 4:]


@pytest.mark.parametrize("degrees", [0, 20, 45, 70, 135])
def test_turned_units_are_the_independent_coordinates(degrees: float) -> None:
    vae, images = _vae(degrees), _images()
    assert make_units_independent(vae, images, seed=0) == [0, 2, 3]
    found = _correlations(vae, images).abs()[[0, 2, 3]]
    assert sorted(found.argmax(1).tolist()) == [0, 1, 2]
    assert (found.max(1).values > 0.998).all()
    means = vae.encoder(images).mean[:, [0, 2, 3]]
    torch.testing.assert_close(means.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(means.var(0), torch.ones(3), atol=0.05, rtol=0)


def test_units_that_are_independent_keep_their_places_and_signs() -> None:
    vae, images = _vae(0), _images()
    before = _correlations(vae, images)
    make_units_independent(vae, images, seed=0)
    torch.testing.assert_close(_correlations(vae, images), before, atol=0.06, rtol=0)


def test_the_pictures_of_the_means_stay() -> None:
    vae, images = _vae(30), _images()
    before = vae.decoder.layers(vae.encoder(images).mean)
    make_units_independent(vae, images, seed=0)
    torch.testing.assert_close(vae.decoder.layers(vae.encoder(images).mean), before, atol=1e-4, rtol=0)


def test_the_noise_of_turned_units_is_the_mean_of_theirs() -> None:
    vae, images = _vae(45, [-2.0, -1.0, -4.0, -3.0]), _images()
    make_units_independent(vae, images, seed=0)
    found = vae.encoder(images).log_variance[0]
    # half of each, as logarithms; unit 3 was alone before, and unit 1 is not turned
    torch.testing.assert_close(found, torch.tensor([-3.0, -1.0, -3.0, -3.0]), atol=0.1, rtol=0)


@pytest.mark.parametrize(
    "matrix", [torch.zeros(4, 4), torch.diag(torch.tensor([1.0, 0.0, 0.0, 0.0]))], ids=["none", "one"]
)
def test_fewer_than_two_units_are_left_as_they_are(matrix: Tensor) -> None:
    vae = VAE(_Encoder(matrix, [-4.0] * 4), _Decoder(4))
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    assert make_units_independent(vae, _images(), seed=0) == []
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())


def test_only_so_many_units_are_turned_those_that_vary_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(independent_units, "MOST_TURNED", 2)
    vae = _vae(45)
    with torch.no_grad():
        vae.encoder.posterior.weight[3] *= 0.9  # unit 3 varies less than units 0 and 2
    untouched = vae.encoder.posterior.weight[3].clone()
    assert make_units_independent(vae, _images(), seed=0) == [0, 2]
    assert torch.equal(vae.encoder.posterior.weight[3], untouched)


def test_components_that_have_no_direction_are_turned_without_a_warning() -> None:
    vae = _vae(30)
    images = torch.randn((500, 1, 2, 2), generator=torch.Generator().manual_seed(2))
    before = vae.decoder.layers(vae.encoder(images).mean)
    make_units_independent(vae, images, seed=0)
    torch.testing.assert_close(vae.decoder.layers(vae.encoder(images).mean), before, atol=1e-4, rtol=0)


def test_a_network_of_another_kind_is_refused() -> None:
    keypoints = build_vae("keypoints", {"channels": 1, "size": 32, "code_size": 6}, seed=0)
    with pytest.raises(ValueError, match="needs an encoder with features and a linear posterior, got Key"):
        make_units_independent(keypoints, torch.rand(4, 1, 32, 32), seed=0)
