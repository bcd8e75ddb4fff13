"""FeatureTargets: frozen features of an image on a coarse grid, normalised over the data, for a head to predict."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from sparse_repr.perceptual.denoising import DENOISING_FEATURES, DenoisingFeatures
from sparse_repr.perceptual.features import PERCEPTUAL_FEATURES, VGG_LAYERS, Features, VGGFeatures
from sparse_repr.perceptual.vgg_weights import CONVOLUTIONS, load_vgg16
from sparse_repr.registry import lookup

_SMALLEST_GRID = 4
# A channel that hardly ever answers has less than this share of the largest deviation: it is not blown up to 1.
_LEAST_DEVIATION = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureTargetSettings:
    """Which features of which frozen network are predicted; `PretrainConfig` has them as feature_network and so on.

    Raises:
        ValueError: a setting that cannot be used.

    >>> FeatureTargetSettings(image_size=32, network="vgg16", layer="relu3_3", grid=16).shape
    Traceback (most recent call last):
    ValueError: feature_grid needs 4 or 8 for relu3_3 at image_size 32, whose features are 8x8, got 16
    """

    image_size: int
    """Height and width of the images."""
    network: str
    """vgg16, or dae (a denoising autoencoder, whose 100 features have no place and no grid)."""
    layer: str
    """Layer of vgg16."""
    grid: int
    """Height and width that the features of vgg16 are averaged down to."""
    weights_path: str | None = None
    """The user's own weights of VGG16."""

    def __post_init__(self) -> None:
        lookup(dict.fromkeys(PERCEPTUAL_FEATURES), self.network, "feature network")
        place = lookup(VGG_LAYERS, self.layer, "feature layer")
        if self.network != "vgg16":
            return
        side = self.image_size // 2 ** sum(pool < place for pool in (4, 9, 16))
        grids = [side >> halvings for halvings in range(8) if side >> halvings >= _SMALLEST_GRID]
        if self.grid not in grids:
            wanted = " or ".join(map(str, sorted(grids)))
            raise ValueError(
                f"feature_grid needs {wanted} for {self.layer} at image_size {self.image_size}, whose features are "
                f"{side}x{side}, got {self.grid!r}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, G, G) of the targets of an image."""
        if self.network == "dae":
            return DENOISING_FEATURES, 1, 1
        return CONVOLUTIONS[VGG_LAYERS[self.layer] - 1], self.grid, self.grid

    def build(
        self, *, channels: int, seed: int, device: torch.device | str = "cpu", precision: str = "float32"
    ) -> FeatureTargets:
        """The targets, which need `FeatureTargets.measure` and, of dae, training before they are used.

        Args:
            channels: of the images.
            seed: of the denoising autoencoder's weights.
            device: where they are computed.
            precision: of VGG16, ``"float32"`` or ``"bf16"``.

        Raises:
            FileNotFoundError: there are no weights of VGG16.
            ValueError: the file of the weights holds something else.
        """
        if self.network == "dae":
            denoiser = DenoisingFeatures(channels=channels, size=self.image_size, seed=seed, device=device)
            return FeatureTargets(denoiser, self.shape, denoiser=denoiser, device=device)
        features = VGGFeatures(load_vgg16(self.weights_path), [self.layer], device=device, precision=precision)
        return FeatureTargets(features, self.shape, device=device)


class FeatureTargets:
    """t_c = (A phi_c(x) - m_c) / s_c: features averaged to a grid, normalised channel by channel over the data.

    phi are the features of the frozen network, A the average over the pixels of a cell of the grid; m_c and s_c are
    mean and standard deviation of A phi_c over training images and cells, s_c at least 1 % of the largest.
    """

    def __init__(
        self,
        features: Features,
        shape: tuple[int, int, int],
        *,
        denoiser: DenoisingFeatures | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Nothing is measured yet.

        Args:
            features: the frozen network; its last features are taken.
            shape: (C, G, G) of the targets of an image; features without a place have a grid of 1x1.
            denoiser: `features`, where they must be trained first.
            device: where the images are.
        """
        self.features = features
        self.shape = shape
        self.denoiser = denoiser
        self.measured = False
        self._values = {name: torch.zeros(shape[0], device=device) for name in ("mean", "deviation")}
        self._values["pixel_variance"] = torch.zeros((), device=device)

    @torch.no_grad()
    def measure(self, images: Tensor) -> None:
        """Take the statistics of training images (N, C, S, S) in 0..1.

        Raises:
            ValueError: they are all the same, or one alone.
        """
        # float64 on the host: not every device has it
        variance = images.cpu().double().var(0, correction=0).sum()
        found = self._pooled(images).cpu().double()  # (N, C, G, G)
        deviation = found.std((0, 2, 3), correction=0)
        if not float(variance) or not float(deviation.max()):
            raise ValueError(
                f"feature prediction needs training images that differ, got {len(images)} alike: there is nothing to "
                "predict"
            )
        measured = {
            "mean": found.mean((0, 2, 3)),
            "deviation": deviation.clamp_min(_LEAST_DEVIATION * deviation.max()),
            "pixel_variance": variance,
        }
        self._values = {name: value.float().to(images.device) for name, value in measured.items()}
        self.measured = True

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, C, S, S) in 0..1 -> targets (B, *shape), float32.

        Raises:
            RuntimeError: not measured yet.
        """
        self._require_measured()
        mean, deviation = (self._values[name].view(1, -1, 1, 1) for name in ("mean", "deviation"))
        return (self._pooled(images) - mean) / deviation

    @property
    def pixel_variance(self) -> Tensor:
        """Sum over the pixels of their variance over the training images: the squared error of the mean picture."""
        self._require_measured()
        return self._values["pixel_variance"]

    def _require_measured(self) -> None:
        if not self.measured:
            raise RuntimeError("FeatureTargets needs measure() or load_state_dict() before its features are targets")

    def _pooled(self, images: Tensor) -> Tensor:
        limit = self.features.pixels_at_once
        count = max(1, limit // images.shape[-1] ** 2) if limit else len(images)
        found = [self.features(part)[-1].float() for part in images.split(count)]
        if found[0].ndim == 2:
            return torch.cat(found)[:, :, None, None]
        cell = found[0].shape[-1] // self.shape[-1]
        return torch.cat([F.avg_pool2d(part, cell) for part in found])

    def state_dict(self) -> dict[str, Tensor]:
        """The statistics."""
        return dict(self._values)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the statistics of `state_dict`; nothing needs to be measured then."""
        self._values = {name: state[name].to(value.device) for name, value in self._values.items()}
        self.measured = True
