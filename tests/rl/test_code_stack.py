from __future__ import annotations

import numpy as np

from rl.code_stack import CodeStack


def _codes(*values: float) -> dict[str, np.ndarray]:
    return {"camera": np.array(values, np.float32)[:, None] * np.array([1, 10], np.float32)}


def test_newest_code_comes_last() -> None:
    stack = CodeStack(2)
    start, going = np.array([True, True]), np.array([False, False])
    assert stack.push(_codes(1, 2), start)["camera"].tolist() == [[1, 10, 1, 10], [2, 20, 2, 20]]
    assert stack.push(_codes(3, 4), going)["camera"].tolist() == [[1, 10, 3, 30], [2, 20, 4, 40]]
    assert stack.push(_codes(5, 6), np.array([True, False]))["camera"].tolist() == [[5, 50, 5, 50], [4, 40, 6, 60]]


def test_a_partial_restart_leaves_the_others() -> None:
    stack = CodeStack(2)
    stack.push(_codes(1, 2), np.array([True, True]))
    stack.push(_codes(3, 4), np.array([False, False]))
    restarted = stack.restart(_codes(7, 4), np.array([True, False]))["camera"]
    assert restarted.tolist() == [[7, 70, 7, 70], [2, 20, 4, 40]]


def test_final_stacks_end_in_the_final_code_and_change_nothing() -> None:
    stack = CodeStack(2)
    stack.push(_codes(1, 2), np.array([True, True]))
    assert stack.finals(_codes(9), [1])["camera"].tolist() == [[2, 20, 9, 90]]
    assert stack.push(_codes(3, 4), np.array([False, False]))["camera"].tolist() == [[1, 10, 3, 30], [2, 20, 4, 40]]


def test_one_code_is_passed_on() -> None:
    stack, codes, all_rows = CodeStack(1), _codes(1, 2), np.ones(2, dtype=bool)
    for given in (
        stack.push(codes, all_rows),
        stack.restart(codes, all_rows),
        stack.finals(codes, [0]),
    ):
        np.testing.assert_array_equal(given["camera"], codes["camera"])
