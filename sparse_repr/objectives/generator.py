"""The generator of a GAN: the Burgess decoder with noise beside the code and, while it trains, batch normalisation."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from sparse_repr.models.transposed_convolution import apply_layers


class Generator(nn.Module):
    """Codes and noise -> logits of the pixels: the layers of a decoder, each but the last followed by normalisation.

    Without batch normalisation (Ioffe and Szegedy 2015) the Burgess decoder starts almost constant, and a
    discriminator tells its pictures from real ones before it has learned to vary them. In use it is not needed: a
    trained generator at noise 0 is again a plain decoder, which `fold_into` writes.
    """

    def __init__(self, decoder: Any, noise_units: int) -> None:
        """Copy the layers of `decoder`, a `BurgessDecoder`; `noise_units` is the size of the noise.

        The noise has a layer of its own at the first activation: the same as one dense layer on code and noise.
        """
        super().__init__()
        self.code_layer, *rest = copy.deepcopy(decoder.layers)
        units = self.code_layer.in_features
        self.noise_layer = nn.Linear(noise_units, self.code_layer.out_features, bias=False)
        # as wide as in one layer on both: by default few noise units start louder than the codes, and are all it uses
        nn.init.uniform_(self.noise_layer.weight, -((units + noise_units) ** -0.5), (units + noise_units) ** -0.5)
        layers: list[nn.Module] = [nn.BatchNorm1d(self.code_layer.out_features)]
        for layer in rest:
            layers.append(layer)
            if isinstance(layer, nn.Linear):
                layers.append(nn.BatchNorm1d(layer.out_features))
            elif isinstance(layer, nn.ConvTranspose2d | nn.Conv2d) and layer is not rest[-1]:
                layers.append(nn.BatchNorm2d(layer.out_channels))
        self.layers = nn.Sequential(*layers)

    def forward(self, codes: Tensor, noise: Tensor) -> Tensor:
        """Codes (B, D) and noise (B, noise_units) -> logits (B, C, S, S), float32 also under autocast."""
        return apply_layers(self.layers, self.code_layer(codes) + self.noise_layer(noise)).float()

    @torch.no_grad()
    def fold_into(self, decoder: Any) -> None:
        """Write into `decoder` what this generator is at noise 0 with the running statistics of its normalisation.

        With s = weight / sqrt(variance + epsilon) of a normalisation, the layer W x + b before it becomes
        (s W) x + s (b - mean) + bias, output by output.
        """
        sources: list[Any] = [self.code_layer, *self.layers]
        targets = [layer for layer in decoder.layers if hasattr(layer, "weight")]
        for index, source in enumerate(sources):
            if not isinstance(source, nn.Linear | nn.ConvTranspose2d | nn.Conv2d):
                continue
            target = targets.pop(0)
            if source is sources[-1]:
                target.weight.copy_(source.weight)
                target.bias.copy_(source.bias)
                continue
            norm = sources[index + 1]
            scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
            # outputs are the first dimension of the weights, but the second of a transposed convolution's
            axis = 1 if isinstance(source, nn.ConvTranspose2d) else 0
            shape = [-1 if dimension == axis else 1 for dimension in range(source.weight.ndim)]
            target.weight.copy_(source.weight * scale.reshape(shape))
            target.bias.copy_((source.bias - norm.running_mean) * scale + norm.bias)
