"""The architectures by name, and how one is built. Another one is a file beside this and a line in `ARCHITECTURES`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sparse_repr.models.burgess import BurgessDecoder, BurgessEncoder
from sparse_repr.models.burgess_resize import ResizeDecoder
from sparse_repr.models.exported import EXPORTED, ExportedNetwork
from sparse_repr.models.heads import FAMILIES, HEADS
from sparse_repr.models.keypoints import KEYPOINT_SIZES, LOOKS, KeypointDecoder, KeypointEncoder, start_keypoints
from sparse_repr.models.vae import VAE
from sparse_repr.registry import lookup


class Architecture(NamedTuple):
    """How to build the two halves of a network from `channels`, `size` and `code_size`."""

    encoder: Callable[..., nn.Module]
    decoder: Callable[..., nn.Module]
    head: str = "gaussian"
    """What the encoder ends in: an entry of `heads.FAMILIES`."""
    sizes: tuple[int, ...] = (64, 32)
    """Heights and widths that it takes."""
    start: Callable[[VAE, Tensor, torch.Generator], None] | None = None
    """start(vae, training images, generator) sets initial weights and statistics, where it has its own way."""
    units_each: int = 1
    """Units of a keypoint, where a code is made of keypoints."""

    @property
    def posterior(self) -> str:
        """Family of q(z|x): one of `heads.POSTERIOR_FAMILIES`."""
        return FAMILIES[self.head]


def with_heads(
    name: str, encoder: Callable[..., nn.Module], decoder: Callable[..., nn.Module]
) -> dict[str, Architecture]:
    """`name` with the Gaussian head, and `NAME_HEAD` for every other: what a run trains whose objective needs it."""
    return {
        name if head == "gaussian" else f"{name}_{head}": Architecture(partial(encoder, head=head), decoder, head)
        for head in HEADS
    }


def _keypoints(stride: int, looks: int = 0) -> Architecture:
    encoder, decoder = (partial(half, stride=stride, looks=looks) for half in (KeypointEncoder, KeypointDecoder))
    return Architecture(encoder, decoder, "keypoints", KEYPOINT_SIZES, start_keypoints, 3 + looks)


DEFAULT_ARCHITECTURE = "burgess"
ARCHITECTURES: dict[str, Architecture] = {
    **with_heads(DEFAULT_ARCHITECTURE, BurgessEncoder, BurgessDecoder),
    **with_heads("burgess_resize", BurgessEncoder, ResizeDecoder),
    "keypoints": _keypoints(4),  # a grid of 16 x 16 for 64 x 64 pixels
    "keypoints_fine": _keypoints(2),
    "keypoints_looks": _keypoints(4, LOOKS),
}


def choose_architecture(name: str) -> Architecture:
    """The entry of `ARCHITECTURES` called `name`; an unknown name raises with its close matches."""
    return lookup(ARCHITECTURES, name, "architecture", own=True)


def posterior_of(architecture: str) -> str:
    """Family of q(z|x) of an entry of `ARCHITECTURES`, or of an exported network, whose code is a point."""
    return FAMILIES[EXPORTED] if architecture == EXPORTED else choose_architecture(architecture).posterior


def build_encoder(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    """An encoder by its name in `ARCHITECTURES`; arguments are `channels`, `size` and `code_size`.

    An exported network, which nobody trains here, has its steps as a fourth argument, `graph`. The weights are
    arbitrary and are meant to be replaced; the global random state is left as it was.
    """
    if architecture == EXPORTED:
        return ExportedNetwork(**arguments)
    with torch.random.fork_rng(devices=[]):
        return choose_architecture(architecture).encoder(**arguments)


def build_vae(architecture: str, arguments: dict[str, Any], *, seed: int) -> VAE:
    """A VAE whose initial weights depend on `seed` alone; the global random state is left as it was."""
    network = choose_architecture(architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VAE(network.encoder(**arguments), network.decoder(**arguments))
