"""What is read as levels of a coarse-to-fine loss, and when each joins."""

from __future__ import annotations

import pytest

from sparse_repr.perceptual.levels import Level, in_words, parse_levels


def test_levels_are_read_and_written() -> None:
    levels = parse_levels("64@0.4:1/8, 8,32@180:1/4,16@0.0:1/1", 1_500)
    assert levels == (Level(8), Level(16), Level(32, 180, 4), Level(64, 600, 8))
    assert in_words(levels) == "8,16,32@180:1/4,64@600:1/8"
    assert parse_levels(in_words(levels), None) == levels  # steps are steps, whatever the run's length


@pytest.mark.parametrize(
    ("text", "steps", "message"),
    [
        ("", 10, "perceptual_levels needs resolutions separated by commas, .* such as 8,16,32@0.12:1/4,64@600, got ''"),
        ("16,", 10, "needs resolutions separated by commas"),
        ("16@-1", 10, "needs resolutions separated by commas"),
        ("16:1/0", 10, "needs resolutions separated by commas"),
        ("16:4", 10, "needs resolutions separated by commas"),
        ("16,16@3", 10, "needs every resolution once, got 16 twice in '16,16@3'"),
        ("16,32@1.0", 10, "needs shares below 1, got 1.0 in '16,32@1.0'"),
        ("16,32@0.5", None, "needs shares of a run whose steps are known, got 0.5"),
    ],
)
def test_others_are_refused(text: str, steps: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_levels(text, steps)
