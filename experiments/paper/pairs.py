"""What one setting does to runs of the same seed, pair by pair: where seeds move a score more than the setting does,
the means of two methods tell nothing, and their differences may.
"""

from __future__ import annotations

from collections.abc import Sequence

from experiments.pages.tables import Table, laid_out, spread
from experiments.paper.cells import METHODS
from experiments.paper.results import StudyResults, scores_of
from experiments.paper.runs import Finished
from experiments.paper.table_parts import EQUAL_STEPS, FURTHER, OTHERS, collapsed_sentence, note_of

PAIRS = (
    ("L1 penalty", "sparse", "vae"),
    ("L1 penalty", "beta_sparse", "beta_vae"),
    ("L1 penalty", "sparse_perceptual", "perceptual"),
    ("L1 penalty", "sparse_perceptual_opened", "perceptual_opened"),
    ("weight of the KL", "beta_vae", "vae"),
)
"""What differs, the method that has it and the one that has not (of the KL's weight, less of it)."""
_COMPARED = {
    *("psnr_db", "lpips", "mig", "aam", "dci_histogram_disentanglement", "sap", "modularity"),
    *("infomec_modularity", "infomec_compactness", "infomec_explicitness"),
}
_SCORES = tuple(score for score in (*EQUAL_STEPS, *FURTHER, *OTHERS) if score.key in _COMPARED)


def pairs_table(results: StudyResults, dataset: str) -> Table | None:
    """Differences of the scores of runs that share seed, steps and settings but one; None where no two pairs do.

    Args:
        results: the study.
        dataset: key of `PAPER_NAMES`.
    """
    arms = results.arms(dataset)
    rows, shown = [], dict[str, Finished]()
    for setting, first, second in PAIRS:
        pairs = _pairs(arms.get(first, ()), arms.get(second, ()))
        if len(pairs) < 2:
            continue
        shown |= {entry.record["cell"]: entry for pair in pairs for entry in pair}
        for score in _SCORES:
            values = _differences(pairs, score.key)
            if len(values) == len(pairs):
                titles = METHODS[first].title, METHODS[second].title
                above = f"{sum(value > 0 for value in values)} of {len(values)}"
                rows.append([setting, *titles, score.title, spread(values, score.digits), above])
    if not rows:
        return None
    header = ["setting", "with", "against", "score", "difference", "above 0"]
    entries = list(shown.values())
    words = (
        "An interval that leaves 0 out is a gain or a loss; one in twenty does where there is none, and there are many."
    )
    dead = collapsed_sentence(
        {method: [entry for entry in entries if entry.record["method"] == method] for method in arms}
    )
    title = f"What one setting does to runs of the same seed, on {dataset}"
    return laid_out(title, header, rows, note_of(results, entries, words, dead))


def _pairs(first: Sequence[Finished], second: Sequence[Finished]) -> list[tuple[Finished, Finished]]:
    one, other = ({(entry.record["seed"], entry.record["steps"]): entry for entry in arm} for arm in (first, second))
    return [(one[key], other[key]) for key in one if key in other]


def _differences(pairs: Sequence[tuple[Finished, Finished]], key: str) -> list[float]:
    scores = [(scores_of(one).get(key), scores_of(other).get(key)) for one, other in pairs]
    return [float(one) - float(other) for one, other in scores if one is not None and other is not None]
