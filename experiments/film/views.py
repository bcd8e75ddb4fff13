"""What an agent goes by, for films: codes and reconstructions of its images, or the named factors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rl import LatentExtractor
from rl.code_features import CodeFeatures
from rl.code_scaling import CodeScaling, Scaling
from rl.code_stack import Codes
from rl.recoding import Recode
from sparse_repr import FrozenEncoder
from sparse_repr.data.base import ImageArray
from sparse_repr.figures import mark_keypoints
from sparse_repr.models import VAE, KeypointEncoder, split_code

_CHUNK = 64
_ENLARGED = 2  # so that circles around small things are round


@dataclasses.dataclass(frozen=True)
class Seen:
    """What an agent went by in N images."""

    values: npt.NDArray[np.float32]
    """(N, B), shown as bars."""
    limits: npt.NDArray[np.float32]
    """(B,) or (1,): the values at which a bar is full, above 0."""
    names: tuple[str, ...] = ()
    """B names where the values have some; bars are then rows that start at 0, else columns up and down from 0."""
    reconstructions: ImageArray | None = None
    """(N, h, w, C), where there is a decoder."""
    reconstruction_title: str = "reconstruction"
    """What the film calls them."""
    title: str = "code"
    """What the film calls values without names."""
    keypoints: ImageArray | None = None
    """(N, h, w, 3): what the network is given, with a circle around every keypoint, as opaque as it is present."""


See = Callable[[ImageArray, Sequence[Mapping[str, Any]]], Seen]
"""Images (N, H, W, C) and the infos of the environment that came with them -> what the agent went by."""


@torch.no_grad()
def decode(vae: VAE, codes: Codes) -> ImageArray:
    """Images, uint8 (N, h, w, C), that a VAE makes of codes (N, D)."""
    parts = [torch.sigmoid(vae.decoder(part)) for part in torch.from_numpy(codes).split(_CHUNK)]
    return (255 * torch.cat(parts)).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def see_codes(
    encoder: FrozenEncoder, vae: VAE | None = None, *, code_scaling: Scaling = "none", recode: Recode | None = None
) -> See:
    """The codes of a frozen encoder, as an agent is shown them.

    Args:
        encoder: the encoder.
        vae: what it was trained in; None for one that has no decoder.
        code_scaling: as in `VecLatentObservation`; the decoder gets unscaled codes.
        recode: as there; the decoder gets the codes themselves.
    """
    shown = CodeFeatures(encoder, code_scaling=code_scaling, recode=recode)
    recoding = shown.recoding

    def codes(images: ImageArray) -> Codes:
        return encoder.encode(images)

    title = "code" if recoding is None else str(recoding.settings["name"])
    # in place of the whole frame beside it
    made = "reconstruction" if encoder.spec.preprocessing.crop is None else "a part, redrawn"
    return _see(codes, vae, lambda found: shown.numpy(found, found), made, title, _marks_of(encoder))


def see_tuned(extractor: LatentExtractor, vae: VAE | None = None, *, code_scaling: Scaling = "none") -> See:
    """The codes of the encoder that a policy has fine-tuned.

    The decoder was not trained with it: what it makes of them tells how far the codes still mean what they meant, and
    is labelled as the pretrained decoder's.

    Args:
        extractor: of the policy, with `trainable=True`.
        vae: what the encoder was pretrained in.
        code_scaling: as the extractor has it.

    Raises:
        ValueError: the extractor's encoder is frozen.
    """
    _require_trainable(extractor)

    def codes(images: ImageArray) -> Codes:
        return tuned_codes(extractor, images)

    scaled = CodeScaling(extractor.encoder, code_scaling).numpy
    return _see(codes, vae, scaled, "pretrained decoder", marks=_marks_of(extractor.encoder))


Marks = Callable[[ImageArray, Codes], ImageArray]


def _marks_of(encoder: FrozenEncoder) -> Marks | None:
    """What draws the keypoints of codes on their images; None for other encoders."""
    network = encoder.network()
    if not isinstance(network, KeypointEncoder):
        return None
    looks = network.looks

    def mark(images: ImageArray, codes: Codes) -> ImageArray:
        pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        parts = []
        for frame, code in zip(pixels.split(1), torch.from_numpy(codes).split(1), strict=True):
            marked = mark_keypoints(encoder.preprocessing(frame), *split_code(code, looks), enlarge=_ENLARGED)
            parts.append((255 * marked).round().to(torch.uint8))
        return torch.cat(parts).permute(0, 2, 3, 1).numpy()

    return mark


def _require_trainable(extractor: LatentExtractor) -> Any:
    copy = extractor.trainable_encoder
    if copy is None:
        raise ValueError(
            "tuned codes need a LatentExtractor with trainable=True; the codes of a frozen one are those of its encoder"
        )
    return copy


@torch.no_grad()
def tuned_codes(extractor: LatentExtractor, images: ImageArray) -> Codes:
    """Codes of images by the copy of the encoder that a policy has trained.

    Args:
        extractor: of the policy, with `trainable=True`.
        images: uint8 (N, H, W, C) or (N, C, H, W).

    Returns:
        float32 (N, D), unscaled.

    Raises:
        ValueError: the extractor's encoder is frozen, or the images are not what it takes.
    """
    copy = _require_trainable(extractor)
    device = next(copy.parameters()).device
    parts = torch.from_numpy(np.ascontiguousarray(images)).split(_CHUNK)
    return torch.cat([copy(part.to(device)).mean for part in parts]).float().cpu().numpy()


def _see(
    encode: Callable[[ImageArray], Codes],
    vae: VAE | None,
    show: Callable[[Codes], Codes],
    made: str,
    title: str = "code",
    marks: Marks | None = None,
) -> See:
    def see(images: ImageArray, infos: Sequence[Mapping[str, Any]]) -> Seen:  # noqa: ARG001 (codes need no infos)
        codes = encode(images)
        shown = show(codes)
        limit = max(float(np.abs(shown).max()), 1e-6)
        return Seen(
            values=shown,
            limits=np.array([limit], np.float32),
            reconstructions=None if vae is None else decode(vae, codes),
            reconstruction_title=made,
            title=title,
            keypoints=None if marks is None else marks(images, codes),
        )

    return see


def see_factors(names: Sequence[str], one_hot: Mapping[str, int] | None = None) -> See:
    """The ground-truth factors in `info["factors"]`.

    Args:
        names: K factors, as the environment's `factor_names`.
        one_hot: factor -> number of its values, as in `FactorObservation`: its bar is full at the last one. The bars of
            the others are full at 1, or at the greatest value of the film where that is more.
    """
    counts = dict(one_hot or {})

    def see(images: ImageArray, infos: Sequence[Mapping[str, Any]]) -> Seen:  # noqa: ARG001 (factors need no images)
        values = np.stack([np.asarray(info["factors"], dtype=np.float32) for info in infos])
        if values.shape[1] != len(names):
            raise ValueError(f"see_factors got {len(names)} names, but the infos have {values.shape[1]} factors")
        greatest = np.maximum(np.abs(values).max(0), 1)
        known = [
            max(counts[name] - 1, 1) if name in counts else most for name, most in zip(names, greatest, strict=True)
        ]
        return Seen(values=values, limits=np.array(known, np.float32), names=tuple(names))

    return see
