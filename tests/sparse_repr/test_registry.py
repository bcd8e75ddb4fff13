from __future__ import annotations

import pytest

from sparse_repr.registry import lookup


def test_lookup_returns_the_entry() -> None:
    assert lookup({"vae": 1, "beta_vae": 2}, "beta_vae", "objective") == 2


def test_lookup_suggests_close_matches_and_lists_all() -> None:
    with pytest.raises(
        ValueError, match=r"unknown objective 'beta-vae'.*Did you mean 'beta_vae'.*Known: beta_vae, vae"
    ):
        lookup({"vae": 1, "beta_vae": 2}, "beta-vae", "objective")


def test_lookup_without_a_close_match_does_not_guess() -> None:
    with pytest.raises(ValueError, match="unknown objective 'xyzxyz'") as caught:
        lookup({"vae": 1}, "xyzxyz", "objective")
    assert "Did you mean" not in str(caught.value)


def test_of_many_names_the_close_ones_alone_are_shown() -> None:
    many = {f"entry {number}": number for number in range(41)}
    with pytest.raises(ValueError, match=r"^unknown preset 'entri 7'\. Did you mean 'entry 7' or .*\? Known are 41\.$"):
        lookup(many, "entri 7", "preset")
    with pytest.raises(ValueError, match="Known: entry 0, entry 1, "):
        lookup(many, "else", "preset")
