"""A VAE: an encoder and a decoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from sparse_repr.models.heads import Posterior


class VAE(nn.Module):
    """An encoder and a decoder of one architecture; what is minimised lives in `objectives`."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module | None) -> None:
        """Put the two together; `decoder` is None where an objective makes no pictures."""
        super().__init__()
        # Any: objectives call what their own head or layers offer beyond a plain module
        self.encoder: Any = encoder
        self.decoder: Any = decoder

    @property
    def code_size(self) -> int:
        """D, the number of units."""
        return int(self.encoder.code_size)

    def sample(self, images: Tensor, noise: Tensor) -> tuple[Posterior, Tensor]:
        """Images (B, C, S, S) in 0..1 and standard normal noise (B, D) -> posterior and z (B, D)."""
        posterior = self.encoder(images)
        return posterior, posterior.mean + (0.5 * posterior.log_variance).exp() * noise

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Posterior, Tensor, Tensor]:
        """Images (B, C, S, S) in 0..1 and standard normal noise (B, D) -> posterior, z (B, D), logits (B, C, S, S)."""
        posterior, z = self.sample(images, noise)
        return posterior, z, self.decoder(z)
