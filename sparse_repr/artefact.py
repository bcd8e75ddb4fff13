"""Self-describing weight files: safetensors whose metadata is one JSON header. Nothing here is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

FORMAT_VERSION = 1
_KEY = "sparse_repr"


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
    """The file's content: equal input gives equal bytes."""
    # one file, one layout: channels_last or shared memory must not leak into it
    plain = {name: tensors[name].detach().cpu().contiguous().clone() for name in sorted(tensors)}
    return safetensors.torch.save(plain, metadata={_KEY: canonical_json(header)})


def parse(content: bytes, origin: str, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a file's content.

    Args:
        content: the whole file.
        origin: what to call it in errors, usually its path.
        kind: what it must hold, e.g. ``"encoder"``.

    Raises:
        ValueError: not a safetensors file (a pickle is named as such), truncated, without header, or of another kind.
    """
    try:
        tensors = safetensors.torch.load(content)
    except Exception as error:  # safetensors raises its own, undocumented types
        # only now: a sound file begins with the length of its header, which can spell either of these beginnings
        if content[:2] == b"PK" or content[:1] == b"\x80":
            raise ValueError(
                f"{origin}: expected a safetensors file, found a pickle or torch.save file, which is never loaded "
                "because loading one can run code; save the encoder again with sparse_repr.save_encoder"
            ) from error
        raise ValueError(
            f"{origin}: expected a safetensors file, found {len(content)} bytes that are not one ({error}); "
            "the file may be cut short: copy or save it again"
        ) from error
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    if _KEY not in metadata:
        raise ValueError(
            f"{origin}: expected a sparse-repr {kind}, found a safetensors file without its header; "
            "only files written by sparse-repr describe themselves"
        )
    try:
        header = json.loads(metadata[_KEY])
        found_version, found_kind = header["format"], header["kind"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{origin}: the header is damaged ({error!r})") from error
    if found_version != FORMAT_VERSION:
        raise ValueError(
            f"{origin}: expected format version {FORMAT_VERSION}, found {found_version}; "
            "use the sparse-repr version that wrote it, or save it again"
        )
    if found_kind != kind:
        raise ValueError(f"{origin}: expected kind {kind!r}, found {found_kind!r}")
    return tensors, header


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Make `tensors` the module's weights after checking every name, shape and dtype.

    Raises:
        ValueError: a tensor is missing, unknown, or has another shape or dtype; all differences are listed.
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
    module.load_state_dict(dict(tensors), assign=True)
