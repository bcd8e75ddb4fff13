"""How much of an image its code brings back, on networks whose answers are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sparse_repr.encoder.code_use import use_of_code
from sparse_repr.models import VAE, Posterior


class _FirstPixel(nn.Module):
    """Two units: the first pixel, and nothing."""

    code_size = 2

    def forward(self, images: Tensor) -> Posterior:
        mean = torch.stack([images[:, 0, 0, 0], torch.zeros(len(images))], 1)
        return Posterior(mean, torch.zeros_like(mean))


class _Logits(nn.Module):
    """Pictures whose every pixel has p = 1/2 + share (first unit - 1/2)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.dropout = nn.Dropout(0.9)

    def forward(self, z: Tensor) -> Tensor:
        shade = self.dropout(0.5 + self.share * (z[:, :1] - 0.5))
        return torch.logit(shade)[:, :, None, None].expand(-1, 1, 2, 2)


# one-coloured images of 0.25 and 0.75: variance 1/16 per pixel; a share a of the way leaves (1 - a)^2 of the error
@pytest.mark.parametrize(("share", "spread", "error"), [(1.0, 1.0, 0.0), (0.5, 0.25, 0.25), (0.0, 0.0, 1.0)])
def test_spread_and_error_are_shares_of_the_images_variance(share: float, spread: float, error: float) -> None:
    images = torch.tensor([0.25, 0.75] * 50).view(100, 1, 1, 1).expand(-1, 1, 2, 2)
    vae = VAE(_FirstPixel(), _Logits(share)).train()
    before = torch.get_rng_state()
    use = use_of_code(vae, images)
    assert (use.spread, use.error) == pytest.approx((spread, error), abs=1e-5)
    assert use.active_units == 1
    assert use.ignored == (share == 0)
    assert vae.training
    assert torch.equal(torch.get_rng_state(), before)


def test_images_that_are_all_alike_prove_nothing() -> None:
    use = use_of_code(VAE(_FirstPixel(), _Logits(0.0)), torch.full((3, 1, 2, 2), 0.25))
    assert math.isnan(use.spread)
    assert not use.ignored
