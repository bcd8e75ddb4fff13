"""metrics.json read back: what comparisons and tables need of it is checked before anything is made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparse_repr.files.json_reader import OBJECT, TEXT, Shape, each, many, number, optional, read_json, require, whole

_REMEDY = "evaluate the run again (python -m sparse_repr.evaluate)"
_REPORT: Shape = {
    "run": {"dataset": TEXT, "objective": TEXT, "seed": whole(0), "steps": whole(1), "code_size": whole(1)},
    "trained_steps": whole(0),
    "images": OBJECT,
    "codes": {
        "active_units": whole(0),
        "hoyer_sparsity": optional(number()),
        "near_zero_fraction": number(0, 1),
        "kl_nats": number(),
        "kl_nats_per_unit": many(number()),
    },
}
_QUALITY: Shape = {"psnr_db": optional(number()), "ssim": number()}
# reports of version 0.1 have none
_HEALTH: Shape = {"spread": optional(number(0)), "error": optional(number(0)), "warning": optional(TEXT)}
_INTERVALS = each(many(number(), 2))


def read_report(run: Path) -> dict[str, Any]:
    """Content of `metrics.json` in the folder of a run that was evaluated.

    Raises:
        FileNotFoundError: the run was not evaluated.
        ValueError: the file is damaged, or lacks what a comparison needs; file and entry are named.
    """
    path = run / "metrics.json"
    if not path.is_file():
        raise FileNotFoundError(f"no metrics.json in {run}: {_REMEDY}")
    report: dict[str, Any] = read_json(path, remedy=_REMEDY)
    require_report(report, str(path))
    return report


def require_report(report: Any, origin: str, *, remedy: str = _REMEDY) -> None:
    """Check that a value is a report.

    Args:
        report: content of a `metrics.json`.
        origin: what to call it in messages, usually its path.
        remedy: what to do about it, for messages.

    Raises:
        ValueError: it lacks what a comparison needs; `origin` and the entry are named.
    """
    require(report, _REPORT, origin, remedy=remedy)
    for part, candidates in report["images"].items():
        shape: Shape = TEXT if part == "protocol" else {"model": _QUALITY}
        require({"images": {part: candidates}}, {"images": {part: shape}}, origin, remedy=remedy)
        if part != "protocol":
            require({"images": {part: candidates}}, {"images": {part: each(_QUALITY)}}, origin, remedy=remedy)
    if "health" in report:
        require(report, {"health": _HEALTH}, origin, remedy=remedy)
    scores = report.get("disentanglement")
    if "disentanglement" in report:
        require({"disentanglement": scores}, {"disentanglement": {"over": TEXT}}, origin, remedy=remedy)
    told: dict[str, Shape] = {"intervals_95": _INTERVALS, "notes": each(TEXT), "factor_names": many(TEXT)}
    for name in [name for name in told if name in (scores or {})]:
        require({"disentanglement": scores}, {"disentanglement": {name: told[name]}}, origin, remedy=remedy)
    if scores and scores.get("probe_r2") is not None:
        each_factor = many(number(), len(scores.get("factor_names", ())))
        probes: Shape = {"factor_names": many(TEXT), "probe_r2": each(each_factor)}
        require({"disentanglement": scores}, {"disentanglement": probes}, origin, remedy=remedy)


_SAME_CODES = ("encoder", "items", "sampled", "data", "scored")
_SAME_SCORES = ("over", "estimators", "factor_names")
_NO_SCORES = (
    *(*_SAME_SCORES, "intervals_95", "metric_seconds", "notes", "constant_factors_left_out"),
    *("factor_entropies_nats", "mutual_information_nats", "mutual_information_error_nats"),
)


def with_earlier_scores(report: Mapping[str, Any], earlier: Any) -> dict[str, Any]:
    """A report with those scores of an earlier one that were not asked for now, where both are of the same codes.

    Their intervals, seconds and notes come with them; a score that is in both keeps the interval that it had where it
    has none now.

    Args:
        report: the new one.
        earlier: content of the `metrics.json` that is there, whatever it holds.
    """
    old, new = (each.get("disentanglement") if isinstance(each, dict) else None for each in (earlier, report))
    parts_of = ("intervals_95", "metric_seconds", "notes")
    if (
        not isinstance(old, dict)
        or not isinstance(new, dict)
        or not all(isinstance(old.get(p), dict) for p in parts_of)
    ):
        return dict(report)
    if any(earlier.get(key) != report[key] for key in _SAME_CODES) or any(
        old.get(key) != new[key] for key in _SAME_SCORES
    ):
        return dict(report)
    kept = {name: value for name, value in old.items() if name not in new and name not in _NO_SCORES}
    parts: dict[str, dict[str, Any]] = {
        "intervals_95": {
            name: interval
            for name, interval in old["intervals_95"].items()
            if name in kept or (name in new and new[name] == old[name])
        },
        "metric_seconds": {
            name: seconds for name, seconds in old["metric_seconds"].items() if name not in new["notes"]
        },
        "notes": {name: why for name, why in old["notes"].items() if name.partition(", ")[0] in kept},
    }
    exact = {name: old[name] for name in _NO_SCORES if name in old and name not in new}
    together = {**kept, **new, **exact, **{name: {**part, **new[name]} for name, part in parts.items()}}
    for name in parts["intervals_95"]:
        if name in together["intervals_95"]:
            together["notes"].pop(f"{name}, interval", None)
    return {**report, "disentanglement": together}


def _span(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f" ({interval[0]:.4f} to {interval[1]:.4f})"


def summary(report: dict[str, Any]) -> str:
    """The main numbers of a report as a few lines of text."""
    lines = [report["images"]["protocol"]] if report["images"].keys() == {"protocol"} else []
    for part, candidates in report["images"].items():
        if part == "protocol":
            continue
        for name, quality in candidates.items():
            decibel = "inf" if quality["psnr_db"] is None else f"{quality['psnr_db']:.2f}"
            lines.append(f"{part:10s} {name:11s} PSNR {decibel:>6s} dB   SSIM {quality['ssim']:.4f}")
    health = report.get("health")
    if health is not None and health["spread"] is not None:
        lines.append(f"reconstructions vary by {100 * health['spread']:.2g} % of the images' variance")
    if health is not None and "present" in health:
        lines.append(f"keypoints present in an image {health['present']:.1f}")
    if health is not None and health["warning"] is not None:
        lines.append(f"WARNING: {health['warning']}")
    codes = report["codes"]
    carried = (
        "no KL (each code is a point)" if report.get("posterior") == "point" else f"KL {codes['kl_nats']:.2f} nats"
    )
    lines.append(
        f"active units {codes['active_units']}, {carried}, near-zero codes {100 * codes['near_zero_fraction']:.1f} %"
    )
    if "disentanglement" in report:
        found = report["disentanglement"]
        # how exact the mutual information is, is in metrics.json
        scores = {n: v for n, v in found.items() if isinstance(v, float) and n != "mutual_information_error_nats"}
        spans = found.get("intervals_95", {})
        told = [f"{name} {value:.4f}{_span(spans.get(name))}" for name, value in scores.items()]
        lines += ["  ".join(told)] if told else []
        for learner, values in (found.get("probe_r2") or {}).items():
            named = zip(found["factor_names"], values, strict=True)
            lines.append(f"R² of a {learner} probe: " + ", ".join(f"{factor} {value:.3f}" for factor, value in named))
        lines.append(f"(over {found['over']})")
        notes: dict[str, str] = found.get("notes", {})
        for why in dict.fromkeys(notes.values()):
            lines.append(f"no {', '.join(name for name, each in notes.items() if each == why)}: {why}")
    else:
        lines.append("no scores of factors: none is known of this data, or none takes two values")
    return "\n".join(lines)
