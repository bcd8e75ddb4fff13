"""Encoders that come with the package, each with its scores, its command, its seed and its licence in its header."""

from __future__ import annotations

from pathlib import Path

from sparse_repr.encoder.frozen import FrozenEncoder
from sparse_repr.registry import lookup

SCHEME = "shipped:"
SHIPPED = {"dsprites/sparse_perceptual": "8b8c674fdc4e42b7dbe66c8e87cebc1eb275d3c6f2afbd612e8bff7fb34d7b65"}
"""Name -> fingerprint. Trained on images that the package draws itself."""
_FOLDER = Path(__file__).parent / "shipped_files"


def shipped_path(name: str) -> Path:
    """The artefact called `name`; an unknown name raises with its close matches."""
    lookup(SHIPPED, name, "shipped encoder")
    return _FOLDER / f"{name.replace('/', '-')}.safetensors"


def load_shipped(address: str) -> FrozenEncoder:
    """The encoder at ``shipped:NAME``; `load_encoder` comes here.

    Raises:
        ValueError: an unknown name, or a file that is not the one that was shipped.
    """
    name = address.removeprefix(SCHEME)
    path = shipped_path(name)
    encoder = FrozenEncoder.from_bytes(path.read_bytes(), str(path))
    if encoder.fingerprint != SHIPPED[name]:
        raise ValueError(
            f"{path}: expected fingerprint {SHIPPED[name][:12]}, found {encoder.fingerprint[:12]}: install the package "
            "again"
        )
    return encoder


def in_words(name: str) -> str:
    """What a shipped encoder is, how it was made and what it scored, some lines of text."""
    encoder = load_shipped(name)
    spec = encoder.spec
    scores = "  ".join(f"{score} {value:.4f}" for score, value in spec.objective["scores"].items())
    return (
        f"{SCHEME}{name}  D={encoder.code_size}, {sum(spec.units.active)} active, {encoder.preprocessing.describe()}, "
        f"licence {spec.objective['licence']}\n"
        f"  {scores}\n"
        f"  {spec.objective['command']} (cell {spec.objective['cell']}, seed {spec.objective['seed']}, "
        f"{spec.objective['steps']} steps), fingerprint {encoder.fingerprint[:16]}"
    )
