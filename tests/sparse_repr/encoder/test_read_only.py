"""Read-only dicts and lists: no edit of any kind, and equal to plain ones everywhere else."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from sparse_repr import FrozenEncoder
from sparse_repr.encoder.read_only import ReadOnlyDict, ReadOnlyList, read_only
from tests.conftest import make_encoder

PLAIN: dict[str, Any] = {"name": "vae", "weights": {"beta": 1.0}, "factors": ["x", {"y": [1]}]}
DICT_EDITS: list[Callable[[Any], Any]] = [
    lambda found: found.__setitem__("name", "other"),
    lambda found: found.__delitem__("name"),
    lambda found: found.__ior__({"name": "other"}),
    lambda found: found.clear(),
    lambda found: found.pop("name"),
    lambda found: found.popitem(),
    lambda found: found.setdefault("new", 1),
    lambda found: found.update(name="other"),
]
LIST_EDITS: list[Callable[[Any], Any]] = [
    lambda found: found.__setitem__(0, "other"),
    lambda found: found.__delitem__(0),
    lambda found: found.__iadd__(["other"]),
    lambda found: found.__imul__(2),
    lambda found: found.append("other"),
    lambda found: found.clear(),
    lambda found: found.extend(["other"]),
    lambda found: found.insert(0, "other"),
    lambda found: found.pop(),
    lambda found: found.remove("x"),
    lambda found: found.reverse(),
    lambda found: found.sort(key=str),
]
COPIES: list[Callable[[Any], Any]] = [
    lambda found: found,
    copy.copy,
    copy.deepcopy,
    lambda found: pickle.loads(pickle.dumps(found)),
]


@pytest.mark.parametrize("take", COPIES)
def test_no_edit_at_any_depth_not_even_of_a_copy(take: Callable[[Any], Any]) -> None:
    found = take(read_only(PLAIN))
    for part in (found, found["weights"], found["factors"][1]):
        for edit in DICT_EDITS:
            with pytest.raises(TypeError, match=r"cannot be edited: make another one .* copy with dict\(\.\.\.\)"):
                edit(part)
    for part in (found["factors"], found["factors"][1]["y"]):
        for edit in LIST_EDITS:
            with pytest.raises(TypeError, match=r"cannot be edited: .* copy with list\(\.\.\.\)"):
                edit(part)
    assert found == PLAIN


def test_every_way_of_editing_is_named() -> None:
    """What the built-in types can do beyond their immutable cousins is refused, in later versions of Python too."""
    harmless = {"copy", "fromkeys", "get", "items", "keys", "values", "__or__", "__ror__", "__reversed__"}
    for kind, cousins in ((ReadOnlyDict, (object,)), (ReadOnlyList, (tuple,))):
        known = harmless.union(
            *(dir(cousin) for cousin in cousins), {"__reduce__", "__class_getitem__", "__contains__"}
        )
        known |= {"__getitem__", "__iter__", "__len__", "__dict__", "__module__", "__weakref__", "__annotations__"}
        known |= {name for name in dir(kind) if name.startswith(("__static", "__first"))}
        edits = {name for name in dir(kind) if name not in known}
        assert edits <= set(vars(kind)), edits - set(vars(kind))


def test_it_is_as_good_as_plain() -> None:
    found = read_only(PLAIN)
    assert found == PLAIN
    assert json.dumps(found) == json.dumps(PLAIN)
    assert {**found, "name": "other"}["name"] == "other"
    editable = dict(found)
    editable["name"] = "other"
    assert found["name"] == "vae"


def test_what_is_in_a_tuple_cannot_be_edited_either() -> None:
    with pytest.raises(TypeError, match="cannot be edited"):
        read_only(({"a": 1},))[0]["a"] = 2


@pytest.mark.parametrize("take", COPIES)
def test_the_description_of_an_encoder_cannot_be_edited(take: Callable[[Any], Any]) -> None:
    encoder: FrozenEncoder = take(make_encoder())
    spec = take(encoder.spec)
    header = encoder.spec.to_header()
    with pytest.raises(TypeError, match="cannot be edited"):
        spec.arguments["code_size"] = 99
    with pytest.raises(TypeError, match="cannot be edited"):
        spec.objective["name"] = "other"
    with pytest.raises(TypeError, match="cannot be edited"):
        spec.dataset["factor_names"].append("other")
    with pytest.raises(AttributeError):
        encoder.spec = spec  # type: ignore[misc]
    with pytest.raises(AttributeError):
        encoder.fingerprint = "0" * 64  # type: ignore[misc]
    assert encoder.spec.to_header() == header
    encoder.verify()
