"""The figures of an evaluated run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparse_repr import figures
from sparse_repr.data import FactorDataset
from sparse_repr.encoder import FrozenEncoder
from sparse_repr.encoder.statistics import EncodedItems
from sparse_repr.models import VAE, KeypointEncoder, split_code

_PICTURES = 10
_TRAVERSAL_STEPS = 11
_ENLARGED = 3


def draw_run(
    run: Path,
    encoder: FrozenEncoder,
    vae: VAE | None,
    data: FactorDataset,
    encoded: EncodedItems,
    report: dict[str, Any],
    *,
    device: torch.device | str = "cpu",
) -> None:
    """Write the figures of an evaluated run: reconstructions, traversals or keypoints, and, with factors, information.

    `vae` is moved to `device`, which decodes the pictures; without it there are none to decode.
    """
    folder = run / "figures"
    title = f"{report['run']['objective']} on {report['run']['dataset']}, {report['trained_steps']:,} steps"
    if vae is not None:
        _draw_pictures(folder, encoder, vae, data, encoded, report, title, device=device)
    scores = report.get("disentanglement", {})
    if "mutual_information_nats" in scores:
        figure = figures.mutual_information_figure(
            np.asarray(scores["mutual_information_nats"]),
            scores["factor_names"],
            np.asarray(scores["factor_entropies_nats"]),
            title,
        )
        figures.save_chart(figure, folder / "mutual_information.png")


def _draw_pictures(
    folder: Path,
    encoder: FrozenEncoder,
    vae: VAE,
    data: FactorDataset,
    encoded: EncodedItems,
    report: dict[str, Any],
    title: str,
    *,
    device: torch.device | str,
) -> None:
    held_out = data.split[1] if len(data.split[1]) else data.split[0]
    chosen = np.random.default_rng(2).permutation(held_out)[:_PICTURES]
    vae = vae.to(device)
    with torch.no_grad():
        images = encoder.preprocessing(torch.from_numpy(data.images(chosen)).to(device))
        codes = vae.encoder(images).mean
        reconstructed = torch.sigmoid(vae.decoder(codes))
    figures.save_figure(figures.reconstructions_figure(images, reconstructed, title), folder / "reconstructions.png")
    if isinstance(vae.encoder, KeypointEncoder):
        # a number of a keypoint alone, without the two others, means nothing: there is no traversal
        marked = figures.mark_keypoints(images, *split_code(codes, vae.encoder.looks), enlarge=_ENLARGED)
        figures.save_figure(figures.keypoints_figure(marked, reconstructed, title), folder / "keypoints.png")
    else:
        # a code that is a point has no KL, and no prior that would make its units' sizes comparable with others'
        by_spread = encoder.spec.posterior == "point"
        strengths = report["codes"]["std_per_unit" if by_spread else "kl_nats_per_unit"]
        units = figures.strongest_units(strengths)
        values = figures.quantile_values(encoded.mean[:, units], _TRAVERSAL_STEPS)
        pictures = figures.decode_traversals(vae.decoder, codes[0], torch.from_numpy(values), units)
        names = [f"unit {unit}: {strengths[unit]:.2f} {'std' if by_spread else 'nats'}" for unit in units]
        if len(units) < encoder.code_size:
            title = f"{title}, {len(units)} of {encoder.code_size} units"
        figures.save_figure(figures.traversals_figure(pictures, values, names, title), folder / "traversals.png")
