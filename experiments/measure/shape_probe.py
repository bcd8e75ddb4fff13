"""`python -m experiments.measure.shape_probe RUN`: can the shape of a sprite be read from an encoder's code?"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from experiments.measure.machine import git_revision
from sparse_repr import FrozenEncoder, load_encoder
from sparse_repr.command_line.bounds import require_sensible
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.data.dsprites import render_sprites
from sparse_repr.files import write_json

ALL_SIZES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def shape_accuracy(encoder: FrozenEncoder, scales: tuple[float, ...], *, seed: int = 0, items: int = 6_000) -> float:
    """Held-out accuracy of a small network that predicts the shape from the code, on sprites of the given sizes.

    Args:
        encoder: takes 64x64 black-and-white images.
        scales: each sprite's size is drawn from these.
        seed: of the sprites and of the probe.
        items: number of sprites; half of them train.

    Returns:
        0..1; chance is 1/3.
    """
    from sklearn.neural_network import MLPClassifier

    rng = np.random.default_rng(seed)
    shapes = rng.integers(0, 3, items)
    angles, x, y = rng.uniform(0, 2 * np.pi, items), rng.uniform(0, 1, items), rng.uniform(0, 1, items)
    codes = encoder.encode(render_sprites(shapes, rng.choice(scales, items), angles, x, y)[:, None])
    half = items // 2
    probe = MLPClassifier((64, 64), max_iter=300, early_stopping=True, random_state=seed)
    probe.fit(codes[:half], shapes[:half])
    return float(probe.score(codes[half:], shapes[half:]))


def shape_accuracies(encoder: FrozenEncoder, *, seed: int = 0) -> dict[str, float]:
    """Accuracy on full-size sprites, whose areas differ by shape, and with all sizes mixed, which hides that clue."""
    return {
        "one_size": shape_accuracy(encoder, (1.0,), seed=seed),
        "all_sizes": shape_accuracy(encoder, ALL_SIZES, seed=seed),
    }


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
    """What to probe."""

    run: Annotated[str, tyro.conf.Positional]
    """Run folder of python -m sparse_repr.pretrain on dsprites."""
    out: str | None = None
    """JSON file to write; by default the accuracies are only printed."""
    seed: int = 0
    """Seed of the sprites and of the probe."""

    def __post_init__(self) -> None:
        require_sensible(self)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _as_asked(arguments))


def _as_asked(arguments: list[str] | None) -> None:
    config = parse_options(
        ProbeConfig, arguments, program="python -m experiments.measure.shape_probe", description=__doc__
    )
    encoder = load_encoder(config.run)
    accuracies = shape_accuracies(encoder, seed=config.seed)
    print("  ".join(f"{name} {100 * accuracy:.1f} %" for name, accuracy in accuracies.items()))
    if config.out is not None:
        command = "python -m experiments.measure.shape_probe"
        origin = {"command": command, "encoder": encoder.fingerprint, "git_revision": git_revision()}
        write_json(Path(config.out), {**accuracies, "seed": config.seed, **origin})


if __name__ == "__main__":
    sys.exit(main())
