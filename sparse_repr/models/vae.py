"""A VAE: an encoder and a decoder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
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
        self._view: Callable[[Tensor], Tensor] | None = None

    @property
    def code_size(self) -> int:
        """D, the number of units."""
        return int(self.encoder.code_size)

    @contextlib.contextmanager
    def at_rest(self) -> Iterator[None]:
        """Within the block the networks are as they are scored: layers take the statistics that they keep."""
        training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(training)

    @contextlib.contextmanager
    def shows(self, view: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Within the block objectives encode `view` of their images, and compare with the images themselves."""
        self._view = view
        try:
            yield
        finally:
            self._view = None

    def seen(self, images: Tensor) -> Tensor:
        """What objectives encode of images (B, C, S, S) in 0..1: the images, but within `shows`."""
        return images if self._view is None else self._view(images)

    def sample(self, images: Tensor, noise: Tensor) -> tuple[Posterior, Tensor]:
        """Images (B, C, S, S) in 0..1 and standard normal noise (B, D) -> posterior and z (B, D)."""
        posterior = self.encoder(self.seen(images))
        return posterior, posterior.mean + (0.5 * posterior.log_variance).exp() * noise

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Posterior, Tensor, Tensor]:
        """Images (B, C, S, S) in 0..1 and standard normal noise (B, D) -> posterior, z (B, D), logits (B, C, S, S)."""
        posterior, z = self.sample(images, noise)
        return posterior, z, self.decoder(z)
