"""Dictionary: a sparse autoencoder of an encoder's codes, as what an agent is shown in their place."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rl.recoding import MOST_VALUES, Map, Recoding
from sparse_repr.artefact import FORMAT_VERSION, parse, serialise
from sparse_repr.explore.networks import Layer
from sparse_repr.files import write_bytes
from sparse_repr.files.json_reader import FLAG, TEXT, Shape, number, require, whole

_HEADER: Shape = {
    "format": whole(),
    "kind": TEXT,
    "encoder": TEXT,
    "code_size": whole(1),
    "width": whole(1),
    "k": whole(1),
    "binary": FLAG,
    "explained": number(),
    "fit": {"items": whole(1), "steps": whole(1), "batch_size": whole(1), "seed": whole(0)},
    "package_version": TEXT,
}


def largest(values: Tensor, k: int) -> Tensor:
    """The k largest of each row (..., W) as they are, the others 0."""
    kept = values.topk(k, sorted=False)
    return torch.zeros_like(values).scatter(-1, kept.indices, kept.values)


@dataclasses.dataclass(frozen=True)
class Dictionary(Recoding):
    """The k largest of relu(z W + b): activations of a sparse autoencoder that was fitted to codes of one encoder.

    Gao et al., "Scaling and evaluating sparse autoencoders" (2024). A learned expansion beside the random one of
    `expand`, for the codes of the encoder it was fitted to alone. It is one piece of text, its artefact in base64, so
    that options, agents' files and other processes hold it like the settings of every other recoding.
    """

    name: ClassVar[str] = "dictionary"
    differentiable: ClassVar[bool] = True
    artefact: str
    """The bytes of its file, in base64."""

    def _check(self) -> None:
        try:
            content = base64.b64decode(str(self.artefact).encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError) as error:
            raise ValueError(
                f"recode='dictionary': artefact needs the file of a dictionary in base64 ({error}); give its path, "
                "recode='….safetensors'"
            ) from error
        header, tensors = _read(content, "recode='dictionary'")
        object.__setattr__(self, "header", header)
        object.__setattr__(self, "fitted_to", header["encoder"])
        object.__setattr__(self, "differentiable", not header["binary"])
        object.__setattr__(self, "_tensors", tensors)
        object.__setattr__(self, "_content", content)

    header: ClassVar[dict[str, Any]]
    """What its file says of it: encoder, code_size, width, k, binary, explained, fit."""
    _tensors: ClassVar[dict[str, Tensor]]
    _content: ClassVar[bytes]

    def size(self, code_size: int) -> int:
        if code_size != self.header["code_size"]:
            raise ValueError(
                f"recode='dictionary' was fitted to codes of {self.header['code_size']} units of encoder "
                f"{str(self.fitted_to)[:12]}, got codes of {code_size}"
            )
        return int(self.header["width"])

    def map_for(self, active: npt.NDArray[np.bool_]) -> Map:  # noqa: ARG002 - dead units are 0
        weight, bias, k = self._tensors["encoder.weight"], self._tensors["encoder.bias"], self.header["k"]
        binary = self.header["binary"]

        def dictionary(units: Tensor) -> Tensor:
            kept = largest((units @ weight.to(units) + bias.to(units)).relu(), k)
            return (kept > 0).to(units.dtype) if binary else kept

        return dictionary

    def layers_for(self, active: npt.NDArray[np.bool_]) -> list[Layer] | None:  # noqa: ARG002
        if self.header["binary"]:
            return None
        weight, bias = self._tensors["encoder.weight"], self._tensors["encoder.bias"]
        kept: Layer = {"op": "largest", "count": self.header["k"], "binary": False}
        return [{"op": "linear", "weight": weight.T.contiguous(), "bias": bias}, {"op": "relu"}, kept]

    def to_bytes(self) -> bytes:
        """The artefact: a safetensors file with its JSON header."""
        return self._content

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the artefact atomically; the ending must be ``.safetensors``. Returns the path."""
        target = Path(path)
        if target.suffix != ".safetensors":
            raise ValueError(f"a dictionary needs a path that ends in .safetensors, got {target}")
        write_bytes(target, self.to_bytes())
        return target


def make_dictionary(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Dictionary:
    """A dictionary from what its file holds.

    Args:
        header: as `Dictionary.header`, without format and kind.
        tensors: encoder.weight (D, W) and encoder.bias (W,), of standardised units; decoder.weight (W, D) and
            decoder.bias (D,), which agents do not need and people may.

    Raises:
        ValueError: they do not fit.
    """
    content = serialise(tensors, {"format": FORMAT_VERSION, "kind": "dictionary", **header})
    return Dictionary(base64.b64encode(content).decode("ascii"))


def load_dictionary(path: str | os.PathLike[str]) -> Dictionary:
    """Read a dictionary that ``python -m rl.dictionary`` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged or holds something else; the path is named.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no dictionary at {file}: python -m rl.dictionary RUN writes one")
    content = file.read_bytes()
    _read(content, str(file))
    return Dictionary(base64.b64encode(content).decode("ascii"))


def _read(content: bytes, origin: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    tensors, header = parse(content, origin, "dictionary")
    require(header, _HEADER, f"{origin}: the header", closed=True, remedy="fit it again (python -m rl.dictionary)")
    size, width = header["code_size"], header["width"]
    shapes = {
        "encoder.weight": (size, width),
        "encoder.bias": (width,),
        "decoder.weight": (width, size),
        "decoder.bias": (size,),
    }
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != shapes or any(tensor.dtype != torch.float32 for tensor in tensors.values()):
        raise ValueError(f"{origin}: expected float32 tensors {shapes}, found {found}")
    if width > MOST_VALUES or header["k"] > width:
        raise ValueError(f"{origin}: expected at most {width} of at most {MOST_VALUES} values, found {header['k']}")
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise ValueError(f"{origin}: needs finite weights, found NaN or infinity: fit it again")
    return header, tensors
