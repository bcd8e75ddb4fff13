from __future__ import annotations

import pytest

from sparse_repr.data.crop import Crop, parse_crop


def test_four_numbers_are_a_rectangle() -> None:
    assert parse_crop("1,2,3,4") == Crop(top=1, left=2, height=3, width=4)
    assert parse_crop(" 1, 2 ,3, 4 ") == Crop(1, 2, 3, 4)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "-1,2,3,4", "1,2,0,4", "1,2,3,0", "1.5,2,3,4", "a,b,c,d"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="crop needs TOP,LEFT,HEIGHT,WIDTH in pixels of the images, such as"):
        parse_crop(text)


def test_it_must_be_within_the_images() -> None:
    Crop(1, 2, 3, 4).require_within((4, 6))
    for size in ((3, 6), (4, 5)):
        with pytest.raises(ValueError, match=f"of {size[0]}x{size[1]}, got rows 1 to 4 and columns 2 to 6"):
            Crop(1, 2, 3, 4).require_within(size)
