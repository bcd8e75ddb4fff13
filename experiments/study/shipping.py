"""`python -m experiments.study.shipping RUN NAME`: a finished run as an encoder that comes with the package.

Scores it, writes its artefact, with the scores, the command and the licence in its header, and its picture into
`sparse_repr/encoder/shipped_files`, and prints its line of `sparse_repr.encoder.shipped.SHIPPED`.
"""

from __future__ import annotations

import dataclasses
import io
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import tyro
from PIL import Image

from sparse_repr import FrozenEncoder, load_encoder
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.data import FactorDataset, load_dataset
from sparse_repr.encoder.shipped import FOLDER, file_stem
from sparse_repr.encoder.statistics import encode_dataset
from sparse_repr.encoder.vae import load_vae
from sparse_repr.evaluate.run import EvaluateConfig, evaluate_run
from sparse_repr.figures import decode_traversals, mark_keypoints, quantile_values, strongest_units, tile
from sparse_repr.files import write_bytes
from sparse_repr.files.json_reader import read_json
from sparse_repr.metrics import mig_histogram_score, probe_scores
from sparse_repr.models import KeypointEncoder, split_code

MOST_BYTES = 2**20
"""Of a file."""
_ACROSS = 8
_UNITS = 6
_COLOURS = 96


@dataclasses.dataclass(frozen=True)
class ShipConfig:
    """What to ship."""

    run: Annotated[str, tyro.conf.Positional]
    """Run folder."""
    name: Annotated[str, tyro.conf.Positional]
    """What `load_encoder("shipped:NAME")` calls it."""
    command: str
    """What made it, for people: all that has to be typed."""
    licence: str = "MIT"
    """Of the weights and the picture."""
    data_path: str | None = None
    """Frames it is scored on; by default those of its training."""
    sample: int | None = None
    """Items that it is scored on, at random; by default all."""
    folder: str = str(FOLDER)
    """Where its files go."""


def ship(config: ShipConfig) -> FrozenEncoder:
    """Write the artefact and the picture of a run; returns the encoder as it is shipped.

    Raises:
        FileNotFoundError, ValueError: no finished run with a decoder, or a file above 1 MB.
    """
    run, folder = Path(config.run), Path(config.folder)
    report = evaluate_run(
        EvaluateConfig(
            run=config.run,
            metrics="mig,aam",
            data_path=config.data_path,
            sample=config.sample,
            image_items=2_000,
            lpips_items=0,
            device="cpu",
            threads=1,
            progress=False,
        )
    )
    settings = read_json(run / "config.json")
    data = load_dataset(settings["dataset"], config.data_path or settings["data_path"])
    made = load_encoder(run)
    images = next(part["model"] for part in report["images"].values() if "model" in part)
    scores = {"psnr_db": images["psnr_db"]}
    found = report.get("disentanglement", {})
    scores |= {name: found[name] for name in ("mig", "aam") if isinstance(found.get(name), float)}
    items = np.sort(np.random.default_rng(0).permutation(len(data))[: config.sample])
    scores |= code_scores(made, data, items)
    about = {
        "scores": {name: round(float(value), 4) for name, value in scores.items()},
        "command": config.command,
        "licence": config.licence,
    }
    spec = dataclasses.replace(made.spec, objective={**made.spec.to_header()["objective"], **about})
    encoder = FrozenEncoder(spec, made.network().state_dict())
    content = encoder.to_bytes()
    if len(content) > MOST_BYTES:
        raise ValueError(f"{run}: an encoder of {len(content) / 2**20:.2f} MB, which is above 1 MB, is not shipped")
    write_bytes(folder / f"{file_stem(config.name)}.safetensors", content)
    write_bytes(folder / f"{file_stem(config.name)}.png", _picture(run, encoder, data, report))
    return encoder


def code_scores(encoder: FrozenEncoder, data: FactorDataset, items: npt.NDArray[np.int64]) -> dict[str, float]:
    """Scores of codes of some items that anybody can compute again from the encoder alone.

    Returns:
        mig_histogram, over the factors that vary; linear_r2: of a line fitted to four fifths of the items, R² on the
        others, mean over the factors that are quantities.

    Raises:
        ValueError: no factors.
    """
    varying = data.varying(items)
    if data.factors is None or data.factor_values is None or not varying:
        raise ValueError(
            f"an encoder is shipped with its scores, which need factors that vary, found none in {data.source}: record "
            "frames of an environment that names its factors with python -m rl.record"
        )
    codes = encode_dataset(encoder, data, items).mean
    quantities = [k for k in varying if data.factor_names[k] not in data.nominal_factors]
    train = 4 * len(items) // 5
    values = data.factor_values[items][:, quantities].astype(np.float64)
    return {
        "mig_histogram": mig_histogram_score(codes, data.factors[items][:, varying]),
        "linear_r2": float(probe_scores(codes, values, train=train, test=len(items) - train).mean()),
    }


def _picture(run: Path, encoder: FrozenEncoder, data: FactorDataset, report: dict[str, Any]) -> bytes:
    """The picture that `sparse_repr.encoder.shipped.copy_picture` describes, as a PNG of few colours."""
    vae, _ = load_vae(run)
    chosen = np.random.default_rng(2).permutation(len(data))[:_ACROSS]
    with torch.no_grad():
        images = encoder.preprocessing(torch.from_numpy(data.images(chosen)))
        codes = vae.encoder(images).mean
        reconstructed = torch.sigmoid(vae.decoder(codes))
    if isinstance(vae.encoder, KeypointEncoder):
        marked = mark_keypoints(images, *split_code(codes, vae.encoder.looks), enlarge=2)
        rows = [marked, *(_enlarged(part) for part in (images, reconstructed))]
    else:
        rows = [images, reconstructed]
        strengths = np.array(report["codes"]["kl_nats_per_unit"])
        units = strongest_units(strengths)[: min(_UNITS, max(1, sum(encoder.spec.units.active)))]
        items = np.sort(np.random.default_rng(0).permutation(len(data))[:5_000])
        values = quantile_values(encode_dataset(encoder, data, items).mean[:, units], _ACROSS)
        rows += decode_traversals(vae.decoder, codes[0], torch.from_numpy(values), units)
    pixels = (255 * tile(rows)).round().to(torch.uint8).permute(1, 2, 0).numpy()
    content = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(content, format="PNG", optimize=True)
    return content.getvalue()


def _enlarged(images: torch.Tensor) -> torch.Tensor:
    return images.expand(-1, 3, -1, -1).repeat_interleave(2, 2).repeat_interleave(2, 3)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _as_asked(arguments))


def _as_asked(arguments: list[str] | None) -> None:
    program = "python -m experiments.study.shipping"
    config = parse_options(ShipConfig, arguments, program=program, description=__doc__)
    encoder = ship(config)
    print(f'    "{config.name}": "{encoder.fingerprint}",')


if __name__ == "__main__":
    sys.exit(main())
