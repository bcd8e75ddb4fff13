"""What does an agent see? One film per task and arm, strips of all arms, and what codes hold of the small objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from experiments.agents.cells import AgentCell, encoder_cells
from experiments.agents.encoders import encoder_is_finished
from experiments.agents.scales import TEST_FRAMES, AgentScale
from experiments.agents.small_objects import small_object_figure
from experiments.agents.training import (
    act_of,
    agent_is_finished,
    load_trained,
    make_environments,
    scaling_of,
    shown_of,
)
from experiments.film.recording import Film, play, write_film, write_films, write_strip
from experiments.film.views import See, see_codes, see_factors, see_tuned
from rl import LatentExtractor
from sparse_repr import load_encoder
from sparse_repr.data import load_dataset
from sparse_repr.encoder.vae import load_vae
from sparse_repr.models import VAE
from sparse_repr.registry import lookup

FILMS = "films"
"""Folder of the pictures, in that of a study and in that of its published files."""
OBJECTS = "-objects"
"""How names of pictures of small objects end."""
TOGETHER = "-together"
"""What stands behind the task in names of films of several arms."""
_TOGETHER = ("pixels", "vae", "vae_expand", "sparse_keypoints")
_STEPS = 100
_SEED = 2_000_000
_SHOWN_FRAMES = 4


def draw_films(scale: AgentScale, agents: Sequence[AgentCell], out: Path, *, domain: str = "source") -> list[Path]:
    """Film the finished agents of the first seed, and show the small objects as their encoders do.

    All arms of a task play the same first episode.

    Args:
        scale: entry of `AGENT_SCALES`.
        agents: cells; those of other seeds and unfinished ones are passed over.
        out: folder of the study.
        domain: of every task, where they play.

    Returns:
        The files in `films`: TASK-ARM-ALGORITHM.gif, TASK-together-ALGORITHM.gif of the arms that the README shows,
        TASK-ALGORITHM.png and TASK-ENCODER-objects.png; in a domain that they have not seen, only
        TASK-ARM-ALGORITHM-DOMAIN.gif.

    Raises:
        ValueError: a task has no such domain, with the close matches.
    """
    for played in {cell.task_name: cell.task for cell in agents}.values():
        lookup(dict.fromkeys(played.domains), domain, f"domain of {played.environment}")
    folder = out / FILMS
    folder.mkdir(parents=True, exist_ok=True)
    first = min((cell.seed for cell in agents), default=0)
    finished = [cell for cell in agents if cell.seed == first and agent_is_finished(cell)]
    written: list[Path] = []
    strips: dict[tuple[str, str], dict[str, Film]] = {}
    if domain != "source":
        return [write_film(film_of(cell, domain), folder / f"{_name(cell)}-{domain}.gif", fps=10) for cell in finished]
    for cell in finished:
        film = film_of(cell)
        strips.setdefault((cell.task_name, cell.algorithm_name), {})[cell.arm_name] = film
        written.append(write_film(film, folder / f"{_name(cell)}.gif", fps=10))
    for (task, algorithm), films in strips.items():
        written.append(write_strip(list(films.values()), folder / f"{task}-{algorithm}.png"))
        together = [films[arm] for arm in _TOGETHER if arm in films]
        if "pixels" in films and len(together) > 1:
            written.append(write_films(together, folder / f"{task}{TOGETHER}-{algorithm}.gif", fps=10))
    return written + _draw_objects(scale, finished, out)


def _name(cell: AgentCell) -> str:
    return f"{cell.task_name}-{cell.arm_name}-{cell.algorithm_name}"


def film_of(cell: AgentCell, domain: str = "source") -> Film:
    """Let the agent of a finished cell play in a domain."""
    venv = make_environments(cell, domain, 1, _SEED, keep_frames=True)
    try:
        agent = None if cell.arm.observes == "nothing" else load_trained(cell)
        extractor = None if agent is None else agent.policy.features_extractor
        see = _see(cell, venv, extractor if isinstance(extractor, LatentExtractor) else None)
        act = act_of(agent, venv, cell.seed)
        return play(venv, act, see=see, caption=cell.arm.title, steps=_STEPS, seed=_SEED)
    finally:
        venv.close()


def _see(cell: AgentCell, venv: VecEnv, extractor: LatentExtractor | None) -> See | None:
    if cell.arm.observes == "factors":
        return see_factors(venv.get_attr("factor_names")[0], dict(cell.task.one_hot))
    if cell.encoder_folder is None:
        return None
    encoder = load_encoder(cell.encoder_folder)
    if extractor is not None:
        return see_tuned(extractor, _decoder(cell.encoder_folder), code_scaling=scaling_of(encoder))
    return see_codes(encoder, _decoder(cell.encoder_folder), **shown_of(cell, encoder))


def _decoder(folder: Path) -> VAE | None:
    """What the encoder was trained in; the untrained one has none."""
    return load_vae(folder)[0] if (folder / "vae.safetensors").is_file() else None


def _draw_objects(scale: AgentScale, agents: Sequence[AgentCell], out: Path) -> list[Path]:
    written = []
    for cell in encoder_cells(scale, agents, out):
        placed = all(len(axes) == 2 for axes in cell.task.positions.values())
        vae = _decoder(cell.folder) if placed and encoder_is_finished(cell) else None
        if vae is None:
            continue
        data = load_dataset("h5", cell.frames[TEST_FRAMES])
        frames = np.linspace(0, len(data) - 1, _SHOWN_FRAMES).astype(int)
        path = out / FILMS / f"{cell.task_name}-{cell.encoder}{OBJECTS}.png"
        preprocessing = load_encoder(cell.folder).preprocessing
        title = f"{cell.encoder}, {cell.task_name}"
        small_object_figure(vae, preprocessing, data, cell.task, path, frames=frames.tolist(), title=title)
        written.append(path)
    return written
