"""`python -m envs.pictures`: an episode and every domain of each environment of envs/README.md, and an episode of each
public task of envs/public.md but the Atari games, whose screens are not ours to show."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image, ImageDraw

import envs  # noqa: F401 (registers the environments)
from envs.domains import DOMAINS
from envs.scripted import scripted_action
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.data.base import ImageArray
from sparse_repr.files import atomic_path

ENVIRONMENTS = ("SpriteReach", "SpriteChase", "SpritePose")
PUBLIC = ("VizDoomBasic", "LunarLander", "DoorKey")
FOLDER = Path(__file__).parent / "images"
# Two episodes' beginnings per domain, so that what varies within it is seen.
_SEEDS = {"SpriteReach": (14, 3), "SpriteChase": (11, 16), "SpritePose": (23, 2)}
_PUBLIC_SEEDS = {"VizDoomBasic": 3, "LunarLander": 0, "DoorKey": 40}
_COLUMNS, _SIDE, _GAP, _LINE = len(DOMAINS), 128, 6, 16
_GROUND, _INK = (255, 255, 255), (60, 60, 60)


def episode(name: str, seed: int, **arguments: Any) -> list[ImageArray]:
    """Every image, uint8 (64, 64, C), of an episode that the scripted policy plays."""
    env = gym.make(f"SparseRepr/{name}-v0", **arguments)
    image, info = env.reset(seed=seed)
    images, ended = [image], False
    while not ended:
        image, _, terminated, truncated, info = env.step(scripted_action(name, info["factors"]))
        images.append(image)
        ended = terminated or truncated
    env.close()
    return images


def first_image(name: str, domain: str, seed: int) -> ImageArray:
    """The image, uint8 (64, 64, 3), with which an episode of a domain begins."""
    env = gym.make(f"SparseRepr/{name}-v0", render_mode="rgb_array", domain=domain)
    env.reset(seed=seed)
    image = _rendered(env)
    env.close()
    return image


def _rendered(env: gym.Env[ImageArray, object]) -> ImageArray:
    return np.asarray(env.render(), dtype=np.uint8)


def strip(played: list[ImageArray]) -> Image.Image:
    """An episode from left to right."""
    image = Image.new("RGB", (_COLUMNS * (_SIDE + _GAP) - _GAP, _LINE + _SIDE), _GROUND)
    draw = ImageDraw.Draw(image)
    for column, step in enumerate(np.linspace(0, len(played) - 1, _COLUMNS).round().astype(int).tolist()):
        _place(image, played[step], column, _LINE)
        draw.text((column * (_SIDE + _GAP) + 2, 2), f"step {step}", _INK)
    return image


def sheet(name: str) -> Image.Image:
    """An episode from left to right, and below it two beginnings in each domain."""
    seeds = _SEEDS[name]
    first = strip(episode(name, seeds[0], domain="source"))
    height = (1 + len(seeds)) * (_SIDE + _GAP) + 2 * _LINE
    image = Image.new("RGB", (first.width, height), _GROUND)
    image.paste(first)
    draw = ImageDraw.Draw(image)
    second = 2 * _LINE + _SIDE + _GAP
    for column, domain in enumerate(DOMAINS):
        draw.text((column * (_SIDE + _GAP) + 2, second - _LINE + 2), f'domain="{domain}"', _INK)
        for row, seed in enumerate(seeds):
            _place(image, first_image(name, domain, seed), column, second + row * (_SIDE + _GAP))
    return image


def _place(sheet: Image.Image, image: ImageArray, column: int, top: int) -> None:
    large = Image.fromarray(np.broadcast_to(image, (*image.shape[:2], 3))).resize(
        (_SIDE, _SIDE), Image.Resampling.NEAREST
    )
    sheet.paste(large, (column * (_SIDE + _GAP), top))


def write_pictures(folder: Path = FOLDER) -> list[Path]:
    """Write one PNG per environment, named after it; returns the files."""
    files = []
    for name in (*ENVIRONMENTS, *PUBLIC):
        image = sheet(name) if name in ENVIRONMENTS else strip(episode(name, _PUBLIC_SEEDS[name]))
        target = folder / f"{name}.png"
        with atomic_path(target) as temporary:
            image.save(temporary, format="PNG", optimize=True)
        files.append(target)
    return files


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(
        lambda: parse_options(
            draw,
            arguments,
            program="python -m envs.pictures",
            description="Draw the pictures of envs/README.md and envs/public.md.",
        )
    )


def draw(out: Path = FOLDER) -> None:
    """Write the pictures and tell where.

    Args:
        out: folder for the PNG files.
    """
    for file in write_pictures(out):
        print(f"written: {file}")


if __name__ == "__main__":
    sys.exit(main())
