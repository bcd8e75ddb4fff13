"""The tables of the study's encoders: their scores, what they see of small sprites, and what that says of agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from experiments.agents.arms import ARMS, ENCODERS, FOREIGN, UNTRAINED
from experiments.agents.correlations import (
    CHANCE,
    MIN_POINTS,
    OUTCOMES,
    Correlation,
    correlations,
    points_of,
    score_names,
)
from experiments.agents.results import AgentStudy, EncoderResult
from experiments.agents.table_parts import note_of
from experiments.agents.tasks import TASKS
from experiments.pages.tables import EMPTY, SPREAD_NOTE, Table, laid_out, spread

_TITLES = {str(arm.encoder): arm.title for arm in ARMS.values() if arm.plain} | {UNTRAINED: "untrained"}
_UNITS = {"psnr_db": ("PSNR (dB)", 2), "ssim": ("SSIM", 3), "mig": ("MIG", 3), "active_units": ("active units", 1)}
MAIN_SCORES = (
    "psnr_db",
    "ssim",
    "mig",
    "aam",
    "dci_histogram_disentanglement",
    "dci_histogram_informativeness",
    "linear_probe",
    "position_r2",
    "class_accuracy",
    "hoyer_sparsity",
    "exact_zero_fraction",
    "active_units",
)
"""Scores of encoders that tables and figures show; all of them are among the correlations and in the files."""
_ACRONYMS = ("aam", "dci", "mig", "sap")


def encoder_title(encoder: str) -> str:
    """What tables and figures call an encoder."""
    return _TITLES[encoder]


def score_title(score: str) -> str:
    """What tables and figures call a score of an encoder."""
    if score in _UNITS:
        return _UNITS[score][0]
    words = score.replace("_r2", " R²").split("_")
    return " ".join(word.upper() if word in _ACRONYMS else word for word in words)


def by_encoder(study: AgentStudy, task: str) -> dict[str, list[EncoderResult]]:
    """The encoders of a task by their kind, untrained and foreign ones first."""
    of_task = [entry for entry in study.encoders if entry.task == task]
    found = {name: [entry for entry in of_task if entry.encoder == name] for name in (UNTRAINED, *FOREIGN, *ENCODERS)}
    return {name: entries for name, entries in found.items() if entries}


def _encoders_table(
    study: AgentStudy,
    task: str,
    title: str,
    columns: Sequence[tuple[str, str, int]],
    values_of: Callable[[EncoderResult], Mapping[str, float | None]],
    *sentences: str,
) -> Table | None:
    found = by_encoder(study, task)
    rows = []
    for name, entries in found.items():
        cells = []
        for key, _, digits in columns:
            values = [values_of(entry).get(key) for entry in entries]
            cells.append(spread([float(value) for value in values if value is not None], digits))
        rows.append([encoder_title(name), str(len(entries)), *cells])
    if not any(cell != EMPTY for row in rows for cell in row[2:]):
        return None
    header = ["encoder", "seeds", *(words for _, words, _ in columns)]
    entries = [entry for members in found.values() for entry in members]
    return laid_out(title, header, rows, note_of(study, entries, SPREAD_NOTE, *sentences))


def encoders_table(study: AgentStudy, task: str) -> Table | None:
    """The main scores of the encoders of a task; None where none is finished."""
    known = score_names(entry for entry in study.encoders if entry.task == task)
    names = [name for name in MAIN_SCORES if name in known]
    columns = [(name, score_title(name), _UNITS[name][1] if name in _UNITS else 3) for name in names]
    return _encoders_table(study, task, f"Encoders of {task}", columns, lambda entry: entry.scores)


def objects_table(study: AgentStudy, task: str, *, linear: bool = False) -> Table | None:
    """How well the place of each sprite can be read from the codes; None where no encoder is finished.

    Args:
        study: what is finished.
        task: key of `TASKS`.
        linear: by a linear probe, in place of a small network.
    """
    columns = [(sprite, sprite.replace("_", " "), 3) for sprite in TASKS[task].positions]
    reader = "linear probe" if linear else "small network"
    words = (
        f"R² on held-out pictures of a {reader} that reads the sprite's place from the code, mean of across and down: "
        "one near 0 cannot be read."
    )
    title = f"Small sprites in the codes of {task}{', by a linear probe' if linear else ''}"
    return _encoders_table(
        study, task, title, columns, lambda entry: entry.linear_position_r2 if linear else entry.position_r2, words
    )


def shown_p(p: float | None) -> str:
    """A p-value as text."""
    return EMPTY if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def shown_correlation(one: Correlation) -> tuple[str, str]:
    """A rank correlation over points, and that over the means per kind with its p-values, as the texts of two cells."""
    of_points = EMPTY if one.rho is None else f"{one.rho:+.2f} ({one.count})"
    if one.rho_of_means is None:
        return of_points, EMPTY
    return of_points, f"{one.rho_of_means:+.2f} ({one.kinds}), p {shown_p(one.p)}, {shown_p(one.p_of_all)}"


def correlations_table(study: AgentStudy, task: str, algorithm: str = "ppo") -> Table | None:
    """Which score of an encoder goes with what an agent on its frozen codes reaches.

    Args:
        study: what is finished.
        task: key of `TASKS`.
        algorithm: ppo, sac or dqn.

    Returns:
        None where no score has enough points.
    """
    found = correlations(study, task, algorithm)
    by_score: dict[str, list[str]] = {}
    for one in found:
        by_score.setdefault(one.score, []).extend(shown_correlation(one))
    rows = [[score_title(score), *cells] for score, cells in by_score.items()]
    rows = [row for row in rows if any(cell != EMPTY for cell in row[1:])]
    if not rows:
        return None
    tested = [one.p for one in found if one.p is not None]
    clear = sum(p < CHANCE for p in tested)
    words = (
        "Spearman's ρ over the encoders with an agent on their frozen codes, the untrained one among them. A point is "
        f"an encoder and a seed, their number in brackets; {EMPTY} with fewer than {MIN_POINTS} or without "
        "differences. Points of a kind of encoder are not independent, so only ρ over the means per kind, kinds in "
        "brackets, has a p: the share of all ways to deal out the outcomes to the kinds that give a ρ as far from 0. "
        "The second p is the share that gives one to any score of the column, which counts where the strongest of many "
        f"is looked for. {clear} of {len(tested)} first p are below {CHANCE}; by chance alone about "
        f"{CHANCE * len(tested):.0f} are."
    )
    header = ["score", *(text for outcome in OUTCOMES.values() for text in (outcome, "means per kind, p"))]
    note = note_of(study, [point.encoder for point in points_of(study, task, algorithm)], words)
    return laid_out(f"Which score foretells return on {task} ({algorithm.upper()})", header, rows, note)
