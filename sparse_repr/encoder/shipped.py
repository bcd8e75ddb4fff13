"""Encoders that come with the package, each with its scores, its command, its seed and its licence in its header."""

from __future__ import annotations

from pathlib import Path

from sparse_repr.encoder.frozen import FrozenEncoder
from sparse_repr.files import write_bytes
from sparse_repr.registry import lookup

SCHEME = "shipped:"
SHIPPED = {
    "dsprites/sparse": "c05285afc7adf534d14d7250b2611d58be66c895ecacef760c216740a779fd86",
    "dsprites/beta_vae": "c16d49bfbdcee9948902cec3849fc99db1ecf89ec926747a72968b0b1926cb47",
    "dsprites/sparse_perceptual": "2842451dac4237bd59935b8152c39e06c8e3608bf7197d776c248dc70f3bb13a",
    "faces/sparse": "bdb9cbb7f9ffef3f9532fc9e12565d48b4a0799f3d9e7540515987e41b5735b0",
    "chairs3d/sparse": "88a3f8f8309f40c28d3c8ad65307e9329d4c091031240c25353fa615c9406247",
    "sprite_reach/vae": "4b65d137a620ef74e52f2b9e996c5d829522df1d0ff68248a78ba14be355c83a",
    "sprite_chase/sparse_keypoints": "d820b360dea349a11d12ca68a8cdd3e6c4a4bdb7c1cfa80f1f5a9832f49a58d3",
}
"""Name -> fingerprint. Trained on images that the package draws itself; `experiments.study.shipping` made the files."""
FOLDER = Path(__file__).parent / "shipped_files"
"""Where they are, each with a picture beside it."""


def shipped_path(name: str, ending: str = ".safetensors", *, folder: Path = FOLDER) -> Path:
    """The artefact called `name`, or with another ending its picture; an unknown name raises with its close matches."""
    lookup(SHIPPED, name, "shipped encoder")
    return folder / f"{file_stem(name)}{ending}"


def file_stem(name: str) -> str:
    """How the files of a shipped encoder begin."""
    return name.replace("/", "-")


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
    told = spec.objective
    scores = "  ".join(f"{score} {value:.4f}" for score, value in told["scores"].items())
    return (
        f"{SCHEME}{name}  D={encoder.code_size}, {sum(spec.units.active)} active, {encoder.preprocessing.describe()}, "
        f"licence {told['licence']}\n"
        f"  {scores}\n"
        f"  {told['command']} (seed {told['seed']}, {told['steps']} steps), fingerprint {encoder.fingerprint[:16]}"
    )


def copy_picture(name: str, folder: Path) -> Path:
    """Put the picture of a shipped encoder into a folder, which is made if there is none.

    Its first two rows are images of the data and what the decoder made of their codes. Of a code of units each further
    row is one unit, the strongest first, from its 2.5 % to its 97.5 % quantile with the others as they are in the first
    image; keypoints are circles on the images.

    Returns:
        The file.

    Raises:
        ValueError: an unknown name.
        OSError: the folder cannot be written.
    """
    source = shipped_path(name, ".png")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / source.name
    write_bytes(target, source.read_bytes())
    return target
