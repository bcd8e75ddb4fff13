"""Whatever is wrong with a JSON text, it is one ValueError that names where it comes from, the entry and the remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sparse_repr.files.json_reader import (
    FLAG,
    OBJECT,
    TEXT,
    Shape,
    each,
    many,
    number,
    one_of,
    optional,
    parse_json,
    read_json,
    whole,
)
from tests.mutations import UNREADABLE, json_mutations, load_or_refusal

SHAPE: Shape = {
    "name": TEXT,
    "seed": whole(0),
    "rate": number(0, 1),
    "path": optional(TEXT),
    "units": {"std": many(number(0), 2), "active": many(FLAG, 2)},
    "kind": one_of("a", "b"),
    "free": OBJECT,
}
SOUND: dict[str, Any] = {
    "name": "x",
    "seed": 3,
    "rate": 0.5,
    "path": None,
    "units": {"std": [0, 1.5], "active": [True, False]},
    "kind": "b",
    "free": {"anything": [1, {"a": "β"}]},
}


def test_what_is_sound_is_read_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "sound.json"
    path.write_text(json.dumps(SOUND))
    found = read_json(path, SHAPE)
    assert found == SOUND
    assert type(found["units"]["std"][0]) is int  # fingerprints are of the numbers as they are spelled
    path.write_text(json.dumps(SOUND, ensure_ascii=False), encoding="utf-8")
    assert read_json(path, SHAPE) == SOUND
    assert parse_json("[1]", "text", many(whole())) == [1]
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "nothing.json")


@pytest.mark.parametrize("content", UNREADABLE)
def test_what_is_no_object_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^a/file\.json is damaged: .*; write it anew$"):
        parse_json(content, "a/file.json", remedy="write it anew")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": -Infinity}', "-Infinity is no JSON number"),
        ('{"a": 1e400}', "a number that is not finite"),
        ('{"a": 9223372036854775808}', "a whole number beyond 64 bits"),
        ('{"a": ' + "9" * 5000 + "}", "digits|beyond 64 bits"),
        ('{"a": 1, "a": 2}', "a name stands there twice"),
        (r'{"a": "\ud800"}', "surrogates not allowed"),
        (r'{"\ud800": 1}', "surrogates not allowed"),
        (r'{"a": "\u0000"}', "text with a null character"),
        ('{"a": ' + "[" * 33 + "]" * 33 + "}", "nested deeper than 32"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested"),
    ],
)
def test_values_that_make_trouble_later_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^here is damaged: it is not readable JSON \\(.*{reason}"):
        parse_json(text, "here")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 1}, "name needs text, found 1"),
        ({"seed": True}, "seed needs a whole number of at least 0, found True"),
        ({"seed": -1}, "seed needs a whole number of at least 0, found -1"),
        ({"seed": 1.0}, "seed needs a whole number of at least 0, found 1.0"),
        ({"rate": "0.5"}, r"rate needs a number in 0\.\.1, found '0.5'"),
        ({"rate": 1.5}, r"rate needs a number in 0\.\.1, found 1.5"),
        ({"path": 3}, "path needs text or null, found 3"),
        ({"units": []}, r"units needs an object, found \[\]"),
        ({"units": {"std": [1, 2]}}, "units needs the entries std, active, found no 'active'"),
        ({"units": {"std": [1], "active": [True, True]}}, r"units\.std needs a list of 2, found \[1\]"),
        (
            {"units": {"std": [1, -1], "active": [True, True]}},
            r"units\.std\[1\] needs a number of at least 0, found -1",
        ),
        ({"units": {"std": [1, 1], "active": ["False", 1]}}, r"units\.active\[0\] needs true or false, found 'False'"),
        ({"kind": "c"}, "kind needs one of a, b, found 'c'"),
        ({"free": None}, "free needs an object, found None"),
        ({"name": "x" * 500, "seed": "y" * 500}, r"seed needs .*, found '" + "y" * 59 + r"\.\.\.; copy"),
    ],
)
def test_the_entry_what_it_needs_and_what_was_found_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^f is damaged: {message}"):
        parse_json(json.dumps({**SOUND, **changes}), "f", SHAPE)


def test_every_entry_of_an_object_whatever_it_is_called() -> None:
    shape: Shape = {"scores": each(many(number(), 2))}
    assert parse_json('{"scores": {"mig": [0, 1]}}', "f", shape) == {"scores": {"mig": [0, 1]}}
    with pytest.raises(ValueError, match=r"^f is damaged: scores\.aam\[1\] needs a number, found None"):
        parse_json('{"scores": {"mig": [0, 1], "aam": [0, null]}}', "f", shape)
    with pytest.raises(ValueError, match=r"scores needs an object, found \[\]"):
        parse_json('{"scores": []}', "f", shape)


def test_missing_and_unknown_entries() -> None:
    with pytest.raises(ValueError, match="^f is damaged: its content needs the entries a, b, found no 'b'; copy or"):
        parse_json('{"a": 1}', "f", {"a": whole(), "b": whole()})
    assert parse_json('{"a": 1, "c": 2}', "f", {"a": whole()}) == {"a": 1, "c": 2}
    with pytest.raises(ValueError, match="needs the entries a, found an unknown 'c'"):
        parse_json('{"a": 1, "c": 2}', "f", {"a": whole()}, closed=True)
    with pytest.raises(ValueError, match="x needs the entries a, found an unknown 'c'"):
        parse_json('{"x": {"a": 1, "c": 2}}', "f", {"x": {"a": whole()}}, closed=True)


def test_mutated_texts_are_read_or_refused_by_name() -> None:
    for done, content in json_mutations(SOUND, 1000, seed=1):
        found, refusal = load_or_refusal(lambda content=content: parse_json(content, "the file", SHAPE))
        assert found is not None or refusal.startswith("the file is damaged: "), done
