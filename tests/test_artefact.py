from __future__ import annotations

import pickle

import pytest
import torch

from sparse_repr.artefact import FORMAT_VERSION, parse, serialise


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
