"""Keypoints: where heat maps lie is where the code says, absent ones are zeros, and the decoder draws them there."""

from __future__ import annotations

import math

import pytest
import torch

from sparse_repr.models import ARCHITECTURES, KeypointEncoder, build_encoder, build_vae, presences_of
from sparse_repr.models.keypoints import LOOKS, KeypointDecoder, looks_in_code, split_code, start_keypoints


def _encoder_of_peaks(*, bias: float) -> KeypointEncoder:
    """Two keypoints of 8x8 cells, whose heat map is 50 times the sum of the pixels under the kernel."""
    encoder = KeypointEncoder(channels=1, size=32, code_size=6)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
        encoder.features[0].weight[0, 0, 2:6, 2:6] = 1.0  # the cell's own pixels, of 8 that the kernel sees
        encoder.features[2].weight[0, 0, 1, 1] = 1.0
        encoder.features[4].weight[0, 0, 1, 1] = 1.0
        encoder.features[6].weight[:, 0] = 50.0
        encoder.presence_bias[:] = torch.tensor([0.0, bias])
    return encoder


def test_the_place_is_that_of_the_peak_and_an_absent_keypoint_is_zeros() -> None:
    encoder = _encoder_of_peaks(bias=-900.0)
    image = torch.zeros(1, 1, 32, 32)
    image[..., 24:28, 8:12] = 1.0  # cell 6 down, 2 across: 16 pixels, heat 800
    x, y, logit = encoder.keypoints(image)
    assert x[0].tolist() == pytest.approx([-0.375] * 2)  # (2 * 2 + 1) / 8 - 1
    assert y[0].tolist() == pytest.approx([0.625] * 2)
    assert logit[0].tolist() == pytest.approx([800.0, -100.0])
    posterior = encoder(image)
    assert posterior.mean[0].tolist() == pytest.approx([-0.375, 0.0, 0.625, 0.0, 1.0, 0.0])
    assert presences_of(encoder, torch.cat([image, torch.zeros_like(image)])) == (0.5, 0, 1, 2)


def test_the_background_is_taken_off_and_the_rest_scaled() -> None:
    encoder = _encoder_of_peaks(bias=0.0)
    shade = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    encoder.background.copy_(shade)
    encoder.scale.fill_(0.5)
    image = shade[None].clone()
    image[..., :4, 28:] += 0.25
    assert encoder.keypoints(image).logit[0].tolist() == pytest.approx([16 * 0.25 / 0.5 * 50] * 2, rel=1e-5)


def test_the_decoder_draws_a_blob_of_one_cell_on_its_background() -> None:
    decoder = KeypointDecoder(channels=1, size=32, code_size=3)
    with torch.no_grad():
        for layer in (decoder.layers[0], decoder.layers[2], decoder.layers[4]):
            layer.weight.zero_()
            layer.bias.zero_()
        decoder.layers[0].weight[0, 0, 1, 1] = 1.0
        decoder.layers[2].weight[0, 0, 1, 1] = 1.0
        decoder.layers[4].weight[:, 0, 1, 1] = 1.0  # every pixel of a cell
        decoder.background_logit.fill_(-2.0)
    code = torch.tensor([[0.5 * 0.125, 0.5 * -0.375, 0.5]])  # at cell 4 across, 2 down, present by a half
    drawn = decoder(code).detach()[0, 0] + 2.0  # (32, 32)
    assert drawn[8:12, 16:20].flatten().tolist() == pytest.approx([0.5] * 16, rel=1e-5)
    assert float(drawn[8, 20]) == pytest.approx(0.5 * math.exp(-0.5), rel=1e-4)  # one cell away is one sigma
    assert float(drawn[16, 24]) == pytest.approx(0.5 * math.exp(-0.5 * (2**2 + 2**2)), rel=1e-3)
    assert torch.equal(decoder(torch.zeros(1, 3)), torch.full((1, 1, 32, 32), -2.0))


def test_a_keypoint_looks_like_the_maps_at_its_place_and_an_absent_one_like_nothing() -> None:
    encoder = KeypointEncoder(channels=1, size=32, code_size=10, looks=2)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
        encoder.features[0].weight[0, 0, 2:6, 2:6] = 1.0
        encoder.features[2].weight[0, 0, 1, 1] = 1.0
        encoder.features[4].weight[0, 0, 1, 1] = 1.0
        encoder.features[6].weight[:2, 0] = 50.0  # two heat maps, and two that say a 1 and a sum of pixels
        encoder.features[6].bias[2] = 1.0
        encoder.features[6].weight[3, 0] = 0.25
        encoder.presence_bias[:] = torch.tensor([0.0, -900.0])
    image = torch.zeros(1, 1, 32, 32)
    image[..., 24:28, 8:12] = 1.0
    _, looks = encoder.keypoints_and_looks(image)
    assert looks is not None
    assert looks[0].tolist() == [pytest.approx([1.0, 1.0]), pytest.approx([4.0, 4.0])]
    code = encoder(image).mean
    assert code[0].tolist() == pytest.approx([-0.375, 0.0, 0.625, 0.0, 1.0, 0.0, 1.0, 0.0, 4.0, 0.0])
    assert [part[0, 0].item() for part in split_code(code, 2)] == pytest.approx([-0.375, 0.625, 1.0])
    found = looks_in_code(code, 2)
    assert found is not None
    assert found[0, :, 0].tolist() == pytest.approx([1.0, 4.0])
    assert looks_in_code(code[:, :6], 0) is None


def test_the_decoder_draws_looks_as_maps_of_their_own() -> None:
    decoder = KeypointDecoder(channels=1, size=32, code_size=4, looks=1)
    with torch.no_grad():
        for layer in (decoder.layers[0], decoder.layers[2], decoder.layers[4]):
            layer.weight.zero_()
            layer.bias.zero_()
        decoder.layers[0].weight[0, 1, 1, 1] = 1.0  # the map of looks, and not that of places
        decoder.layers[2].weight[0, 0, 1, 1] = 1.0
        decoder.layers[4].weight[:, 0, 1, 1] = 1.0
    code = torch.tensor([[0.5 * 0.125, 0.5 * -0.375, 0.5, 0.5 * 3.0]])  # half there, and looks like a 3
    drawn = decoder(code).detach()[0, 0]
    assert drawn[8:12, 16:20].flatten().tolist() == pytest.approx([1.5] * 16, rel=1e-5)
    assert torch.equal(decoder(torch.zeros(1, 4)), torch.zeros(1, 1, 32, 32))


def test_the_networks_are_as_large_as_published_here() -> None:
    vae = build_vae("keypoints", {"channels": 3, "size": 64, "code_size": 96}, seed=0)
    assert sum(parameter.numel() for parameter in vae.encoder.parameters()) == 25_760
    assert sum(parameter.numel() for parameter in vae.decoder.parameters()) == 44_656


@pytest.mark.parametrize("name", ["keypoints", "keypoints_fine", "keypoints_looks"])
@pytest.mark.parametrize(("channels", "size"), [(1, 64), (3, 84), (3, 96)])
def test_what_the_code_redraws_is_what_its_places_draw(name: str, channels: int, size: int) -> None:
    units = 4 * ARCHITECTURES[name].units_each
    vae = build_vae(name, {"channels": channels, "size": size, "code_size": units}, seed=1)
    images = torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(0))
    posterior, z, logits = vae(images, torch.randn(2, units, generator=torch.Generator().manual_seed(2)))
    assert logits.shape == images.shape
    assert torch.allclose(z, posterior.mean, atol=1e-6)  # no noise to speak of
    (x, y, logit), looks = vae.encoder.keypoints_and_looks(images)
    assert (looks is None) == (name != "keypoints_looks")
    assert looks is None or looks.shape == (2, LOOKS, 4)
    torch.testing.assert_close(vae.decoder(posterior.mean), vae.decoder.draw(x, y, torch.sigmoid(logit), looks))


def test_weights_and_statistics_start_from_the_images() -> None:
    vae = build_vae("keypoints", {"channels": 1, "size": 32, "code_size": 12}, seed=0)
    images = torch.full((9, 1, 32, 32), 0.25)
    images[:3, :, :16] = 0.75  # in a third of them the upper half stands out by 0.5: mean square 1/3 * 1/2 * 1/4
    start_keypoints(vae, images, torch.Generator().manual_seed(0))
    assert torch.equal(vae.encoder.background, torch.full((1, 32, 32), 0.25))
    assert float(vae.encoder.scale) == pytest.approx((1 / 24) ** 0.5)
    assert torch.allclose(torch.sigmoid(vae.decoder.background_logit), vae.encoder.background)
    for layer, share in ((vae.encoder.features[2], 1.0), (vae.decoder.layers[2], 1.0), (vae.decoder.layers[4], 0.1)):
        assert float(layer.weight.detach().std()) == pytest.approx(share * (2 / (32 * 9)) ** 0.5, rel=0.05)
        assert not layer.bias.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 1, "size": 60, "code_size": 3}, "needs images of 32x32, 64x64, 84x84, 96x96, got 60x60"),
        ({"channels": 2, "size": 64, "code_size": 3}, "1 or 3 channels, got 2"),
        ({"channels": 1, "size": 64, "code_size": 10}, "3 units for each keypoint, got code_size 10"),
    ],
)
def test_bad_sizes_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_encoder("keypoints", arguments)
    assert ARCHITECTURES["keypoints"].posterior == "point"
