"""Atari games with the ground truth of their memory: what it says lies where the screen shows it."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.utils.env_checker import check_env

import envs  # noqa: F401 (registers the environments)
from envs.atari import GAMES, AtariGame
from rl.record import main as record_main
from sparse_repr.data import load_dataset
from tests import ROOT

_BALL = {"Pong": (236, 236, 236), "Breakout": (200, 72, 72)}
# rows of the field in which nothing but the ball has its colour
_ROWS = {"Pong": slice(0, 160), "Breakout": slice(46, 150)}
_COLUMNS = {"Pong": slice(0, 160), "Breakout": slice(8, 152)}


def _centre(field: npt.NDArray[np.uint8], colour: tuple[int, ...], game: str) -> tuple[float, float] | None:
    """Of the pixels of a colour, in 0..1 from the left and from above; None where there are none or too many."""
    mask = np.zeros(field.shape[:2], bool)
    mask[_ROWS[game], _COLUMNS[game]] = (field[_ROWS[game], _COLUMNS[game]] == colour).all(-1)
    rows, columns = np.nonzero(mask)
    if not 0 < len(rows) <= 16:
        return None
    return columns.mean() / field.shape[1], rows.mean() / field.shape[0]


@pytest.mark.parametrize("game", list(GAMES))
def test_the_ball_is_where_the_memory_says(game: str) -> None:
    pytest.importorskip("ale_py")
    env = gym.make(f"SparseRepr/{game}-v0", render_mode="rgb_array")
    env.reset(seed=1)
    names = env.get_wrapper_attr("factor_names")
    top, left, height, width = GAMES[game].field
    rng, seen = np.random.default_rng(0), 0
    for step in range(150):
        # in Breakout the second action serves
        action = 1 if game == "Breakout" and step % 6 == 0 else int(rng.integers(env.action_space.n))  # type: ignore[attr-defined]
        _, _, ended, _, info = env.step(action)
        told = dict(zip(names, info["factors"], strict=True))
        screen = env.render()
        assert isinstance(screen, np.ndarray)
        found = _centre(screen[top : top + height, left : left + width], _BALL[game], game)
        if told["ball_visible"] and found is not None:
            seen += 1
            assert told["ball_x"] == pytest.approx(found[0], abs=0.02)
            assert told["ball_y"] == pytest.approx(found[1], abs=0.02)
        if not told["ball_visible"]:
            assert (told["ball_x"], told["ball_y"]) == (0, 0)
        if ended:
            env.reset()
    assert seen > 50
    env.close()


@pytest.mark.parametrize("game", list(GAMES))
def test_an_episode_is_that_of_its_seed(game: str) -> None:
    pytest.importorskip("ale_py")
    check_env(AtariGame(game=game), skip_render_check=True)

    def played(seed: int) -> npt.NDArray[np.uint8]:
        env = AtariGame(game=game, image_size=42)
        env.reset(seed=seed)
        return np.stack([env.step(step % env.action_space.n)[0] for step in range(20)])

    first = played(3)
    assert first.shape == (20, 42, 42, 3)
    assert np.array_equal(first, played(3))
    assert not np.array_equal(first, played(4))


def test_the_snippet_of_the_page_records_a_game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ale_py")
    text = (ROOT / "envs/README.md").read_text(encoding="utf-8").partition("## Tasks that no one here wrote")[2]
    words = shlex.split(re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)[0].replace("20_000", "20"))
    assert words[:3] == ["python", "-m", "rl.record"]
    monkeypatch.chdir(tmp_path)
    assert record_main([*words[3:], "--no-progress"]) == 0
    data = load_dataset("h5", tmp_path / "pong.h5")
    assert data.image_shape == (3, 84, 84)
    assert data.factor_names == ("ball_x", "ball_y", "player_y", "opponent_y", "ball_visible")


def test_without_ale_py_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(ModuleNotFoundError, match=r"Pong needs ale-py: pip install 'sparse-repr\[envs\]'"):
        AtariGame(game="Pong")


@pytest.mark.parametrize("game", list(GAMES))
def test_a_game_is_won_by_points(game: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ale_py")
    env = AtariGame(game=game)
    assert env.get_action_meanings()[0] == "NOOP"
    _, info = env.reset(seed=0)
    assert info["is_success"] is False
    rewards = iter([GAMES[game].winning_points - 1.0, -3.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    played = env._console
    monkeypatch.setattr(env, "_console", _Rewarding(played, rewards))
    assert env.step(0)[4]["is_success"] is False
    assert env.step(0)[4]["is_success"] is True
    monkeypatch.undo()
    assert env.reset(seed=0)[1]["is_success"] is False


class _Rewarding:
    """A console with rewards of ours."""

    def __init__(self, console: object, rewards: Iterator[float]) -> None:
        self._console, self._rewards = console, rewards

    def act(self, action: object) -> float:
        return next(self._rewards)

    def __getattr__(self, name: str) -> object:
        return getattr(self._console, name)


def test_what_cannot_be_used_is_refused() -> None:
    pytest.importorskip("ale_py")
    with pytest.raises(ValueError, match="Did you mean 'Pong'"):
        AtariGame(game="Pog")
    with pytest.raises(ValueError, match="Pong needs render_mode None or 'rgb_array', got 'human'"):
        AtariGame("human", game="Pong")
    with pytest.raises(ValueError, match=r"Pong needs image_size in 1\.\.160, got 210"):
        AtariGame(game="Pong", image_size=210)
