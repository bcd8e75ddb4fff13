"""What each kind of sparsity buys: one table and one picture of its codes and of the agents on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from experiments.agents.analysis import iqm_of_arms
from experiments.agents.arms import ARMS
from experiments.agents.encoder_tables import by_encoder, encoder_title
from experiments.agents.palette import colour_of, mark_style, new_figure
from experiments.agents.results import AgentStudy, EncoderResult
from experiments.agents.scores import Scores, normalised_scores
from experiments.agents.table_parts import IQM, NORMALISED, note_of, shown
from experiments.measure.intervals import t_interval
from experiments.measure.kinds import KINDS
from experiments.pages.tables import EMPTY, SPREAD_NOTE, Table, laid_out, spread
from sparse_repr.figures import add_note, chart

_COLUMNS = {
    "nonzero_units_per_image": ("not 0 per image", 1),
    "units_ever_nonzero": ("ever not 0", 1),
    "psnr_db": ("PSNR (dB)", 1),
    "contrast_slope": ("contrast", 3),
    "linear_place": ("place, by a line", 2),
    "place": ("place, by a network", 2),
}
"""Score -> its column, and digits."""
_PANELS = {
    "nonzero_units_per_image": "units not 0 per image",
    "psnr_db": "PSNR (dB)",
    "linear_place": "R² of the place, by a line",
}


def _scores(entry: EncoderResult) -> dict[str, float | None]:
    places = {"place": entry.position_r2, "linear_place": entry.linear_position_r2}
    read = {name: fmean(values.values()) if values else None for name, values in places.items()}
    return {**entry.scores, **read}


def _codes(study: AgentStudy, task: str, algorithm: str) -> dict[str, list[EncoderResult]]:
    """The encoders of a task, where some of them are kinds of sparsity; beside PPO's agents they stand once, with or
    without these, beside another algorithm's where there are any."""
    found = by_encoder(study, task) if algorithm == "ppo" or study.of(task, algorithm) else {}
    return found if found.keys() & KINDS.keys() else {}


def _arms_on(encoder: str) -> tuple[str | None, str | None]:
    """The arms that show its codes as they are, and expanded."""
    plain = next((name for name, arm in ARMS.items() if arm.encoder == encoder and arm.plain), None)
    expanded = next((name for name, arm in ARMS.items() if arm.encoder == encoder and arm.recode == "expand"), None)
    return plain, expanded


def kinds_table(study: AgentStudy, task: str, algorithm: str = "ppo") -> Table | None:
    """What the codes of each kind are like, and what agents on them reach.

    Args:
        study: what is finished.
        task: key of `TASKS`.
        algorithm: ppo, sac or dqn.

    Returns:
        None where no encoder of a kind of sparsity is finished, or no agent of another algorithm than PPO.
    """
    found, reached = _codes(study, task, algorithm), iqm_of_arms(study, [task], algorithm=algorithm)
    if not found:
        return None
    rows = []
    for encoder, entries in found.items():
        scored = [_scores(entry) for entry in entries]
        cells = [
            spread([float(value) for one in scored if (value := one.get(name)) is not None], digits)
            for name, (_, digits) in _COLUMNS.items()
        ]
        returns = [EMPTY if arm is None else shown(reached.get(arm)) for arm in _arms_on(encoder)]
        rows.append([encoder_title(encoder), str(entries[0].units or EMPTY), str(len(entries)), *cells, *returns])
    header = ["code", "units", "seeds", *(words for words, _ in _COLUMNS.values()), "return", "return, expand"]
    words = (
        "Not 0 per image: exact zeros are not counted. Contrast: slope of the reconstructed contrast against the true "
        "one, 1 without shrinkage. Place: R² of the sprites' places on held-out frames, by a linear probe and by a "
        "small network. Return: normalised, IQM, of agents on the frozen code and on its expansion."
    )
    entries = [entry for members in found.values() for entry in members]
    return laid_out(
        f"What each kind of sparsity buys on {task} ({algorithm.upper()})",
        header,
        rows,
        note_of(study, entries, SPREAD_NOTE, words, NORMALISED, IQM),
    )


@chart
def kinds_figure(study: AgentStudy, task: str, algorithm: str = "ppo") -> Any | None:
    """Zeros, pictures, places and return of every code, a row each; None where no kind of sparsity is finished.

    Dots are means over the seeds, bars 95 % t-intervals from 3 seeds on.
    """
    found = _codes(study, task, algorithm)
    if not found:
        return None
    returns = {
        arm: _values(normalised_scores(study, arm, [task], algorithm=algorithm))
        for encoder in found
        for arm in _arms_on(encoder)
        if arm is not None
    }
    titles = [*_PANELS.values(), *(["normalised return"] if any(returns.values()) else [])]
    figure, panels = new_figure(len(titles), 1, 2.5, 0.9 + 0.27 * len(found))
    axes = list(panels.flat)
    for place, (encoder, entries) in enumerate(found.items()):
        scored = [_scores(entry) for entry in entries]
        plain, expanded = _arms_on(encoder)
        for one, name in zip(axes, _PANELS, strict=False):
            _draw(one, [float(value) for score in scored if (value := score.get(name)) is not None], place, plain)
        for arm, shift in ((plain, -0.15), (expanded, 0.15)):
            _draw(axes[-1], returns.get(arm or "", []), place + shift, arm)
    for one, title in zip(axes, titles, strict=True):
        one.set_xlabel(title)
        one.set_ylim(len(found) - 0.5, -0.5)
        one.set_yticks(range(len(found)), [encoder_title(name) for name in found] if one is axes[0] else [])
    note = "dots: means over the seeds; bars: 95 % t-intervals, from 3 seeds on"
    if any(returns.values()):
        axes[-1].axvline(1, color="0.4", linewidth=0.8, linestyle="-.")
        note += "; half open: expanded; 1: the agents on ground truth"
    add_note(figure, note)
    return figure


def _values(scores: Scores | None) -> list[float]:
    return [] if scores is None else [float(value) for value in scores.values[:, 0]]


def _draw(axes: Any, values: Sequence[float], place: float, arm: str | None) -> None:
    if not values or arm is None:
        return
    style: Mapping[str, Any] = {**mark_style(arm), "marker": "o"}
    if len(values) > 2:
        half = t_interval(values).half
        axes.plot([fmean(values) - half, fmean(values) + half], [place, place], color=colour_of(arm), linewidth=2)
    axes.plot(fmean(values), place, markersize=6, **style)
