"""`python -m experiments.reference_codes`: what every score gives for codes that are known, and the table of them.

A score is understood by what it gives where the answer is known. The factors are those of dSprites; the codes are made
from them, not by an encoder.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn

from experiments.measure.machine import git_revision
from experiments.pages.report import replace_between
from sparse_repr.command_line.bounds import require_sensible
from sparse_repr.command_line.running import parse_options, run_command
from sparse_repr.devices import cpu_threads
from sparse_repr.files import write_bytes, write_json
from sparse_repr.metrics import FAMILIES, aam_score, mig_score, mutual_information_matrix
from sparse_repr.metrics.suite import SLOW, Family
from sparse_repr.registry import lookup

SIZES = (3, 6, 40, 32, 32)
"""Values of the factors of dSprites: shape, scale, orientation, position x and y."""
MARK = "reference codes"
"""Name of the table between its two marks in the page."""
PAGE = Path("sparse_repr/metrics/README.md")

Codes = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class ReferenceConfig:
    """What to compute."""

    samples: int = 15_000
    """Items of each code: 10,000 train and 5,000 test."""
    slow_samples: int = 1_500
    """Items for the published learner of DCI, which takes minutes on more (1,000 train, 500 test)."""
    seed: int = 0
    """Of the items, the noise and the scores."""
    families: str | None = None
    """Comma-separated families (mig, dci_forest …) to compute again beside what the folder holds; None means all."""
    out: str = "experiments/results/reference_codes"
    """Folder for one JSON per code and table.md."""
    page: str | None = str(PAGE)
    """Page whose table is replaced; None leaves it."""

    def __post_init__(self) -> None:
        require_sensible(self)


def reference_codes(factors: npt.NDArray[np.int64], seed: int) -> dict[str, Codes]:
    """Codes by name, from factor indices (N, 5), each unit of mean 0 and standard deviation 1 but for dead ones.

    perfect: one unit per factor. permuted: in another order. rotated: pairs of units turned by 45 degrees. duplicated:
    every unit twice. noise: 5 independent Gaussians. constant: zeros.
    """
    perfect = np.stack([(column - column.mean()) / column.std() for column in factors.T.astype(np.float64)], axis=1)
    rotated = perfect.copy()
    turn = np.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2)
    # scale with orientation, position x with y; shape has no partner and stays
    for pair in ([1, 2], [3, 4]):
        rotated[:, pair] = perfect[:, pair] @ turn
    return {
        "perfect": perfect,
        "permuted": perfect[:, [3, 0, 4, 2, 1]],
        "rotated": rotated,
        "duplicated": np.concatenate([perfect, perfect], axis=1),
        "noise": np.random.default_rng(seed).standard_normal(perfect.shape),
        "constant": np.zeros_like(perfect),
    }


def _exact(codes: Codes, factors: npt.NDArray[np.int64], *, seed: int = 0) -> dict[str, float]:  # noqa: ARG001
    # noise of a hundredth of a unit's deviation, so that the posterior is one
    information = mutual_information_matrix(codes, np.full_like(codes, 2 * np.log(0.01)), factors)
    return {
        "mig": mig_score(information.matrix, information.factor_entropies_nats),
        "aam": aam_score(information.matrix),
    }


_ALL: dict[str, Family] = {"mig": _exact, **FAMILIES}


def chosen_families(names: str | None) -> tuple[str, ...]:
    """Families from a comma-separated list, None for all; ValueError with the close matches for an unknown name."""
    if names is None:
        return tuple(_ALL)
    known = {name: name for name in _ALL}
    return tuple(lookup(known, name.strip(), "family") for name in names.split(","))


def score_code(codes: Codes, factors: npt.NDArray[np.int64], config: ReferenceConfig) -> dict[str, Any]:
    """The scores of one code, and the seconds of each family."""
    scores: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for family in chosen_families(config.families):
        started = time.perf_counter()
        items = slice(config.slow_samples if family in SLOW else config.samples)
        scores.update(_ALL[family](codes[items], factors[items], seed=config.seed))
        seconds[family] = time.perf_counter() - started
    return {"scores": scores, "seconds": seconds}


def _beside_earlier(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """`found` in the place of the same scores of an earlier file, which says of which families that is true."""
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no {path} to compute families again beside: leave --families out") from error
    again = {key: found[key] for key in ("command", "date", "git_revision")}
    parts = {part: {**earlier[part], **found[part]} for part in ("scores", "seconds")}
    return {**earlier, "computed_again": [*earlier.get("computed_again", []), again], **parts}


def reference_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown table: one line per score, one column per code."""
    names = list(results)
    lines = ["| score | " + " | ".join(names) + " |", "|---" + "|---:" * len(names) + "|"]
    lines += [
        f"| `{score}` | " + " | ".join(f"{results[name]['scores'][score]:.3f}" for name in names) + " |"
        for score in results[names[0]]["scores"]
    ]
    return "\n".join(lines) + "\n"


def run_reference_codes(config: ReferenceConfig) -> dict[str, dict[str, Any]]:
    """Score every code and write `<out>/<code>.json`, `<out>/table.md` and the table of the page."""
    rng = np.random.default_rng(config.seed)
    drawn = rng.choice(int(np.prod(SIZES)), config.samples, replace=False)
    factors = np.stack(np.unravel_index(drawn, SIZES), axis=1).astype(np.int64)
    facts = {
        "command": f"python -m experiments.reference_codes --samples {config.samples} "
        f"--slow-samples {config.slow_samples} --seed {config.seed}",
        "items": config.samples,
        "items_of_slow_families": {"families": list(SLOW), "items": config.slow_samples},
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit_learn": sklearn.__version__,
        "date": date.today().isoformat(),
        "git_revision": git_revision(),
    }
    if config.families is not None:
        facts["command"] += f" --families {','.join(chosen_families(config.families))}"
    results: dict[str, dict[str, Any]] = {}
    with cpu_threads(1):
        for name, codes in reference_codes(factors, config.seed + 1).items():
            found = {"code": name, **facts, **score_code(codes, factors, config)}
            print(f"{name}: {sum(found['seconds'].values()):.0f} s", file=sys.stderr, flush=True)
            path = Path(config.out) / f"{name}.json"
            results[name] = found if config.families is None else _beside_earlier(path, found)
            write_json(path, results[name])
    table = reference_table(results)
    write_bytes(Path(config.out) / "table.md", table.encode())
    if config.page is not None:
        page = Path(config.page)
        write_bytes(page, replace_between(page.read_text(encoding="utf-8"), MARK, table).encode())
    return results


_PROGRAM = "python -m experiments.reference_codes"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _as_asked(arguments))


def _as_asked(arguments: list[str] | None) -> None:
    config = parse_options(ReferenceConfig, arguments, program=_PROGRAM, description=__doc__)
    print(reference_table(run_reference_codes(config)), end="")


if __name__ == "__main__":
    sys.exit(main())
