"""A film of an agent at work: what it was shown, what its code holds of it, and the code itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_wrapper

from rl import VecLatentObservation
from sparse_repr.files import atomic_path
from sparse_repr.models import VAE

_SIDE = 192
_MARGIN = 4
_BACKGROUND, _INK, _ACCENT = (250, 250, 250), (90, 90, 90), (31, 119, 180)


@torch.no_grad()
def _reconstructions(vae: VAE, codes: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Decoded codes (N, D) -> uint8 (N, h, w, C)."""
    decoded = torch.sigmoid(vae.decoder(torch.from_numpy(codes)))
    return (255 * decoded).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _picture(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """uint8 (H, W, C), scaled to the film's height with square pixels."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("RGB")
    return image.resize((max(1, round(_SIDE * image.width / image.height)), _SIDE), Image.Resampling.NEAREST)


def _bars(code: npt.NDArray[np.float32], limit: float) -> Image.Image:
    """The units of a code as bars up and down from zero, `limit` reaching the edge."""
    image = Image.new("RGB", (_SIDE, _SIDE), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    middle, width = _SIDE // 2, _SIDE / len(code)
    for unit, value in enumerate(np.clip(code / limit, -1, 1)):
        top, bottom = sorted((middle, middle - value * (middle - 2)))
        draw.rectangle((unit * width + 1, top, (unit + 1) * width - 1, bottom), fill=_ACCENT)
    draw.line((0, middle, _SIDE, middle), fill=_INK)
    return image


def _side_by_side(images: list[Image.Image]) -> Image.Image:
    width = sum(image.width for image in images) + _MARGIN * (len(images) - 1)
    film = Image.new("RGB", (width, _SIDE), _BACKGROUND)
    left = 0
    for image in images:
        film.paste(image, (left, 0))
        left += image.width + _MARGIN
    return film


def _codes_of(venv: VecEnv) -> VecLatentObservation:
    latent = unwrap_vec_wrapper(venv, VecLatentObservation)
    if latent is None:
        raise TypeError(f"film needs environments wrapped in VecLatentObservation, got {venv}")
    if not latent.latent_options.keep_image or latent.latent_options.image_keys is not None:
        raise ValueError("film needs keep_image=True and plain image observations")
    return latent


def film(
    venv: VecEnv, act: Callable[[Any], Any], vae: VAE, path: str | Path, *, steps: int = 200, fps: int = 20
) -> Path:
    """Let an agent play and write an animated GIF: its picture, the reconstruction from the code, the code as bars.

    Args:
        venv: wrapped in `VecLatentObservation` with `keep_image=True`; the first environment is shown.
        act: observations of all environments -> actions.
        vae: what the encoder was trained in.
        path: file to write, ends in ``.gif``.
        steps: length of the film.
        fps: frames per second.

    Returns:
        The path.

    Raises:
        TypeError, ValueError: no `VecLatentObservation`, or one that keeps no images.
    """
    latent = _codes_of(venv)
    observations = venv.reset()
    shown: list[npt.NDArray[np.uint8]] = [latent.reset_infos[0]["image"]]
    for _ in range(steps - 1):
        observations, _, _, infos = venv.step(act(observations))
        shown.append(infos[0]["image"])
    pictures = np.stack(shown)
    if latent.encoder.preprocessing.layout_of(pictures.shape[1:]) == "CHW":
        pictures = pictures.transpose(0, 2, 3, 1)
    codes = latent.encoder.encode(pictures)
    limit = max(float(np.abs(codes).max()), 1e-6)
    frames = [
        _side_by_side([_picture(picture), _picture(reconstruction), _bars(code, limit)])
        for picture, reconstruction, code in zip(pictures, _reconstructions(vae, codes), codes, strict=True)
    ]
    target = Path(path)
    with atomic_path(target) as temporary:
        frames[0].save(temporary, format="GIF", save_all=True, append_images=frames[1:], duration=1000 // fps, loop=0)
    return target
