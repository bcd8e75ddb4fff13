"""The whole VAE of a run, which can also reconstruct."""

from __future__ import annotations

from pathlib import Path

from sparse_repr.artefact import load_into, parse
from sparse_repr.encoder.frozen import FrozenEncoder, load_encoder
from sparse_repr.encoder.spec import EncoderSpec
from sparse_repr.models import VAE, build_vae


def load_vae(run: Path) -> tuple[VAE, EncoderSpec]:
    """The whole VAE of a run folder, in eval mode on the CPU, and its description.

    Raises:
        FileNotFoundError: the folder holds no `vae.safetensors`, or its objective trains no decoder.
        ValueError: the file is damaged, does not fit its header, or does not belong to the encoder beside it.
    """
    path = run / "vae.safetensors"
    if not path.is_file():
        if (run / "encoder.safetensors").is_file() and not decodes(spec := load_encoder(run).spec):
            raise FileNotFoundError(
                f"{run} has no decoder, objective {spec.objective['name']!r} trains none: there is nothing to "
                "reconstruct with; load_encoder reads its encoder"
            )
        raise FileNotFoundError(f"no VAE at {path}: expected the folder of a run of python -m sparse_repr.pretrain")
    tensors, header = parse(path.read_bytes(), str(path), "vae")
    spec = EncoderSpec.from_header(header, str(path))
    try:
        vae = build_vae(spec.architecture, dict(spec.arguments), seed=0)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    load_into(vae, tensors, str(path))
    if (run / "encoder.safetensors").is_file():
        _check_pair(run, FrozenEncoder(spec, vae.encoder.state_dict()), load_encoder(run))
    return vae.eval().requires_grad_(False), spec


def decodes(spec: EncoderSpec) -> bool:
    """Whether the run that an encoder is of has a decoder too."""
    return bool(spec.objective.get("decodes", True))


def _check_pair(run: Path, encoder_of_vae: FrozenEncoder, encoder: FrozenEncoder) -> None:
    """Check that both weight files of a run folder were written together: a kill between the two leaves one of each."""
    if encoder_of_vae == encoder:
        return
    steps = [found.spec.objective.get("steps") for found in (encoder, encoder_of_vae)]
    raise ValueError(
        f"{run}: encoder.safetensors and vae.safetensors were not written together (steps {steps[0]} and {steps[1]}): "
        "the run was stopped between the two, or a file was put there; the command of the run plus --resume writes "
        "both again from state.pt"
    )
