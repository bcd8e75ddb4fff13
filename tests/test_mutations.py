"""The damage that the fuzz tests do is real, and the same in every run."""

from __future__ import annotations

import json

from tests.mutations import json_mutations, mutations


def test_every_copy_differs_and_a_seed_gives_the_same_ones() -> None:
    content = bytes(range(256)) * 100
    damaged = list(mutations(content, 100, seed=3))
    assert len(damaged) == 100
    assert all(copy != content for _, copy in damaged)
    assert damaged == list(mutations(content, 100, seed=3))
    assert len({copy for _, copy in damaged}) > 95
    assert list(mutations(content, 1, seed=4)) != damaged[:1]


def test_json_copies_differ_and_a_seed_gives_the_same_ones() -> None:
    content = {"name": "x", "units": [0.5, {"active": True}]}
    damaged = list(json_mutations(content, 60))
    assert len(damaged) == 60
    assert damaged == list(json_mutations(content, 60))
    assert sum(copy != json.dumps(content).encode() for _, copy in damaged) > 55
