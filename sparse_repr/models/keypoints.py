"""Keypoints: a code of places and presences, from heat maps, so that small objects are not lost in a dense bottleneck.

Deep spatial autoencoders (Finn et al. 2016) take the place where each channel of a convolutional network responds;
keypoints with intensities (Jakab et al. 2018, Minderer et al. 2019) are drawn as Gaussian blobs for the decoder.
Deviations: images stand apart from their background, whose median is part of the encoder; an intensity is a presence
in 0..1 that gates the place too, so that an absent object is zeros; nothing is predicted over time. With `looks`, each
keypoint also says what its place looks like: features pooled there, as its size, angle and colour are no place.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparse_repr.models.heads import Posterior, point
from sparse_repr.models.vae import VAE

KEYPOINT_SIZES = (64, 32, 84, 96)
"""Heights and widths that the network takes."""
_CHANNELS = 32
_KERNEL = 8
_FLAT = 1e-3
ABSENT = 1e-6
"""A presence of less draws nothing, and has no place."""
LOOKS = 4
"""Numbers by which a keypoint of the architecture `keypoints_looks` says what it looks like."""
_SLAB = 64


class Keypoints(NamedTuple):
    """K keypoints of each image."""

    x: Tensor
    """(B, K) places across, -1 (left edge) to 1."""
    y: Tensor
    """(B, K) places down, -1 (upper edge) to 1."""
    logit: Tensor
    """(B, K) logit of the presence m = sigmoid(logit)."""

    def code(self, looks: Tensor | None = None) -> Tensor:
        """(m x, m y, m), and with looks (B, F, K) m looks behind them: (B, (3 + F) K)."""
        presence = torch.sigmoid(self.logit)
        further = [] if looks is None else [(presence[:, None] * looks).flatten(1)]
        return torch.cat([presence * self.x, presence * self.y, presence, *further], dim=1)


def split_code(code: Tensor, looks: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Code (B, (3 + F) K) -> places across and down and presences, (B, K) each.

    Args:
        code: of keypoints.
        looks: F, the numbers by which each says what it looks like.

    >>> split_code(torch.tensor([[0.25, -0.5, 0.5]]))
    (tensor([[0.5000]]), tensor([[-1.]]), tensor([[0.5000]]))
    """
    x, y, presence = code.chunk(3 + looks, dim=1)[:3]
    divisor = presence.clamp_min(ABSENT)
    return x / divisor, y / divisor, presence


def looks_in_code(code: Tensor, looks: int) -> Tensor | None:
    """Code (B, (3 + F) K) -> what each keypoint looks like, (B, F, K); None where F is 0.

    >>> looks_in_code(torch.tensor([[0.25, -0.5, 0.5, 3.0]]), 1)
    tensor([[[6.]]])
    """
    if not looks:
        return None
    _, _, presence, *further = code.chunk(3 + looks, dim=1)
    return torch.stack(further, 1) / presence.clamp_min(ABSENT)[:, None]


def cell_centres(grid: int) -> Tensor:
    """(grid,) centres of the cells of an axis that goes from -1 to 1.

    >>> cell_centres(4)
    tensor([-0.7500, -0.2500,  0.2500,  0.7500])
    """
    return (2 * torch.arange(grid) + 1) / grid - 1


class Presences(NamedTuple):
    """How many keypoints are present in some images: those whose presence is above 1/2."""

    mean: float
    """Keypoints that are present in an image, on average."""
    always: int
    """Keypoints that are present in every image."""
    never: int
    """Keypoints that are present in none."""
    keypoints: int
    """K."""


def presences_of(encoder: KeypointEncoder, images: Tensor) -> Presences:
    """How many keypoints are present in images (B, C, S, S) in 0..1."""
    with torch.no_grad():
        present = torch.cat([encoder.keypoints(slab).logit > 0 for slab in images.split(_SLAB)])  # (B, K)
    return Presences(
        mean=float(present.float().sum(1).mean()),
        always=int(present.all(0).sum()),
        never=int((~present).all(0).sum()),
        keypoints=present.shape[1],
    )


class KeypointEncoder(nn.Module):
    """Image in 0..1 -> K places with presences: four convolutions to K heat maps on a grid.

    u = (x - background) / scale; p_k = softmax over the cells of heat map h_k; (X_k, Y_k) = sum p_k (cell centres);
    l_k = sum p_k h_k + c_k; m_k = sigmoid(l_k). The code is (m X, m Y, m), D = 3K, and has no noise.

    With `looks`, F further maps f of the last convolution, which all keypoints share, are pooled at each: a_k = sum p_k
    f, and the code goes on with m a, D = (3 + F) K.
    """

    background: Tensor
    scale: Tensor
    centres: Tensor

    def __init__(self, *, channels: int, size: int, code_size: int, stride: int = 4, looks: int = 0) -> None:
        super().__init__()
        self.keypoint_count = keypoints = _check_sizes(channels, size, code_size, looks)
        self.code_size = code_size
        self.looks = looks
        padding = (_KERNEL - stride) // 2
        self.features = nn.Sequential(
            nn.Conv2d(channels, _CHANNELS, _KERNEL, stride=stride, padding=padding),
            nn.ReLU(),
            nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(_CHANNELS, keypoints + looks, 1),
        )
        self.presence_bias = nn.Parameter(torch.zeros(keypoints))
        self.register_buffer("background", torch.zeros(channels, size, size))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("centres", cell_centres(size // stride), persistent=False)

    def keypoints(self, images: Tensor) -> Keypoints:
        """Images (B, C, S, S) in 0..1 -> keypoints, float32 also under autocast."""
        return self.keypoints_and_looks(images)[0]

    def keypoints_and_looks(self, images: Tensor) -> tuple[Keypoints, Tensor | None]:
        """The same and what each looks like, (B, F, K), where F is not 0."""
        maps = self.features((images - self.background) / self.scale).float()  # (B, K + F, G, G)
        heat = maps[:, : self.keypoint_count]
        flat = heat.flatten(2)
        share = flat.softmax(2)  # (B, K, G * G)
        cells = share.unflatten(2, heat.shape[2:])
        found = Keypoints(
            x=(cells.sum(2) * self.centres).sum(2),
            y=(cells.sum(3) * self.centres).sum(2),
            logit=(share * flat).sum(2) + self.presence_bias,
        )
        if not self.looks:
            return found, None
        return found, maps[:, self.keypoint_count :].flatten(2) @ share.transpose(1, 2)

    def forward(self, images: Tensor) -> Posterior:
        """Images (B, C, S, S) in 0..1 -> the code as the mean, and the log-variance of a point, float32."""
        found, looks = self.keypoints_and_looks(images)
        return point(found.code(looks))


class KeypointDecoder(nn.Module):
    """Keypoints -> logits of the pixels: each is a Gaussian blob on the grid, on top of a learned background.

    G_k = m_k exp(-((x - X_k)^2 + (y - Y_k)^2) / 2 sigma^2), sigma one cell; three convolutions and a pixel shuffle.
    Looks are drawn as F further maps, sum_k a_k G_k.
    """

    centres: Tensor

    def __init__(self, *, channels: int, size: int, code_size: int, stride: int = 4, looks: int = 0) -> None:
        super().__init__()
        self.looks = looks
        self.layers = nn.Sequential(
            nn.Conv2d(_check_sizes(channels, size, code_size, looks) + looks, _CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(_CHANNELS, stride**2 * channels, 3, padding=1),
            nn.PixelShuffle(stride),
        )
        self.background_logit = nn.Parameter(torch.zeros(channels, size, size))
        self.register_buffer("centres", cell_centres(size // stride), persistent=False)

    def draw(self, x: Tensor, y: Tensor, presence: Tensor, looks: Tensor | None = None) -> Tensor:
        """Places and presences, (B, K) each, and looks (B, F, K) -> logits (B, C, S, S), float32 under autocast too."""
        precision = (len(self.centres) / 2) ** 2 / 2  # 1 / (2 sigma^2), a cell being 2 / G wide
        across = torch.exp(-precision * (self.centres - x[..., None]).square())  # (B, K, G)
        down = torch.exp(-precision * (self.centres - y[..., None]).square())
        blobs = (presence[..., None] * down)[..., None] * across[..., None, :]  # (B, K, G, G)
        if looks is not None:
            blobs = torch.cat([blobs, torch.einsum("bfk,bkhw->bfhw", looks, blobs)], dim=1)
        return self.layers(blobs).float() + self.background_logit

    def forward(self, z: Tensor) -> Tensor:
        """Code (B, (3 + F) K) -> logits (B, C, S, S)."""
        return self.draw(*split_code(z, self.looks), looks_in_code(z, self.looks))


def start_keypoints(vae: VAE, images: Tensor, generator: torch.Generator) -> None:
    """Set the background and scale from training images, and draw the weights, in place.

    The background is the median of each pixel, the scale the root mean square of what stands out from it. Weights have
    variance 2 / inputs (He et al. 2015, Eq. 10), those of the decoder's last layer a hundredth of it; biases are 0.

    Args:
        vae: of `KeypointEncoder` and `KeypointDecoder`, on the CPU.
        images: (n, C, S, S) in 0..1.
        generator: of the weights.
    """
    encoder, decoder = vae.encoder, vae.decoder
    with torch.no_grad():
        background = images.median(0).values
        encoder.background.copy_(background)
        encoder.scale.copy_((images - background).square().mean().sqrt().clamp_min(_FLAT))
        decoder.background_logit.copy_(torch.logit(background.clamp(_FLAT, 1 - _FLAT)))
        for layer in (*encoder.features, *decoder.layers):
            if isinstance(layer, nn.Conv2d):
                inputs = layer.weight[0].numel()
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * (2 / inputs) ** 0.5)
                assert layer.bias is not None
                layer.bias.zero_()
        decoder.layers[-2].weight.mul_(0.1)


def _check_sizes(channels: int, size: int, code_size: int, looks: int) -> int:
    if size not in KEYPOINT_SIZES:
        sizes = ", ".join(f"{side}x{side}" for side in sorted(KEYPOINT_SIZES))
        raise ValueError(f"the keypoint network needs images of {sizes}, got {size}x{size}: set image_size")
    if channels not in (1, 3):
        raise ValueError(f"the keypoint network needs 1 or 3 channels, got {channels}")
    each = 3 + looks
    if code_size < each or code_size % each:
        raise ValueError(f"the keypoint network needs {each} units for each keypoint, got code_size {code_size}")
    return code_size // each
