"""Are the small things that decide a task in the code? Probes for their places, pictures of what is left of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

import envs  # noqa: F401 (registers the environments)
from experiments.agents.tasks import Task
from experiments.measure.place_probe import NETWORK, axis_r2, fit, standardised
from sparse_repr import FrozenEncoder
from sparse_repr.data import FactorDataset
from sparse_repr.encoder.preprocessing import Preprocessing
from sparse_repr.encoder.statistics import encode_dataset
from sparse_repr.figures import save_figure, show_picture, tile
from sparse_repr.models import VAE

_CROP = 16
_TRAIN, _TEST = 20_000, 5_000


def small_object_scores(
    encoder: FrozenEncoder, train: FactorDataset, test: FactorDataset, task: Task, *, seed: int = 0
) -> dict[str, dict[str, float]]:
    """How well the place of each sprite, and its class, can be read from the codes of another recording.

    Neighbouring frames of an episode are almost the same, and a probe that has seen one need not read the other: so it
    is trained on one recording and scored on another one.

    Args:
        encoder: the encoder.
        train: frames of the task that the probes are trained on, at most 20,000 random ones.
        test: frames of other episodes, at most 5,000 random ones.
        task: whose sprites and classes.
        seed: of the probes and of which frames they get.

    Returns:
        position_r2: sprite -> R² of a probe of its place (two hidden layers of 128), mean over its axes, 0..1;
        linear_position_r2: the same of a linear one; class_accuracy: factor -> accuracy of a network as the first one.

    Raises:
        ValueError: the data has no factor values or lacks a factor of the task.
    """
    from sklearn.linear_model import LinearRegression
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    rng = np.random.default_rng(seed)
    codes, values = [], []
    columns: dict[str, int] = {}
    for data, most in ((train, _TRAIN), (test, _TEST)):
        found, columns = _values_and_columns(data, task)
        items = np.sort(rng.permutation(len(data))[:most])
        codes.append(encode_dataset(encoder, data, items).mean.astype(np.float64))
        values.append(found[items])
    inputs, asked = standardised(*codes)
    names = [name for pair in task.positions.values() for name in pair]
    places, truth = (part[:, [columns[name] for name in names]] for part in values)  # (N, 2 * sprites)
    network = fit(MLPRegressor(**NETWORK, random_state=seed), inputs, places)
    line = LinearRegression().fit(inputs, places)
    return {
        "position_r2": _by_sprite(network.predict(asked), truth, task),
        "linear_position_r2": _by_sprite(line.predict(asked), truth, task),
        "class_accuracy": {
            name: float(
                fit(
                    MLPClassifier(**NETWORK, random_state=seed),
                    inputs,
                    values[0][:, columns[name]].round().astype(int),
                ).score(asked, values[1][:, columns[name]].round().astype(int))
            )
            for name in task.classes
        },
    }


def _by_sprite(predicted: npt.NDArray[Any], truth: npt.NDArray[Any], task: Task) -> dict[str, float]:
    """Sprite -> R², mean over its axes; below 0 counts as 0."""
    scores = iter(np.maximum(axis_r2(predicted, truth), 0).tolist())
    return {sprite: fmean(next(scores) for _ in axes) for sprite, axes in task.positions.items()}


def _values_and_columns(data: FactorDataset, task: Task) -> tuple[npt.NDArray[np.float32], dict[str, int]]:
    wanted = {*task.classes, *(name for pair in task.positions.values() for name in pair)}
    columns = {name: column for column, name in enumerate(data.factor_names)}
    if data.factor_values is None or not wanted <= columns.keys():
        known = "no factor values" if data.factor_values is None else f"the factors {', '.join(data.factor_names)}"
        raise ValueError(
            f"small objects of {task.environment} need frames with the factors {', '.join(sorted(wanted))}, found "
            f"{known} in {data.source}: record them with python -m rl.record"
        )
    return data.factor_values, columns


def places_of(data: FactorDataset, task: Task, frames: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Where the sprites of a task are in their pictures.

    Args:
        data: frames of a domain whose camera is not moved.
        task: whose sprites.
        frames: (n,) items.

    Returns:
        (n, sprites, 2): pixels from the left and from the top edge to each sprite's centre.
    """
    values, columns = _values_and_columns(data, task)
    env = gym.make(task.environment)
    first, pixels = env.get_wrapper_attr("field_pixels")
    env.close()
    pairs = [[columns[name] for name in pair] for pair in task.positions.values()]
    return first + pixels * values[np.asarray(frames)][:, np.array(pairs)].astype(np.float64)


def magnified(pictures: Tensor, places: npt.NDArray[np.float64], *, side: int = _CROP) -> Tensor:
    """What is around a place of each picture, as large as the picture; black beyond its edge.

    Args:
        pictures: (n, C, S, S) in 0..1.
        places: (n, 2) pixels from the left and from the top edge.
        side: width and height in pixels of what is cut out.

    Returns:
        (n, C, S, S) in 0..1, without interpolation.
    """
    margin = side // 2
    padded = F.pad(pictures, (margin,) * 4)
    corners = np.floor(places).astype(int)  # of the crop, in the padded picture
    crops = [
        picture[:, top : top + side, left : left + side]
        for picture, (left, top) in zip(padded, corners.tolist(), strict=True)
    ]
    return F.interpolate(torch.stack(crops), size=pictures.shape[-2:], mode="nearest")


@torch.no_grad()
def small_object_figure(
    vae: VAE,
    preprocessing: Preprocessing,
    data: FactorDataset,
    task: Task,
    path: Path,
    *,
    frames: Sequence[int],
    title: str = "",
) -> Path:
    """Draw frames above their reconstructions, and both again magnified four times around each sprite's true place.

    Args:
        vae: what the encoder was trained in.
        preprocessing: of the encoder; its pictures must not be resized.
        data: frames of the task.
        task: whose sprites.
        path: PNG file to write.
        frames: which of them to show.
        title: above the picture.

    Returns:
        The path.

    Raises:
        ValueError: no frames, or pictures of another size than the network's.
    """
    if not len(frames):
        raise ValueError("small_object_figure needs at least 1 frame to show")
    if preprocessing.seen != (0, 0, *preprocessing.network_size):
        sees = f"{preprocessing.source_size}, of which {preprocessing.seen[2:]} are seen"
        raise ValueError(
            f"small_object_figure needs pictures of the network's size {preprocessing.network_size}, got {sees}: "
            "resized reconstructions cannot be compared pixel by pixel"
        )
    images = preprocessing(torch.from_numpy(data.images(frames)))  # (n, C, S, S)
    reconstructed = torch.sigmoid(vae.decoder(vae.encoder(images).mean))
    places = places_of(data, task, frames)
    rows: list[Tensor] = []
    columns = [
        torch.stack((pictures, *(magnified(pictures, places[:, who]) for who in range(places.shape[1]))), dim=1)
        for pictures in (images, reconstructed)
    ]  # of (n, 1 + sprites, C, S, S)
    for shown in zip(*columns, strict=True):
        rows += shown
    save_figure(_labelled(rows, [*task.positions], title), path)
    return path


def _labelled(rows: Sequence[Tensor], sprites: Sequence[str], title: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.1 * (1 + len(sprites)), 1.1 * len(rows)))
    axes = figure.add_subplot()
    show_picture(axes, tile(rows))
    side = rows[0].shape[-1] + 1
    axes.set_xticks([side * (i + 0.5) for i in range(1 + len(sprites))], ["frame", *sprites], fontsize=8)
    axes.xaxis.tick_top()
    names = ["image", "reconstruction"] * (len(rows) // 2)
    axes.set_yticks([side * (i + 0.5) for i in range(len(rows))], names, fontsize=7)
    axes.tick_params(length=0)
    if title:
        axes.set_title(title, fontsize=9)
    return figure
