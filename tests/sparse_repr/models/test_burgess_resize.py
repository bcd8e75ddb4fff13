from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sparse_repr.models import ARCHITECTURES, HEADS, build_vae
from sparse_repr.models.burgess_resize import ResizeConvolution


def test_it_is_nearest_enlargement_and_a_convolution_with_its_gradients() -> None:
    torch.manual_seed(0)
    layer = ResizeConvolution(3, 5).double()
    images = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    enlarged = F.interpolate(images, scale_factor=2, mode="nearest")
    expected, found = F.conv2d(enlarged, layer.weight, layer.bias, padding=1), layer(images)
    assert found.shape == (2, 5, 8, 12)
    torch.testing.assert_close(found, expected)
    weights, inputs = torch.randn_like(expected), [images, *layer.parameters()]
    for theirs, ours in zip(
        torch.autograd.grad(expected, inputs, weights), torch.autograd.grad(found, inputs, weights), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_several_layers_are_computed_at_once_as_one_by_one() -> None:
    torch.manual_seed(0)
    layers = [ResizeConvolution(3, 5) for _ in range(2)]
    stacked = {
        name: torch.stack([getattr(layer, name).detach() for layer in layers]).requires_grad_()
        for name in ("weight", "bias")
    }
    images = torch.randn(2, 4, 3, 4, 4)
    found = torch.func.vmap(lambda own, seen: torch.func.functional_call(layers[0], own, (seen,)))(stacked, images)
    expected = [layer(own) for layer, own in zip(layers, images, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected))
    found.square().sum().backward()
    torch.stack(expected).square().sum().backward()
    torch.testing.assert_close(stacked["weight"].grad, torch.stack([layer.weight.grad for layer in layers]))


def test_a_constant_input_draws_no_checkerboard() -> None:
    torch.manual_seed(0)
    flat = torch.ones(1, 4, 6, 6)
    inner = ResizeConvolution(4, 2)(flat)[..., 2:-2, 2:-2]
    torch.testing.assert_close(inner, inner[..., :1, :1].expand_as(inner))
    # what it takes the place of: the four pixels from one have weights of their own
    uneven = torch.nn.ConvTranspose2d(4, 2, 4, stride=2, padding=1)(flat)[..., 2:-2, 2:-2]
    assert float(uneven.detach().std((2, 3)).min()) > 1e-3


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("size", [64, 32])
def test_the_decoder_alone_is_another_one(head: str, size: int) -> None:
    name = "burgess_resize" if head == "gaussian" else f"burgess_resize_{head}"
    arguments = {"channels": 3, "size": size, "code_size": 4}
    assert ARCHITECTURES[name].posterior == HEADS[head].family
    vae, plain = build_vae(name, arguments, seed=1), build_vae(name.replace("_resize", ""), arguments, seed=1)
    for ours, theirs in zip(vae.encoder.parameters(), plain.encoder.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    kernels = [layer for layer in vae.decoder.layers if isinstance(layer, ResizeConvolution)]
    assert [tuple(layer.weight.shape) for layer in kernels][-1] == (3, 32, 3, 3)
    assert len(kernels) == {64: 4, 32: 3}[size]
    with torch.autocast("cpu", torch.bfloat16):
        logits = vae.decoder(torch.zeros(2, 4))
    assert (logits.shape, logits.dtype) == ((2, 3, size, size), torch.float32)
