"""A perceptual distance that needs no download: features of a denoising autoencoder trained on the data itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from sparse_repr.models import build_vae
from sparse_repr.objectives.base import minimise

DENOISING_FEATURES = 100
_LEARNING_RATE = 1e-3


def mask_rectangles(images: Tensor, corners: Tensor) -> Tensor:
    """Set a rectangle of each image to 0, in all its channels: the noise that DARLA's autoencoder removes.

    Args:
        images: (B, C, H, W).
        corners: (B, 4) in 0..1, two opposite corners y, x, y, x as shares of the height and width.

    Returns:
        (B, C, H, W).
    """
    height, width = images.shape[-2:]
    rows = (torch.arange(height, device=images.device) + 0.5) / height
    columns = (torch.arange(width, device=images.device) + 0.5) / width
    top, bottom = corners[:, [0, 2]].amin(1, keepdim=True), corners[:, [0, 2]].amax(1, keepdim=True)
    left, right = corners[:, [1, 3]].amin(1, keepdim=True), corners[:, [1, 3]].amax(1, keepdim=True)
    inside_rows = (rows >= top) & (rows < bottom)  # (B, H)
    inside_columns = (columns >= left) & (columns < right)  # (B, W)
    return images.masked_fill((inside_rows[:, :, None] & inside_columns[:, None, :])[:, None], 0.0)


class DenoisingFeatures:
    """The bottleneck of a denoising autoencoder: 100 features of an image (DARLA: Higgins et al. 2017).

    Deviations: the Burgess network with ReLUs in place of DARLA's with ELUs, and a Bernoulli reconstruction.
    """

    pixels_at_once: int | None = None
    """The whole batch at once: its activations are small, see `distance.Features`."""

    def __init__(self, *, channels: int, size: int, seed: int, device: torch.device | str = "cpu") -> None:
        """An untrained autoencoder for images (B, `channels`, `size`, `size`); its weights depend on `seed` alone."""
        arguments = {"channels": channels, "size": size, "code_size": DENOISING_FEATURES}
        self._device = torch.device(device)
        self._seed = seed
        # the encoder's log-variances stay unused: the bottleneck of a plain autoencoder is its mean
        self._network = build_vae("burgess", arguments, seed=seed).to(device).to(memory_format=torch.channels_last)
        self.trained = False

    def train(self, batch: Callable[[int], Tensor], steps: int, *, progress: bool = False) -> list[float]:
        """Train and freeze: reconstruct whole images from images with a masked rectangle.

        Args:
            batch: step -> images (B, C, S, S) in 0..1.
            steps: optimisation steps.
            progress: show a bar.

        Returns:
            The loss of every tenth step, nats per image.
        """
        generator = torch.Generator().manual_seed(self._seed)
        optimiser = torch.optim.Adam(self._network.parameters(), lr=_LEARNING_RATE, fused=True)
        losses = []
        for step in tqdm(range(steps), unit="step", desc="features: denoising autoencoder", disable=not progress):
            images = batch(step)
            masked = mask_rectangles(images, torch.rand((len(images), 4), generator=generator).to(images.device))
            logits = self._network.decoder(self._network.encoder(masked).mean)
            loss = F.binary_cross_entropy_with_logits(logits, images, reduction="none").flatten(1).sum(1).mean()
            minimise(loss, optimiser)
            if step % 10 == 0:
                losses.append(float(loss.detach()))
        self._freeze()
        return losses

    def _freeze(self) -> None:
        self._network.eval().requires_grad_(False)
        self.trained = True

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Images (B, C, S, S) in 0..1 -> one float32 (B, 100), with gradient to the images.

        Raises:
            RuntimeError: not trained yet.
        """
        if not self.trained:
            raise RuntimeError("DenoisingFeatures needs train() or load_state_dict() before it compares images")
        return [self._network.encoder(images).mean]

    def state_dict(self) -> dict[str, Any]:
        """The weights of the encoder, all that the features need."""
        return dict(self._network.encoder.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the weights of `state_dict`; no training is needed then."""
        self._network.encoder.load_state_dict(dict(state))
        self._freeze()
