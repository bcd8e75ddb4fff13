"""How much of it: returns by width and ones of an expansion, by the learning rate, and by the price of a presence."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from experiments.agents.arms import ARMS, PRICES, RATES, SHARES, TIMES, rated
from experiments.agents.encoder_tables import by_encoder
from experiments.agents.palette import colour_of, new_figure
from experiments.agents.results import AgentStudy
from experiments.agents.scores import anchors_of, paired_seeds, returns_of
from experiments.agents.table_parts import NORMALISED, note_of, titled
from experiments.measure.intervals import t_interval
from experiments.pages.tables import EMPTY, SPREAD_NOTE, Table, laid_out, spread
from rl.recodings import Expand
from sparse_repr.figures import add_note, chart

_RAW = "Returns are those of the task: agents on ground truth are not clearly above chance there."
_LEAST = 3
"""Seeds from which an interval is drawn."""
_ACROSS = 3
"""Panels of a row."""


@dataclasses.dataclass(frozen=True)
class Dose:
    """One value of a setting."""

    value: float
    """What the setting is."""
    arm: str
    """Key of `ARMS`."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """A setting, and the arms that differ in it alone."""

    title: str
    """What tables call it."""
    axis: str
    """What figures call it."""
    doses: tuple[Dose, ...]
    """From the least."""
    default: str
    """The arm with the default."""
    beside: str
    """The arm whose return is drawn beside them: without any of what is dosed, or the other way."""
    words: str
    """What that is called."""


_WIDTH = Expand().size(1)
CURVES = (
    Curve(
        "width of the expansion, in D",
        "width of the expansion, in D",
        tuple(
            Dose(float(times), "vae_expand" if times == _WIDTH else f"vae_expand_{times}d")
            for times in sorted((*TIMES, _WIDTH))
        ),
        "vae_expand",
        "vae",
        "the code itself",
    ),
    Curve(
        "share of the expansion that is 1",
        "share that is 1, %",
        tuple(
            Dose(100 * share, "vae_expand" if share == 0.1 else f"vae_expand_{100 * share:.0f}pc")
            for share in sorted((*SHARES, 0.1))
        ),
        "vae_expand",
        "vae",
        "the code itself",
    ),
    *(
        Curve(
            f"learning rate on {what}, times the default",
            f"rate on {what}, times the default",
            tuple(Dose(rate, arm if rate == 1 else rated(arm, rate)) for rate in sorted((1.0, *RATES))),
            arm,
            beside,
            words,
        )
        for arm, what, beside, words in (
            ("vae", "the code itself", "vae_expand", "the expanded code"),
            ("vae_expand", "the expanded code", "vae", "the code itself"),
            ("factors", "ground truth", "vae_expand", "the expanded code"),
            ("pixels", "pixels", "vae_expand", "the expanded code"),
            ("sparse_keypoints", "sparse keypoints", "vae_expand", "the expanded code"),
            ("sparse_keypoints_cropped", "cropped sparse keypoints", "sparse_keypoints", "sparse keypoints"),
        )
    ),
    Curve(
        "price of a presence, times the default",
        "price of a presence, times the default",
        tuple(
            Dose(times, f"sparse_keypoints_{name}" if name else "sparse_keypoints")
            for times, name in sorted([(1.0, ""), *((times, name) for name, times in PRICES.items())])
        ),
        "sparse_keypoints",
        "keypoints",
        "no price",
    ),
)
"""What is dosed."""


def _dosed(study: AgentStudy, task: str, algorithm: str) -> list[tuple[Curve, dict[str, dict[int, float]]]]:
    """The curves of which more than the default and what has nothing is there, with the returns on the task."""
    returns = returns_of(study, task, algorithm)
    return [
        (curve, returns)
        for curve in CURVES
        if any(returns.get(dose.arm) for dose in curve.doses if dose.arm != curve.default)
    ]


def doses_table(study: AgentStudy, task: str, algorithm: str = "ppo") -> Table | None:
    """What agents reach by every dose, and by how much that differs from the default.

    Args:
        study: what is finished.
        task: key of `TASKS`.
        algorithm: ppo, sac or dqn.

    Returns:
        None where no dose is finished.
    """
    encoders, agents = by_encoder(study, task), study.of(task, algorithm)
    rows = []
    for curve, returns in _dosed(study, task, algorithm):
        for dose in (Dose(0.0, curve.beside), *curve.doses):
            found, default = returns.get(dose.arm, {}), returns.get(curve.default, {})
            if not found:
                continue
            paired = paired_seeds(agents[dose.arm], agents.get(curve.default, []))
            differences = [found[seed] - default[seed] for seed in paired if seed in found and seed in default]
            shown = {agent.seed: agent.encoder for agent in agents[dose.arm]}
            places = [
                fmean(entry.position_r2.values())
                for entry in encoders.get(str(ARMS[dose.arm].encoder), [])
                if entry.position_r2 and shown.get(entry.seed, "") in (None, entry.fingerprint)
            ]
            rows.append(
                [
                    curve.title,
                    curve.words if dose.arm == curve.beside else _told(dose, curve),
                    str(len(found)),
                    spread(list(found.values()), 2),
                    EMPTY if dose.arm == curve.default or not differences else _paired(differences, len(found)),
                    spread(places, 2),
                ]
            )
    if not rows:
        return None
    arms = study.of(task, algorithm)
    entries = [
        agent
        for curve, _ in _dosed(study, task, algorithm)
        for arm in (curve.beside, *(dose.arm for dose in curve.doses))
        for agent in arms.get(arm, ())
    ]
    words = (
        "Against the default: difference of agents of the same seed, of one code on one encoder; how many pairs, where "
        "they are fewer than the seeds. Places: R² of a small network that reads the sprites' places from the code of "
        "these agents' encoders on held-out frames."
    )
    header = ["setting", "value", "seeds", "return", "against the default", "places"]
    scale = _RAW if anchors_of(study, task, algorithm) is None else NORMALISED
    note = note_of(study, entries, SPREAD_NOTE, words, scale)
    return laid_out(titled(f"How much of it, on {task}", algorithm), header, rows, note)


def _paired(differences: Sequence[float], seeds: int) -> str:
    pairs = "" if len(differences) == seeds else f" ({len(differences)} {'pair' if len(differences) == 1 else 'pairs'})"
    return f"{spread(differences, 2)}{pairs}"


def _told(dose: Dose, curve: Curve) -> str:
    one = ARMS[dose.arm].share == 0
    return ("one unit" if one else f"{dose.value:g}") + (" (default)" if dose.arm == curve.default else "")


@chart
def doses_figure(study: AgentStudy, task: str, algorithm: str = "ppo") -> Any | None:
    """Return against every dose, a panel for each setting; None where no dose is finished.

    Small dots are seeds, large ones their means, bars 95 % t-intervals from 3 seeds on; dashed: what stands beside it.
    """
    found = _dosed(study, task, algorithm)
    if not found:
        return None
    normalised = anchors_of(study, task, algorithm) is not None
    across = min(_ACROSS, len(found))
    figure, panels = new_figure(across, -(-len(found) // across), 3.6, 3.2)
    for axes in panels.flat[len(found) :]:
        axes.axis("off")
    for axes in panels.flat[1 : len(found)]:
        axes.sharey(panels[0, 0])
    for axes, (curve, returns) in zip(panels.flat, found, strict=False):
        shown = [dose for dose in curve.doses if returns.get(dose.arm)]
        for place, dose in enumerate(shown):
            _draw(axes, place, list(returns[dose.arm].values()), dose.arm, default=dose.arm == curve.default)
        axes.plot([fmean(returns[dose.arm].values()) for dose in shown], color="0.6", linewidth=1, zorder=1)
        axes.set_xticks(range(len(shown)), ["one unit" if ARMS[d.arm].share == 0 else f"{d.value:g}" for d in shown])
        axes.set_xlabel(curve.axis)
        if normalised:
            axes.axhline(1, color="0.4", linewidth=0.8, linestyle="-.")
        if returns.get(curve.beside):
            level = fmean(returns[curve.beside].values())
            axes.axhline(level, color=colour_of(curve.beside), linewidth=1.4, linestyle="--")
            axes.annotate(curve.words, (0, level), (2, 3), textcoords="offset points", fontsize="small")
    for row in panels:
        row[0].set_ylabel(f"{'normalised ' if normalised else ''}return on {task}")
    add_note(
        figure,
        f"small dots: seeds; large ones: their means, the default ringed; bars: 95 % t-intervals, from {_LEAST} seeds "
        f"on{'; 1: the agents on ground truth' if normalised else ''}",
    )
    return figure


def _draw(axes: Any, place: int, values: Sequence[float], arm: str, *, default: bool) -> None:
    colour = colour_of(arm)
    axes.plot([place] * len(values), values, ".", color=colour, markersize=5, alpha=0.6)
    if len(values) >= _LEAST:
        half = t_interval(values).half
        axes.plot([place, place], [fmean(values) - half, fmean(values) + half], color=colour, linewidth=2)
    axes.plot(place, fmean(values), "o", color=colour, markersize=7)
    if default:
        axes.plot(place, fmean(values), "o", color="black", markersize=11, fillstyle="none")
