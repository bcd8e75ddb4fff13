"""`python -m sparse_repr.perceptual landscape`: what a vague guess of the user's own images earns, and what to take."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparse_repr.command_line.bounds import MOST_TORCH_SEED, require_name, require_whole
from sparse_repr.data import DATASETS, load_dataset
from sparse_repr.encoder.preprocessing import Preprocessing
from sparse_repr.figures import PALETTE, add_note, chart, panels_figure, save_chart
from sparse_repr.files import write_json
from sparse_repr.perceptual.features import SHALLOW_LAYERS, VGG_LAYERS, VGGFeatures, parse_layers
from sparse_repr.perceptual.landscape import PIXELS, Landscape, advise, measure_landscape
from sparse_repr.perceptual.levels import COARSE_TO_FINE, Level
from sparse_repr.perceptual.settings import PerceptualSettings
from sparse_repr.perceptual.vgg_weights import load_vgg16
from sparse_repr.registry import lookup

_OTHERS = 2_048
_RESOLUTIONS = (8, 16, 32, 64)
_PLACES = ("data_path", "out", "perceptual_weights_path")  # they change no number
_ALWAYS = ("relu1_2", "relu2_2", "relu3_3")


@dataclasses.dataclass(frozen=True)
class LandscapeConfig:
    """What is looked at, and which loss is judged; the settings have the names they have in pretraining."""

    dataset: str = "dsprites"
    """Data set, as in python -m sparse_repr.pretrain: drawn, from your files, or your own (folder, npz, h5)."""
    data_path: str | None = None
    """Your own copy of the data, a file or a folder."""
    out: str | None = None
    """Folder for landscape.json and landscape.png; landscape-DATASET unless set."""
    perceptual_layers: str = SHALLOW_LAYERS
    """Layers of the loss that is judged: relu1_2, relu2_2, relu3_3, relu4_3, separated by commas."""
    perceptual_levels: str = COARSE_TO_FINE
    """Levels of the loss that is judged, from coarse to fine; 64 is the plain loss at the full resolution."""
    perceptual_weights_path: str | None = None
    """Your own VGG16 weights: a .safetensors file, or torchvision's state dict."""
    image_size: int = 64
    """Height and width that images are resized to, 64 or 32."""
    items: int = 32
    """Images that are guessed."""
    seed: int = 0
    """Seed of their choice and of the guesses."""

    def __post_init__(self) -> None:
        lookup(DATASETS, self.dataset, "data set")
        for name in ("data_path", "out", "perceptual_weights_path"):
            require_name(name, getattr(self, name))
        if self.image_size not in (32, 64):
            raise ValueError(f"image_size needs 64 or 32, got {self.image_size!r}")
        require_whole("items", self.items, least=2, most=1_024)
        require_whole("seed", self.seed, least=0, most=MOST_TORCH_SEED)
        self.levels()

    def levels(self) -> tuple[Level, ...]:
        """The levels of the loss that is judged, joining in their order."""
        # shares are turned into steps of a run of any length: their order is all that counts here
        settings = PerceptualSettings(
            image_size=self.image_size,
            batch_size=1,
            steps=10_000,
            weight=1.0,
            pixel_weight=0.0,
            layers=self.perceptual_layers,
            levels=self.perceptual_levels,
        )
        return settings.joining()


def landscape_of(config: LandscapeConfig) -> dict[str, Any]:
    """Measure, write `landscape.json`, `landscape.png` and `.svg`, and return what was written.

    Raises:
        ValueError, OSError: the data, the weights or the folder cannot be used.
    """
    images, others = _images(config)
    levels, layers = config.levels(), parse_layers(config.perceptual_layers)
    shown = [name for name in VGG_LAYERS if name in {*layers, *_ALWAYS}]
    resolutions = sorted({level.resolution for level in levels} | {r for r in _RESOLUTIONS if r <= config.image_size})
    landscape = measure_landscape(
        VGGFeatures(load_vgg16(config.perceptual_weights_path), shown),
        shown,
        images,
        others,
        resolutions=resolutions,
        levels=levels,
        compared=layers,
        seed=config.seed,
    )
    advice = advise(landscape, layers)
    settings = dataclasses.asdict(config)
    written = {
        "command": _command(config),
        "settings": {name: settings[name] for name in settings if name not in _PLACES},
        "date": f"{datetime.date.today()}",
        "torch": torch.__version__,
        "images": len(images),
        "further_images": len(others),
        **landscape.to_json(),
        "starts": advice.starts,
        "advice": list(advice.sentences),
        "levels_to_take": advice.levels,
    }
    folder = Path(config.out or f"landscape-{config.dataset}")
    write_json(folder / "landscape.json", written)
    save_chart(landscape_figure(landscape, config.dataset), folder / "landscape.png")
    print(table(landscape))
    print()
    print("\n".join(advice.sentences))
    print(f"written: {folder / 'landscape.json'}, {folder / 'landscape.png'}")
    return written


def _command(config: LandscapeConfig) -> str:
    plain = LandscapeConfig()
    words = ["python", "-m", "sparse_repr.perceptual", "landscape", "--dataset", config.dataset]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in ("dataset", *_PLACES):
            continue
        if value != getattr(plain, field.name):
            words += [f"--{field.name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _images(config: LandscapeConfig) -> tuple[Tensor, Tensor]:
    """Images to guess and others, of the training images, in 0..1 at the network's size."""
    data = load_dataset(config.dataset, config.data_path)
    channels, height, width = data.image_shape
    order = np.random.default_rng(config.seed).permutation(data.split[0])[: config.items + _OTHERS]
    if len(order) < 4:
        raise ValueError(f"landscape needs at least 4 training images, got {len(order)} in {data.source}")
    count = min(config.items, len(order) // 2)
    size = (config.image_size, config.image_size)
    preprocessing = Preprocessing(channels=channels, source_size=(height, width), network_size=size)
    images, others = (
        preprocessing(torch.from_numpy(data.images(np.sort(chosen)))) for chosen in (order[:count], order[count:])
    )
    return images, others


def table(landscape: Landscape) -> str:
    """The shares as text: a row for each guess, a column for the pixels, each layer and resolution and each stage."""
    rows = [["loss / best empty picture's", *landscape.columns, *(f"levels {stage}" for stage in landscape.stages)]]
    for kind in landscape.kinds.values():
        for guess in kind:
            values = [*landscape.shares[guess].values(), *(found[guess] for found in landscape.stages.values())]
            rows.append([guess, *(f"{value:.2f}" for value in values)])
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(word.rjust(width) for word, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )


@chart
def landscape_figure(landscape: Landscape, dataset: str) -> Any:
    """A panel for each layer and one for the stages: the shares against the guesses, from vague to good."""
    kinds = [landscape.kinds[kind] for kind in ("place", "neighbours")]
    guesses = [name for names in kinds for name in names]
    layers = list(dict.fromkeys(column.partition("@")[0] for column in landscape.columns if column != PIXELS))
    panels = {
        layer: {
            column.partition("@")[2]: landscape.column(column)
            for column in landscape.columns
            if column.partition("@")[0] == layer
        }
        for layer in layers
    }
    panels["from coarse to fine"] = {f"levels {stage}": dict(shares) for stage, shares in landscape.stages.items()}
    figure, (row,) = panels_figure(1, len(panels), 3.2 * len(panels), 4.4, sharey=True)
    for axes, (title, lines) in zip(row, panels.items(), strict=True):
        axes.axhline(1, color="0.6", linewidth=0.8)
        for place, (name, shares) in enumerate({PIXELS: landscape.column(PIXELS), **lines}.items()):
            style = (
                {"color": "0.4", "linestyle": ":"} if name == PIXELS else {"color": PALETTE[place - 1], "marker": "."}
            )
            for names, label in zip(kinds, (name, None), strict=True):
                axes.plot(
                    [guesses.index(guess) for guess in names], [shares[guess] for guess in names], label=label, **style
                )
        axes.set_xticks(range(len(guesses)), guesses, rotation=90)
        axes.set_title(title)
        axes.set_ylim(0, 1.8)
        axes.legend(ncols=2 if len(lines) > 3 else 1, loc="upper right")
    row[0].set_ylabel("loss / best empty picture's loss")
    figure.suptitle(f"{dataset}: what a vague guess earns")
    add_note(
        figure,
        "below 1 a guess is better than an empty picture: where a line falls to the right, there is a way to learn",
    )
    return figure
