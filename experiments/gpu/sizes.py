"""How much is measured: on a card, or on a CPU in the time of a test, where nothing but the code's running is told."""

from __future__ import annotations

import dataclasses

from experiments.paper.cells import METHODS

PIXEL_METHODS = ("vae", "beta_vae", "sparse", "capacity", "beta_tcvae", "factor_vae", "beta_sparse")
"""Methods of dSprites in the order in which they are trained; the perceptual ones follow."""
METHOD_ORDER = (*PIXEL_METHODS, *(name for name, method in METHODS.items() if method.perceptual))


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    device: str
    """As in `PretrainConfig`."""
    precisions: tuple[str, ...]
    """In which both ways of a step are compared; bf16 is left out where the device has none."""
    models: tuple[int, ...]
    """Numbers of models that train at once."""
    compiled: tuple[int, ...]
    """Those that are also trained by compiled steps, which are compiled for each number anew."""
    turn_s: float
    """Seconds of one timing; a figure is the median of several."""
    compared_models: int
    """Models in the stack that is compared with single runs."""
    compared_steps: int
    """Steps after which two ways are compared."""
    trained_steps: int
    """Steps of the run whose encoder is evaluated here and on the CPU."""
    items: int
    """Images that it encodes, and whose mutual information with the factors is integrated."""
    scale: str
    """Key of `PAPER_SCALES`: the study."""
    datasets: tuple[str, ...]
    """Of the study, in order: drawn ones, which need no files."""


SIZES = {
    "smoke": Sizes(
        device="cpu",
        precisions=("float32",),
        models=(1, 2),
        compiled=(),
        turn_s=0.01,
        compared_models=2,
        compared_steps=2,
        trained_steps=2,
        items=400,
        scale="smoke",
        datasets=("dsprites",),
    ),
    "gpu": Sizes(
        device="cuda",
        precisions=("float32", "bf16"),
        models=(1, 4, 16, 64),
        compiled=(1, 16),
        turn_s=0.5,
        compared_models=4,
        compared_steps=50,
        trained_steps=3_000,
        items=100_000,
        scale="gpu",
        datasets=("dsprites", "faces", "chairs3d"),
    ),
}
"""Name -> sizes."""
