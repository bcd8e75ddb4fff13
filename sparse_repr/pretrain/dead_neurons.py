"""Dead neurons: ReLUs that no image switches on. No gradient passes them, so that nothing brings them back.

A run whose first units open under a large weight of the KL loses most of its neurons there, and has too few left to
draw a heart with: at the end of four VAEs of dSprites, 2 to 10 of the 32 channels of the second convolution. *ReDo*
(Sokar et al. 2023, "The Dormant Neuron Phenomenon in Deep Reinforcement Learning", Alg. 1) gives dead neurons new
weights, and what listens to them begins at 0. Here a new neuron that listens to another new one begins at random
weights, so that a random network begins beside the living one, which goes on undisturbed.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sparse_repr.models import VAE
from sparse_repr.pretrain.code_layers import first_layer, posterior_layer

_Weighted = nn.Linear | nn.Conv2d | nn.ConvTranspose2d

_SLAB = 256
_SCALED_ON = 512
# of the size that the living ones have: of a neuron that cannot be muted, since its channel has living ones
_WHISPER = 0.001
_LEAST = 1e-6


@dataclasses.dataclass(frozen=True)
class _Neurons:
    """The weights before and behind one ReLU."""

    own: _Weighted
    listener: _Weighted


@torch.no_grad()
def recycle_dead_neurons(vae: VAE, images: Tensor, *, seed: int) -> tuple[int, int]:
    """Give the neurons that are off on all images new weights, in place; pictures do not change.

    A neuron is a channel of a convolution, or a unit of a linear layer. Its new weights are drawn at random and scaled
    so that what it adds up is as large as what the living neurons of its layer do. Where a few living units of a linear
    layer share a channel of the next convolution with dead ones, these cannot be muted, and begin at a small constant.

    Args:
        vae: of stacks of layers with ReLUs, such as `burgess`.
        images: (n, C, S, S) in 0..1.
        seed: of the weights, and of the noise of the codes that the decoder is shown.

    Returns:
        How many were dead in the encoder and in the decoder.

    Raises:
        ValueError: a network of another kind.
    """
    posterior, _ = posterior_layer(vae), first_layer(vae)
    generator = torch.Generator().manual_seed(seed)
    posteriors = [vae.encoder(slab) for slab in images.split(_SLAB)]
    means, log_variances = (torch.cat([part[k] for part in posteriors]) for k in range(2))
    noise = torch.randn(means.shape, generator=generator).to(means)
    codes = means + (0.5 * log_variances).exp() * noise
    return (
        _recycle(vae.encoder.features, posterior, images, generator),
        _recycle(vae.decoder.layers, None, codes, generator),
    )


@torch.no_grad()
def dead_share(vae: VAE, images: Tensor) -> float | None:
    """Share of the neurons behind ReLUs, of encoder and decoder, that are off on all images; the model stays as it is.

    Args:
        vae: of any network.
        images: (n, C, S, S) in 0..1, whose posterior means the decoder is shown.

    Returns:
        0..1, or None for a network without ReLUs.
    """
    with vae.at_rest(), _watched(vae) as on:
        for slab in images.split(_SLAB):
            mean = vae.encoder(slab).mean
            if vae.decoder is not None:
                vae.decoder(mean)
    return 1 - float(torch.cat(list(on.values())).cpu().double().mean()) if on else None


@contextlib.contextmanager
def _watched(network: nn.Module) -> Iterator[dict[nn.Module, Tensor]]:
    """Yield what is filled within the block: ReLU -> which of its neurons (k,) were on, in the order of computation."""
    on: dict[nn.Module, Tensor] = {}

    def look(relu: nn.Module, _: object, outputs: Tensor) -> None:
        now = (outputs > 0).transpose(0, 1).flatten(1).any(1)
        on[relu] = now | on[relu] if relu in on else now

    handles = [module.register_forward_hook(look) for module in network.modules() if isinstance(module, nn.ReLU)]
    try:
        yield on
    finally:
        for handle in handles:
            handle.remove()


def _recycle(stack: nn.Sequential, behind: nn.Linear | None, inputs: Tensor, generator: torch.Generator) -> int:
    """Recycle the neurons of a stack, from its front to its end, and count them."""
    with _watched(stack) as living:
        for slab in inputs.split(_SLAB):
            stack(slab)
    shown, begin, count = inputs[:_SCALED_ON], 0, 0
    for neurons, alive in zip(_neurons_of(stack, behind), living.values(), strict=True):
        own = list(stack).index(neurons.own)
        for module in stack[begin:own]:
            shown = module(shown)
        begin = own
        if not alive.all():
            _begin_anew(neurons, ~alive, shown, generator)
            count += int((~alive).sum())
    return count


def _begin_anew(neurons: _Neurons, dead: Tensor, inputs: Tensor, generator: torch.Generator) -> None:
    """New weights for the `dead` (k,) neurons of a layer, and none for them in what listens."""
    weight, bias = _by_output(neurons.own), neurons.own.bias
    assert bias is not None
    drawn = torch.randn(weight[dead].shape, generator=generator)
    weight[dead] = drawn.to(weight) / weight[0].numel() ** 0.5
    bias[dead] = 0
    added = neurons.own(inputs).transpose(0, 1).flatten(1)  # (k, images, times places)
    sums = added.square().mean(1).sqrt()
    usual = sums[~dead].median() if not dead.all() else torch.ones(())
    heard = _by_input(neurons.listener)
    # a neuron has several inputs of what listens, its places, or several share one, the places of a channel
    if len(heard) < len(dead):
        silent = dead.view(len(heard), -1).all(1)
        muted = silent.repeat_interleave(len(dead) // len(heard))
        heard[silent] = 0
    else:
        muted = dead
        heard[dead.repeat_interleave(len(heard) // len(dead))] = 0
    # a neuron that none of the images would switch on listens to the opposite
    scale = usual / sums.clamp_min(_LEAST) * torch.where((added > 0).any(1), 1, -1)
    fresh = dead & muted
    weight[fresh] = weight[fresh] * scale[fresh].view(-1, *[1] * (weight.ndim - 1))
    whispering = dead & ~muted
    weight[whispering] = 0
    bias[whispering] = _WHISPER * usual


def _neurons_of(stack: nn.Sequential, behind: nn.Linear | None) -> list[_Neurons]:
    weighted = [(place, module) for place, module in enumerate(stack) if isinstance(module, _Weighted)]
    found = []
    for relu in (place for place, module in enumerate(stack) if isinstance(module, nn.ReLU)):
        own = next(module for place, module in reversed(weighted) if place < relu)
        listener = next((module for place, module in weighted if place > relu), behind)
        assert listener is not None
        found.append(_Neurons(own, listener))
    return found


def _by_output(layer: _Weighted) -> Tensor:
    """Its weights with the outputs first, as a view."""
    return layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight


def _by_input(layer: _Weighted) -> Tensor:
    """Its weights with the inputs first, as a view."""
    return layer.weight if isinstance(layer, nn.ConvTranspose2d) else layer.weight.transpose(0, 1)
