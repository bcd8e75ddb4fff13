"""What the explorer shows of a run: its networks, units with their ranges, factors, and some images of its data set."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from sparse_repr.encoder import FrozenEncoder, Preprocessing, load_encoder
from sparse_repr.encoder.preprocessing import RESIZES
from sparse_repr.encoder.statistics import encode_dataset
from sparse_repr.encoder.vae import load_vae
from sparse_repr.explore.information import information_of, told_by
from sparse_repr.explore.networks import UnknownNetworkError, decoder_layers, encoder_layers
from sparse_repr.figures import quantile_values
from sparse_repr.models import KeypointEncoder
from sparse_repr.models.keypoints import ABSENT
from sparse_repr.pretrain.run_folder import data_of_run, read_settings

_ITEMS = 10_000
"""Training images over which the ranges of units are taken, and what they tell of factors."""
_EXAMPLES_SEED = 2
_FIELD = 0.9
_OWN = {"h5": "recorded frames", "folder": "own pictures", "npz": "own images"}
"""Data sets of the user's own -> what the page calls them."""


@dataclasses.dataclass(frozen=True)
class ShownRun:
    """A run as the page shows it."""

    encoder: FrozenEncoder
    contents: dict[str, Any]
    """Plain values and tensors, as `page/explorer.js` reads them."""
    notes: tuple[str, ...]
    """What a reader of the page should know, in sentences."""


def show_run(run: Path, name: str, *, data_path: str | None = None, examples: int = 24) -> ShownRun:
    """Read a run and what it does on its data set.

    Args:
        run: folder of `sparse_repr.pretrain`.
        name: what the page calls it.
        data_path: the user's own copy of the data; None takes the path that the run was trained with.
        examples: images of the data set that the page shows; held-out ones where there are some.

    Raises:
        FileNotFoundError: not a run folder, or a run without a decoder.
        ValueError: a damaged file, data that the run was not trained on, or a decoder that no browser can run.
    """
    if run.is_file() or str(run).startswith("shipped:"):
        raise ValueError(
            f"the explorer needs the folder of a run, whose vae.safetensors draws; {run} is an encoder alone"
        )
    encoder = load_encoder(run)
    vae, spec = load_vae(run)
    settings = read_settings(run)
    data = data_of_run(run, settings, data_path=data_path)
    if data.image_shape != encoder.image_shape:
        raise ValueError(
            f"{run} was trained on images {encoder.image_shape}, {data.source} has {data.image_shape}: "
            "give data_path (--data-path)"
        )
    notes: list[str] = []
    layers, why = _encoder_in_browser(vae.encoder, spec.preprocessing)
    if layers is None:
        notes.append(f"{name}: {why}. The codes of its example images were computed by torch; sliders work.")
    train, held_out = data.split
    items = np.sort(np.random.default_rng(0).permutation(train)[:_ITEMS])
    encoded = encode_dataset(encoder, data, items)
    shown = np.random.default_rng(_EXAMPLES_SEED).permutation(held_out if len(held_out) else train)[:examples]
    images = data.images(np.sort(shown))
    keypoints = vae.encoder.keypoint_count if isinstance(vae.encoder, KeypointEncoder) else None
    information = information_of(run, encoder, data, encoded)
    groups = _groups(encoder, keypoints, information)
    if not any(group["active"] for group in groups):
        notes.append(f"{name}: none of its units is active, so that the decoder draws the same picture for every code.")
        groups = [{**group, "active": True} for group in groups]
    if data.source != "drawn":
        notes.append(
            f"This file holds {len(images)} images of its data set: think of whose they are before you give it to "
            "others."
        )
    objective = encoder.spec.objective
    dataset = _OWN.get(settings["dataset"], settings["dataset"])
    contents = {
        "name": name,
        "dataset": dataset,
        "objective": settings["objective"],
        "heading": _heading(groups, keypoints, encoder.code_size),
        "about": (
            f"{settings['objective']} on {dataset}, {objective['steps']:,} steps, seed {settings['seed']}, "
            f"network {spec.architecture}."
        ),
        "fingerprint": encoder.fingerprint,
        "preprocessing": _contract(spec.preprocessing),
        "encoder": layers,
        "decoder": decoder_layers(vae.decoder),
        "keypoints": keypoints,
        "absent": ABSENT,
        "units": _units(encoder, encoded.mean, keypoints),
        "traversals": _traversals(encoded.mean, keypoints),
        "groups": groups,
        "information": information,
        "examples": {"images": images, "codes": encoder.encode(images)},
    }
    return ShownRun(encoder, contents, tuple(notes))


def _encoder_in_browser(encoder: Any, preprocessing: Preprocessing) -> tuple[list[dict[str, Any]] | None, str]:
    if preprocessing.mean is not None:
        return None, "the explorer cannot normalise images as its encoder wants them"
    try:
        return encoder_layers(encoder), ""
    except UnknownNetworkError as error:
        return None, str(error)


def _contract(preprocessing: Preprocessing) -> dict[str, Any]:
    """What the page needs to prepare images: sizes, the crop, and resizing as a matrix for each axis."""
    (height, width), (high, wide) = preprocessing.source_size, preprocessing.network_size
    top, left, rows, columns = preprocessing.seen
    mode = RESIZES[preprocessing.resize]
    found: dict[str, Any] = {
        "channels": preprocessing.channels,
        "source_size": [height, width],
        "network_size": [high, wide],
        "crop": [top, left, rows, columns],
        "takes_network_size": preprocessing.crop is None,
        "clamped": mode == "bicubic",
    }
    if preprocessing.crop is not None or (height, width) != (high, wide):
        found["rows"] = _resizing(rows, high, mode)
        found["columns"] = _resizing(columns, wide, mode)
    return found


def _resizing(size: int, target: int, mode: str) -> torch.Tensor:
    """(target, size): what each place of a resized axis takes of the places of the axis."""
    unit = torch.eye(size)[None, None]
    return F.interpolate(unit, size=(target, size), mode=mode, antialias=True, align_corners=False)[0, 0]


def _units(encoder: FrozenEncoder, codes: npt.NDArray[np.float32], keypoints: int | None) -> list[dict[str, float]]:
    """What each slider holds: the range of a unit over training images, or the field that a keypoint moves in."""
    values = codes if keypoints is None else _ungated(codes, keypoints)
    low, high = values.min(0).astype(float), values.max(0).astype(float)
    low, high = low - (low == high) * 0.5, high + (low == high) * 0.5
    if keypoints is not None:
        low[: 3 * keypoints] = np.repeat([-1.0, -1.0, 0.0], keypoints)
        high[: 3 * keypoints] = 1
    mean = encoder.spec.units.mean
    return [{"low": float(a), "high": float(b), "mean": float(m)} for a, b, m in zip(low, high, mean, strict=True)]


def _ungated(codes: npt.NDArray[np.float32], keypoints: int) -> npt.NDArray[np.float32]:
    """What is left of a code of keypoints where presences are taken out of the rest: none where one is below 1/2."""
    presence = np.tile(codes[:, 2 * keypoints : 3 * keypoints], codes.shape[1] // keypoints)
    return np.where(presence > 0.5, codes / np.maximum(presence, ABSENT), 0).astype(np.float32)


def _traversals(codes: npt.NDArray[np.float32], keypoints: int | None) -> list[list[float]]:
    if keypoints is not None:
        looks = quantile_values(_ungated(codes, keypoints)[:, 3 * keypoints :], 2).astype(float).tolist()
        return [[-_FIELD, _FIELD]] * (2 * keypoints) + [[0.0, 1.0]] * keypoints + looks
    ends: list[list[float]] = quantile_values(codes, 2).astype(float).tolist()
    return ends


def _groups(encoder: FrozenEncoder, keypoints: int | None, information: dict[str, Any] | None) -> list[dict[str, Any]]:
    """What belongs together, a unit or those of a keypoint, the strongest first."""
    units = encoder.spec.units
    # a code that is a point has no KL
    by_spread = encoder.spec.posterior == "point"
    strengths = units.std if by_spread else units.kl_nats
    if keypoints is None:
        parts = [(f"unit {unit}", [unit]) for unit in range(encoder.code_size)]
    else:
        parts = [(f"keypoint {k}", list(range(k, encoder.code_size, keypoints))) for k in range(keypoints)]
    groups: list[dict[str, Any]] = [
        {
            "name": name,
            "units": members,
            "active": any(units.active[unit] for unit in members),
            "strength": float(sum(strengths[unit] for unit in members)),
            "tells": told_by(information, members),
        }
        for name, members in parts
    ]
    groups.sort(key=lambda group: (not group["active"], -group["strength"]))
    most = max(max(group["strength"] for group in groups), 1e-9)
    for group in groups:
        group["share"] = max(0.0, group["strength"] / most)
        group["strength_in_words"] = (
            f"standard deviation {group['strength']:.2f}" if by_spread else f"KL {group['strength']:.2f} nats"
        )
    return groups


def _heading(groups: list[dict[str, Any]], keypoints: int | None, code_size: int) -> str:
    active = sum(group["active"] for group in groups)
    if keypoints is not None:
        return f"{active} keypoints"
    rest = f", {active} in use" if active < code_size else ""
    return f"{code_size} number{'s' if code_size > 1 else ''}{rest}"
