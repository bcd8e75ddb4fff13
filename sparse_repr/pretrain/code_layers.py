"""The linear layers on both sides of the code, for what changes units in the middle of a run."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparse_repr.models import VAE

_SLAB = 256


def posterior_layer(vae: VAE) -> nn.Linear:
    """The encoder's last layer, from its features to means and log-variances.

    Raises:
        ValueError: the encoder is of another kind; the message says what to leave out.
    """
    layer = getattr(vae.encoder, "posterior", None)
    if not isinstance(layer, nn.Linear) or not hasattr(vae.encoder, "features"):
        raise ValueError(
            f"opening_step needs an encoder with features and a linear posterior, got {type(vae.encoder).__name__}: "
            "leave opening_step, opening_steps, opening_ica and opening_recycle out, or take architecture burgess "
            "(--architecture)"
        )
    return layer


def first_layer(vae: VAE) -> nn.Linear:
    """The decoder's first layer.

    Raises:
        ValueError: the decoder is of another kind; the message says what to leave out.
    """
    layers = getattr(vae.decoder, "layers", None)
    if not isinstance(layers, nn.Sequential) or not isinstance(layers[0], nn.Linear):
        raise ValueError(
            f"opening_step needs a decoder that begins with a linear layer, got {type(vae.decoder).__name__}: "
            "leave opening_step, opening_steps, opening_ica and opening_recycle out, or take architecture burgess "
            "(--architecture)"
        )
    return layers[0]


@torch.no_grad()
def posterior_means(vae: VAE, images: Tensor) -> tuple[Tensor, Tensor]:
    """The encoder's last features (n, F) of images (n, C, S, S) in 0..1, and the posterior means (n, D); float64."""
    features = torch.cat([vae.encoder.features(slab).float() for slab in images.split(_SLAB)]).cpu().double()
    heads = posterior_layer(vae)
    weight, bias = (values[: vae.code_size].detach().cpu().double() for values in (heads.weight, heads.bias))
    return features, features @ weight.T + bias
