"""Self-describing weight files: safetensors whose metadata is one JSON header. Nothing here is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from sparse_repr.files.json_reader import OBJECT, TEXT, parse_json, require, whole

FORMAT_VERSION = 1
_KEY = "sparse_repr"
# In the header beside what it describes; files of earlier versions have none.
_FINGERPRINT = "fingerprint"
_REMEDY = "copy or save it again"


def canonical_json(header: Mapping[str, Any]) -> str:
    """The one spelling of a header: sorted keys, no spaces, no NaN."""
    return json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint_of(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """sha256 over the header and every tensor's name, dtype, shape and bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256(canonical_json(header).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"|{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def serialise(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> bytes:
    """The file's content, with its fingerprint in the header: equal input gives equal bytes."""
    # one file, one layout: channels_last or shared memory must not leak into it
    plain = {name: tensors[name].detach().cpu().contiguous().clone() for name in sorted(tensors)}
    written = {**header, _FINGERPRINT: fingerprint_of(plain, header)}
    return safetensors.torch.save(plain, metadata={_KEY: canonical_json(written)})


class DamagedError(ValueError):
    """A file whose weights or header are not those that were written."""

    def __init__(self, message: str, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
        super().__init__(message)
        self.tensors = tensors
        """What is there instead; not to be used, but to say what does not fit."""
        self.header = header


def parse(content: bytes, origin: str, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a file's content; the fingerprint in the header is compared and left out.

    Files of earlier versions have no fingerprint: of those, damage to the weights goes unnoticed.

    Args:
        content: the whole file.
        origin: what to call it in errors, usually its path.
        kind: what it must hold, e.g. ``"encoder"``.

    Raises:
        ValueError: not a safetensors file (a pickle is named as such), truncated, without header, of another kind, or
            not what was written.
    """
    try:
        tensors = safetensors.torch.load(content)
    except Exception as error:  # safetensors raises its own, undocumented types
        # only now: a sound file begins with the length of its header, which can spell either of these beginnings
        if content[:2] == b"PK" or content[:1] == b"\x80":
            raise ValueError(
                f"{origin}: expected a safetensors file, found a pickle or torch.save file, which is never loaded "
                "because loading one can run code; save the encoder again with sparse_repr.save_encoder, or make one "
                "of a module that you trust with FrozenEncoder.from_module"
            ) from error
        raise ValueError(
            f"{origin}: expected a safetensors file, found {len(content)} bytes that are not one ({error}); "
            "the file may be cut short: copy or save it again"
        ) from error
    length = int.from_bytes(content[:8], "little")
    metadata = parse_json(content[8 : 8 + length], origin, remedy=_REMEDY).get("__metadata__", {})
    require(metadata, OBJECT, origin, remedy=_REMEDY)
    if not isinstance(metadata.get(_KEY), str):
        raise ValueError(
            f"{origin}: expected a sparse-repr {kind}, found a safetensors file without its header; "
            "only files written by sparse-repr describe themselves"
        )
    header = parse_json(metadata[_KEY], f"{origin}: the header", {"format": whole(), "kind": TEXT}, remedy=_REMEDY)
    if header["format"] != FORMAT_VERSION:
        raise ValueError(
            f"{origin}: expected format version {FORMAT_VERSION}, found {header['format']}; "
            "use the sparse-repr version that wrote it, or save it again"
        )
    if header["kind"] != kind:
        raise ValueError(f"{origin}: expected kind {kind!r}, found {header['kind']!r}")
    written = header.pop(_FINGERPRINT, None)
    if written is not None and written != (found := fingerprint_of(tensors, header)):
        raise DamagedError(
            f"{origin}: the file is damaged: its weights or its header are not those that were written, whose "
            f"fingerprint begins with {str(written)[:12]!r}, found {found[:12]!r}; {_REMEDY}",
            tensors,
            header,
        )
    return tensors, header


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Make `tensors` the module's weights after checking every name, shape and dtype, and that all are finite.

    Raises:
        ValueError: a tensor is missing, unknown, of another shape or dtype, or not finite; all faults are listed.
    """
    expected = module.state_dict()
    problems = [f"missing {name}" for name in expected if name not in tensors]
    problems += [f"unknown {name}" for name in tensors if name not in expected]
    for name, wanted in expected.items():
        if name not in tensors:
            continue
        found = tensors[name]
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            problems.append(
                f"{name}: expected {tuple(wanted.shape)} {wanted.dtype}, found {tuple(found.shape)} {found.dtype}"
            )
    if problems:
        raise ValueError(f"{origin}: the tensors do not fit the architecture in the header: {'; '.join(problems)}")
    infinite = [name for name in expected if not torch.isfinite(tensors[name]).all()]
    if infinite:
        raise ValueError(
            f"{origin}: needs finite weights, found NaN or infinity in {', '.join(infinite)}: the file is damaged, or "
            "its training diverged; copy it again or train again"
        )
    module.load_state_dict(dict(tensors), assign=True)
