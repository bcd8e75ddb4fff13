"""Are the small things that decide a task in the code? Probes for their places, pictures of what is left of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

import envs  # noqa: F401 (registers the environments)
from experiments.agent_arms import Task
from sparse_repr import FrozenEncoder
from sparse_repr.data import FactorDataset
from sparse_repr.figures import save_figure, show_picture, tile
from sparse_repr.metrics import probe_scores
from sparse_repr.models import VAE
from sparse_repr.preprocessing import Preprocessing
from sparse_repr.trained_vae import encode_dataset

GAP = 800
"""Frames between the training and the test frames of a recording: an episode of 100 steps in 8 environments that are
recorded in turn is spread over 800 frames."""
_HELD_OUT = 0.2
_CROP = 16


def split_recording(count: int, *, gap: int = GAP) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Frames to train a probe on, and frames of later episodes to test it on.

    Neighbouring frames of an episode are almost the same: a probe that has seen one need not read the other. So the
    last fifth of the recording is held out as one piece, and the `gap` frames before it are used for nothing: no
    episode that lasts at most `gap` frames has some on both sides.

    Args:
        count: frames of the recording, in the order in which `rl.record` wrote them.
        gap: longest episode in frames: its steps times the environments that were recorded together.

    Returns:
        Two int64 arrays, ascending.

    Raises:
        ValueError: less than the gap would be left to train on, or than 2 frames to test on.
    """
    first = count - round(_HELD_OUT * count)
    if first - gap < max(gap, 2) or count - first < 2:
        raise ValueError(
            f"split_recording needs a recording that is long beside its episodes of up to {gap} frames (at least "
            f"{max(int(np.ceil(2 * gap / (1 - _HELD_OUT))), 10)} frames), got {count}"
        )
    return np.arange(first - gap, dtype=np.int64), np.arange(first, count, dtype=np.int64)


def small_object_scores(
    encoder: FrozenEncoder, data: FactorDataset, task: Task, *, gap: int = GAP, seed: int = 0
) -> dict[str, dict[str, float]]:
    """How well the place of each sprite, and its class, can be read from the code of frames of other episodes.

    Args:
        encoder: the encoder.
        data: frames of the task as `rl.record` writes them, in that order.
        task: whose sprites and classes.
        gap: as in `split_recording`, like what is held out.
        seed: of the probes and of which frames they get (at most 10,000 to train and 5,000 to test on).

    Returns:
        position_r2: sprite -> held-out R² of a boosted probe of its place, mean of across and down, 0..1;
        linear_position_r2: the same of a linear one; class_accuracy: factor -> held-out accuracy of a boosted probe.

    Raises:
        ValueError: the data has no factor values, lacks a factor of the task, or is too short to be split.
    """
    values, columns = _values_and_columns(data, task)
    split = split_recording(len(data), gap=gap)
    used = np.concatenate(split)
    codes = np.zeros((len(data), encoder.code_size), np.float32)
    codes[used] = encode_dataset(encoder, data, used)[0]
    places = values[:, [columns[name] for pair in task.positions.values() for name in pair]]  # (N, 2 * sprites)
    scores: dict[str, dict[str, float]] = {}
    for title, learner in (("position_r2", "boosted"), ("linear_position_r2", "linear")):
        found = probe_scores(codes, places, seed=seed, learner=learner, split=split).reshape(-1, 2).mean(1)
        scores[title] = dict(zip(task.positions, found.tolist(), strict=True))
    classes = values[:, [columns[name] for name in task.classes]].round().astype(np.int64)
    accuracies = probe_scores(codes, classes, seed=seed, learner="boosted", split=split)
    scores["class_accuracy"] = dict(zip(task.classes, accuracies.tolist(), strict=True))
    return scores


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
    if preprocessing.source_size != preprocessing.network_size:
        raise ValueError(
            f"small_object_figure needs pictures of the network's size {preprocessing.network_size}, got "
            f"{preprocessing.source_size}: resized reconstructions cannot be compared pixel by pixel"
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
