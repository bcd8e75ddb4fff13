"""Dead neurons: which they are, that they live afterwards, and that nothing else of a network has changed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from sparse_repr.models import VAE, Posterior, build_vae
from sparse_repr.perceptual.targets import FeatureTargets
from sparse_repr.perceptual.variances import FeatureVariances
from sparse_repr.pretrain.code_layers import posterior_means
from sparse_repr.pretrain.dead_neurons import dead_share, recycle_dead_neurons

_CHANNELS = 32


def _images(count: int = 64) -> Tensor:
    return torch.rand((count, 1, 32, 32), generator=torch.Generator().manual_seed(0))


def _codes() -> Tensor:
    return torch.randn((64, 4), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def _living_vae(architecture: str = "burgess") -> VAE:
    """Every neuron is on for about half of the images."""
    vae = build_vae(architecture, {"channels": 1, "size": 32, "code_size": 4}, seed=0)
    for stack, inputs in ((vae.encoder.features, _images()), (vae.decoder.layers, _codes())):
        for layer in stack:
            if hasattr(layer, "bias"):
                layer.bias.sub_(layer(inputs).transpose(0, 1).flatten(1).mean(1))
            inputs = layer(inputs)
    vae.encoder.posterior.weight.mul_(10)  # codes that vary
    return vae


def _vae(architecture: str = "burgess") -> VAE:
    """With some channels and units that nothing switches on, in layers that follow each other too."""
    vae = _living_vae(architecture)
    with torch.no_grad():
        encoder, decoder = vae.encoder.features, vae.decoder.layers
        for layer, dead in ((encoder[2], [3, 30]), (encoder[4], [0, 7]), (encoder[7], [5]), (decoder[2], [1, 2])):
            layer.bias[dead] = -1e3
        decoder[4].bias[32:48] = -1e3  # the third channel of the picture that begins here
        decoder[4].bias[60] = -1e3  # one place of the fourth
    return vae


def _relus(stack: nn.Sequential, inputs: Tensor) -> list[Tensor]:
    """Which neurons of every ReLU are on for any of the inputs."""
    found = []
    for layer in stack:
        inputs = layer(inputs)
        if isinstance(layer, nn.ReLU):
            found.append((inputs > 0).transpose(0, 1).flatten(1).any(1))
    return found


@pytest.mark.parametrize("architecture", ["burgess", "burgess_resize"])
def test_dead_neurons_live_afterwards_and_nothing_that_is_drawn_changes(architecture: str) -> None:
    vae, images = _vae(architecture), _images()
    codes = _codes()
    with torch.no_grad():
        before, drawn = vae.encoder(images), vae.decoder(codes)
        counted = recycle_dead_neurons(vae, images, seed=0)
        after, drawn_after = vae.encoder(images), vae.decoder(codes)
        assert counted == (5, 19)
        torch.testing.assert_close(after.mean, before.mean)
        torch.testing.assert_close(after.log_variance, before.log_variance)
        # but for the one that shares its channel with living ones, and whispers
        torch.testing.assert_close(drawn_after, drawn, atol=2e-3, rtol=0)
        assert all(living.all() for living in _relus(vae.encoder.features, images))
        assert all(living.all() for living in _relus(vae.decoder.layers[:-1], codes))
        assert recycle_dead_neurons(vae, images, seed=0) == (0, 0)


def test_the_share_of_dead_neurons_is_counted_in_any_network() -> None:
    vae, images = _vae(), _images()
    with torch.no_grad():
        dead = [(~living).sum() for living in _relus(vae.encoder.features, images)]
        dead += [(~living).sum() for living in _relus(vae.decoder.layers[:-1], vae.encoder(images).mean)]
    neurons = 3 * 32 + 2 * 256 + 2 * 256 + 512 + 2 * 32
    before = copy.deepcopy(vae.state_dict())
    assert dead_share(vae, images) == pytest.approx(float(sum(dead)) / neurons)
    assert sum(dead) >= 24
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    assert vae.training
    assert dead_share(VAE(vae.encoder, None), images) == pytest.approx(5 / (3 * 32 + 2 * 256))
    keypoints = build_vae("keypoints", {"channels": 1, "size": 64, "code_size": 6}, seed=0)
    share = dead_share(keypoints, torch.rand(4, 1, 64, 64))
    assert share is not None
    assert 0 <= share < 1
    smooth = nn.Module()
    smooth.forward = lambda pixels: Posterior(pixels.flatten(1), pixels.flatten(1))
    assert dead_share(VAE(smooth, None), images) is None


def test_new_neurons_hear_each_other_and_living_ones_hear_none() -> None:
    vae, images = _vae(), _images()
    recycle_dead_neurons(vae, images, seed=0)
    encoder, decoder = vae.encoder.features, vae.decoder.layers
    second, third, dense, picture = encoder[2], encoder[4], encoder[7], decoder[7]
    living = torch.ones(_CHANNELS, dtype=torch.bool)
    living[[0, 7]] = False
    assert not third.weight[living][:, [3, 30]].any()
    assert third.weight[~living][:, [3, 30]].any((1, 2, 3)).all()
    assert second.weight[[3, 30]].any((1, 2, 3)).all()
    # 16 places of each channel, side by side
    heard = dense.weight.unflatten(1, (_CHANNELS, 16)).any(2)  # (units, channels)
    assert not heard[torch.arange(256) != 5][:, [0, 7]].any()
    assert heard[5].all()
    assert not encoder[9].weight[:, 5].any()
    assert not picture.weight[2].any()
    assert picture.weight[3].any()
    assert not decoder[4].weight[60].any()
    assert decoder[4].bias[60] > 0


def test_what_new_neurons_add_up_is_as_large_as_what_the_living_ones_do() -> None:
    vae, images = _vae(), _images()
    recycle_dead_neurons(vae, images, seed=0)
    sums = vae.encoder.features[:3](images).square().mean((0, 2, 3)).sqrt()
    living = torch.ones(_CHANNELS, dtype=torch.bool)
    living[[3, 30]] = False
    torch.testing.assert_close(sums[[3, 30]], sums[living].median().expand(2), rtol=1e-4, atol=0)


def test_a_network_without_dead_neurons_stays_as_it_is() -> None:
    vae, images = _living_vae(), _images()
    before = copy.deepcopy(vae.state_dict())
    assert recycle_dead_neurons(vae, images, seed=0) == (0, 0)
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())


def test_the_seed_decides() -> None:
    made = []
    for seed in (0, 0, 1):
        vae = _vae()
        recycle_dead_neurons(vae, _images(), seed=seed)
        made.append(vae.encoder.features[2].weight[3])
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_a_layer_that_is_dead_as_a_whole_lives() -> None:
    vae, images = _vae(), _images()
    with torch.no_grad():
        vae.encoder.features[4].bias.fill_(-1e3)
        recycle_dead_neurons(vae, images, seed=0)
        assert all(living.all() for living in _relus(vae.encoder.features, images))


def test_other_networks_are_refused() -> None:
    vae = build_vae("keypoints", {"channels": 1, "size": 64, "code_size": 6}, seed=0)
    with pytest.raises(ValueError, match="opening_step needs an encoder with features and a linear posterior"):
        recycle_dead_neurons(vae, torch.zeros((2, 1, 64, 64)), seed=0)


class _NoFloat64(Tensor):
    """As on a device without float64, such as MPS: only what was brought to the host becomes it."""

    def cpu(self, *args: object, **options: object) -> Tensor:  # type: ignore[override]
        return self.as_subclass(Tensor)

    def double(self, *args: object, **options: object) -> Tensor:  # type: ignore[override]
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")


def test_nothing_becomes_float64_where_a_device_has_none() -> None:
    vae = _vae()
    images = _images().as_subclass(_NoFloat64)
    assert dead_share(vae, images) == dead_share(vae, _images())
    features, means = posterior_means(vae, images)
    assert features.dtype == means.dtype == torch.float64
    features_of = TinyFeatures()
    variances = FeatureVariances(features_of, [32], layers=1)
    variances.measure(images)
    expected = FeatureVariances(features_of, [32], layers=1)
    expected.measure(_images())
    assert variances.describe() == expected.describe()
    targets, wanted = (FeatureTargets(features_of, (2, 1, 1)) for _ in range(2))
    targets.measure(images)
    wanted.measure(_images())
    assert all(torch.equal(targets.state_dict()[name], value) for name, value in wanted.state_dict().items())


class TinyFeatures:
    """Two channels of a picture."""

    pixels_at_once = 0

    def __call__(self, images: Tensor) -> list[Tensor]:
        return [torch.cat([images, images.square()], dim=1)]


def test_one_image_has_no_variance() -> None:
    with pytest.raises(ValueError, match="needs training images that differ, got 1 alike"):
        FeatureVariances(TinyFeatures(), [32], layers=1).measure(_images(1))  # type: ignore[arg-type]
