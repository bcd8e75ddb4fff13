from __future__ import annotations

import pytest
import torch
from torch import nn

from sparse_repr.models import build_vae
from sparse_repr.models.transposed_convolution import apply_layers, transposed_convolution


@pytest.mark.parametrize("outputs", [1, 3, 32])
def test_output_and_gradients_are_those_of_the_layer(outputs: int) -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(6, outputs, 4, stride=2, padding=1).double()
    images = torch.randn(2, 6, 5, 3, dtype=torch.float64, requires_grad=True)
    expected, found = layer(images), transposed_convolution(layer, images)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    inputs = [images, *layer.parameters()]
    for theirs, ours in zip(
        torch.autograd.grad(expected, inputs, weights), torch.autograd.grad(found, inputs, weights), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_second_derivatives_are_exact() -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(2, 1, 4, stride=2, padding=1).double()
    images = torch.randn(1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda images: transposed_convolution(layer, images), (images,))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_decoder_under_autocast_is_as_precise_as_its_layers(channels: int) -> None:
    decoder = build_vae("burgess", {"channels": channels, "size": 64, "code_size": 10}, seed=0).decoder
    z = torch.randn((3, 10), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact = decoder.layers(z)
        torch.testing.assert_close(apply_layers(decoder.layers, z), exact, rtol=1e-5, atol=1e-6)
        with torch.autocast("cpu", torch.bfloat16):
            theirs, ours = decoder.layers(z), apply_layers(decoder.layers, z)
    assert ours.dtype == torch.bfloat16
    assert (ours - exact).abs().max() < 1.5 * (theirs - exact).abs().max()
    assert ours.is_contiguous(memory_format=torch.channels_last)
