from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
import safetensors.torch
import torch

from sparse_repr.artefact import FORMAT_VERSION, canonical_json, fingerprint_of, load_into, parse, serialise


def test_a_header_of_any_length_is_read() -> None:
    """The file begins with that length: 128 of 256 spells a pickle's first byte, 19280 the "PK" of a zip."""
    beginnings = set()
    for length in [*range(0, 300), *range(19_000, 19_200)]:
        header = {"format": FORMAT_VERSION, "kind": "encoder", "padding": "x" * length}
        content = serialise({"a": torch.ones(2)}, header)
        beginnings.add(content[:2])
        assert parse(content, "file", "encoder")[1] == header
    assert b"PK" in beginnings
    assert any(beginning[:1] == b"\x80" for beginning in beginnings)
    with pytest.raises(ValueError, match="found a pickle or torch.save file, which is never loaded"):
        parse(pickle.dumps({"a": 1}), "file", "encoder")


def test_the_file_carries_a_fingerprint_that_is_no_part_of_the_header() -> None:
    header = {"format": FORMAT_VERSION, "kind": "encoder", "name": "x"}
    tensors = {"a": torch.ones(2, 2)}
    content = serialise(tensors, header)
    length = int.from_bytes(content[:8], "little")
    written = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["sparse_repr"])
    assert written == {**header, "fingerprint": fingerprint_of(tensors, header)}
    assert parse(content, "file", "encoder")[1] == header


def without_fingerprint(tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> bytes:
    """A file as earlier versions wrote it."""
    return safetensors.torch.save(tensors, metadata={"sparse_repr": canonical_json(header)})


def test_files_of_earlier_versions_are_read() -> None:
    header = {"format": FORMAT_VERSION, "kind": "encoder", "name": "x"}
    tensors, found = parse(without_fingerprint({"a": torch.ones(2)}, header), "file", "encoder")
    assert found == header
    assert torch.equal(tensors["a"], torch.ones(2))


@pytest.mark.parametrize("changed", ["weight", "dtype", "name", "header", "fingerprint"])
def test_what_is_not_as_it_was_written_is_refused(changed: str) -> None:
    header = {"format": FORMAT_VERSION, "kind": "encoder", "name": "x"}
    tensors = {"a": torch.ones(2, 2)}
    content = serialise(tensors, header)
    old, new = {
        "weight": (torch.ones(1).numpy().tobytes(), torch.full((1,), 1 + 2**-20).numpy().tobytes()),
        "dtype": (b'"F32"', b'"I32"'),
        "name": (b'"a":{', b'"b":{'),
        "header": (b'\\"name\\":\\"x\\"', b'\\"name\\":\\"y\\"'),
        "fingerprint": (fingerprint_of(tensors, header).encode(), b"0" * 64),
    }[changed]
    assert old in content
    with pytest.raises(ValueError, match="^some/file: the file is damaged: its weights or its header are not those"):
        parse(content.replace(old, new, 1), "some/file", "encoder")


@pytest.mark.parametrize(
    "header", ["[" * 100_000, "[]", "{}", '{"format":1}', '{"format":true,"kind":"encoder"}', "\ud800"]
)
def test_a_header_that_is_none_is_named(header: str) -> None:
    content = safetensors.torch.save({"a": torch.ones(2)}, metadata={"sparse_repr": "@"})
    length = int.from_bytes(content[:8], "little")
    described = content[8 : 8 + length].decode().replace('"@"', json.dumps(header)).encode()
    content = len(described).to_bytes(8, "little") + described + content[8 + length :]
    with pytest.raises(ValueError, match="^some/file"):
        parse(content, "some/file", "encoder")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    layer = torch.nn.Linear(2, 1)
    tensors = {"weight": torch.tensor([[1.0, value]]), "bias": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"some/file: needs finite weights, found NaN or infinity in weight: "):
        load_into(layer, tensors, "some/file")
