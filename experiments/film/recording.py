"""Films of agents at work: what an agent is shown, what its code holds of it, and the code or the factors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.utils import RecordConstructorArgs
from PIL import Image, ImageDraw
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_wrapper

from experiments.film.drawing import (
    BACKGROUND,
    INK,
    LINE,
    MARGIN,
    image_panel,
    named_panel,
    text_font,
    value_panel,
    with_titles,
    write_gif,
)
from experiments.film.views import See, Seen
from sparse_repr.files import atomic_path

_STRIP_SIDE = 96


class KeepFrames(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Keeps each frame of an environment in `info["frame"]`, whatever the wrappers around it make of it.

    Give it to `make_vec_env` or `make_latent_vec_env` as `wrapper_class`, inside of all wrappers that change frames.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment that observes frames, uint8 (H, W, C), (C, H, W) or (H, W).

        Raises:
            TypeError: what it observes has several parts.
        """
        if isinstance(env.observation_space, gym.spaces.Dict | gym.spaces.Tuple):
            raise TypeError(
                f"KeepFrames needs an environment that observes frames (H, W, C), (C, H, W) or (H, W), got "
                f"{env.observation_space}: show the frame alone inside of it"
            )
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """The first frame."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, {**info, "frame": np.array(observation)}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """The next frame."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, {**info, "frame": np.array(observation)}


@dataclasses.dataclass(frozen=True)
class Film:
    """What an agent did and went by in T frames, which `write_film` and `write_strip` draw."""

    caption: str
    """What the agent is."""
    frames: npt.NDArray[np.uint8]
    """(T, H, W, C)."""
    seen: Seen | None
    """What it went by; None where that is the frame itself."""
    steps: tuple[int, ...]
    """Steps of the episode before each frame; 0 begins an episode."""
    returns: tuple[float, ...]
    """Sum of the episode's rewards before each frame."""

    @property
    def first_episode(self) -> int:
        """Number of frames of the first episode, the one in which it ended included."""
        starts = [place for place, step in enumerate(self.steps) if step == 0]
        return starts[1] if len(starts) > 1 else len(self.steps)


def play(
    venv: VecEnv,
    act: Callable[[Any], Any],
    *,
    see: See | None = None,
    caption: str = "",
    steps: int = 200,
    seed: int | None = None,
) -> Film:
    """Let an agent play, and keep what it saw.

    Args:
        venv: environments in `KeepFrames`, under any wrappers; the first one is shown.
        act: observations of all environments -> actions.
        see: what the agent goes by, as from `film_views`; None shows the frames alone.
        caption: what the agent is.
        steps: frames of the film, at least 1; an episode of n steps gives n + 1, with the one in which it ended.
        seed: of the environments; None goes on with the random numbers that they have.

    Raises:
        TypeError: the environments keep no frames.
        ValueError: less than one step.
    """
    if steps < 1:
        raise ValueError(f"a film needs at least 1 step, got {steps}")
    if seed is not None:
        venv.seed(seed)
    observations = venv.reset()
    normalised = unwrap_vec_wrapper(venv, VecNormalize)
    infos = [_kept(venv.unwrapped.reset_infos[0], venv)]
    counts, returns = [0], [0.0]
    while len(infos) < steps:
        observations, rewards, dones, found = venv.step(act(observations))
        reward = rewards[0] if normalised is None else normalised.get_original_reward()[0]
        infos.append(_kept(found[0], venv))
        counts.append(counts[-1] + 1)
        returns.append(returns[-1] + float(reward))
        if dones[0]:  # what was shown is the last frame of the episode; the next one has begun already
            infos.append(_kept(venv.unwrapped.reset_infos[0], venv))
            counts.append(0)
            returns.append(0.0)
    infos, counts, returns = infos[:steps], counts[:steps], returns[:steps]
    frames = np.stack([_channels_last(info["frame"]) for info in infos])
    return Film(caption, frames, see(frames, infos) if see else None, tuple(counts), tuple(returns))


def _kept(info: dict[str, Any], venv: VecEnv) -> dict[str, Any]:
    if "frame" not in info:
        raise TypeError(f"a film needs environments in KeepFrames (wrapper_class=KeepFrames), got {venv}")
    return info


def _channels_last(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    if frame.dtype != np.uint8 or frame.ndim not in (2, 3):
        raise TypeError(f"a film needs uint8 frames (H, W, C), got {frame.dtype} {frame.shape}")
    if frame.ndim == 2:
        return frame[..., None]
    return frame.transpose(1, 2, 0) if frame.shape[0] in (1, 3) and frame.shape[2] not in (1, 3) else frame


def _frame(film: Film, place: int) -> Image.Image:
    panels, titles = [image_panel(film.frames[place])], ["frame"]
    seen = film.seen
    if seen is not None:
        if seen.keypoints is not None:
            panels.append(image_panel(seen.keypoints[place]))
            titles.append("keypoints")
        if seen.reconstructions is not None:
            panels.append(image_panel(seen.reconstructions[place]))
            titles.append(seen.reconstruction_title)
        values = seen.values[place]
        if seen.names:
            panels.append(named_panel(values, seen.limits, seen.names))
        else:
            panels.append(value_panel(values, seen.limits))
        titles.append("factors" if seen.names else f"{seen.title}, {len(values)} units")
    states = [f"step {step}  return {total:.2f}" for step, total in zip(film.steps, film.returns, strict=True)]
    return with_titles(panels, titles, film.caption, states[place], longest=max(states, key=len))


def write_film(film: Film, path: str | Path, *, fps: int = 20) -> Path:
    """Write a film as an animated GIF; returns the path.

    Args:
        film: from `play`.
        path: file to write, ends in ``.gif``.
        fps: frames per second, 1..50.

    Raises:
        ValueError: another ending, or another rate.
    """
    return write_films([film], path, fps=fps)


def write_films(films: Sequence[Film], path: str | Path, *, fps: int = 20) -> Path:
    """Write films below one another as one animated GIF, as long as the shortest; returns the path.

    Arguments as in `write_film`.

    Raises:
        ValueError: no films, another ending, or another rate.
    """
    target = Path(path)
    if not films or target.suffix != ".gif":
        raise ValueError(f"a film needs at least 1 agent and a path that ends in .gif, got {len(films)} and {target}")
    if not 1 <= fps <= 50:
        raise ValueError(f"a film needs 1..50 frames per second (GIFs count in hundredths), got {fps}")
    length = min(len(film.steps) for film in films)
    return write_gif([_below([_frame(film, place) for film in films]) for place in range(length)], target, fps)


def _below(rows: Sequence[Image.Image]) -> Image.Image:
    """Images below one another, flush left."""
    whole = Image.new(
        "RGB", (max(row.width for row in rows), sum(row.height + MARGIN for row in rows) - MARGIN), BACKGROUND
    )
    top = 0
    for row in rows:
        whole.paste(row, (0, top))
        top += row.height + MARGIN
    return whole


def film_agent(
    venv: VecEnv,
    act: Callable[[Any], Any],
    path: str | Path,
    *,
    see: See | None = None,
    caption: str = "",
    steps: int = 200,
    fps: int = 20,
    seed: int | None = None,
) -> Path:
    """Let an agent play and write an animated GIF: its frame, the reconstruction, the code or the factors as bars.

    Arguments and errors as in `play` and `write_film`; returns the path.
    """
    return write_film(play(venv, act, see=see, caption=caption, steps=steps, seed=seed), path, fps=fps)


def write_strip(films: Sequence[Film], path: str | Path, *, moments: int = 6) -> Path:
    """Draw films below one another as a still PNG: a row each, moments of the first episode from its start to its end.

    Below each frame stand its keypoints and the reconstruction where there are some. Films of one seed begin alike.

    Args:
        films: from `play`.
        path: file to write, ends in ``.png``.
        moments: frames per row, at least 2; fewer where an episode has fewer.

    Returns:
        The path.

    Raises:
        ValueError: no films, fewer than 2 moments, or another ending.
    """
    target = Path(path)
    if not films or moments < 2 or target.suffix != ".png":
        raise ValueError(
            f"a strip needs at least 1 film, 2 moments and a path that ends in .png, got {len(films)}, {moments} and "
            f"{target}"
        )
    strip = _below([_row(film, moments) for film in films])
    with atomic_path(target) as temporary:
        strip.save(temporary, format="PNG", optimize=True)
    return target


def _row(film: Film, moments: int) -> Image.Image:
    places = np.unique(np.linspace(0, film.first_episode - 1, moments).round().astype(int)).tolist()
    shown, words = [film.frames], []
    if film.seen is not None and film.seen.keypoints is not None:
        shown.append(film.seen.keypoints)
        words.append("keypoints")
    if film.seen is not None and film.seen.reconstructions is not None:
        shown.append(film.seen.reconstructions)
        words.append(film.seen.reconstruction_title)
    columns = [[image_panel(part[place], _STRIP_SIDE) for part in shown] for place in places]
    width = max(image.width for images in columns for image in images)
    row = Image.new(
        "RGB",
        ((width + MARGIN) * moments - MARGIN, 2 * LINE + len(shown) * (_STRIP_SIDE + MARGIN) - MARGIN),
        BACKGROUND,
    )
    draw, font = ImageDraw.Draw(row), text_font()
    below = f" (below: {', '.join(words)})" if words else ""
    draw.text((2, LINE / 2), film.caption + below, fill=INK, font=font, anchor="lm")
    for column, (place, images) in enumerate(zip(places, columns, strict=True)):
        left = column * (width + MARGIN)
        state = f"{film.steps[place]}: {film.returns[place]:.2f}"
        draw.text((left + width / 2, 1.5 * LINE), state, fill=INK, font=font, anchor="mm")
        for number, image in enumerate(images):
            row.paste(image, (left, 2 * LINE + number * (_STRIP_SIDE + MARGIN)))
    return row
