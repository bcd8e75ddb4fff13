"""Which factors the units of a run tell: from its metrics.json, or computed where the factors are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sparse_repr.data import FactorDataset
from sparse_repr.encoder import FrozenEncoder
from sparse_repr.encoder.statistics import EncodedItems
from sparse_repr.files.json_reader import TEXT, Shape, many, number, read_json, require, whole
from sparse_repr.metrics import extrapolated_information, factor_entropies
from sparse_repr.metrics.histogram import discrete_mutual_information, discretise

_LEAST_SHARE = 0.1
"""A unit that tells less of every factor is not said to tell any."""
_BINS = 20
_SCORES: Shape = {
    "factor_names": many(TEXT),
    "factor_entropies_nats": many(number(0)),
    "mutual_information_nats": many(many(number())),
}


def information_of(
    run: Path, encoder: FrozenEncoder, data: FactorDataset, encoded: EncodedItems
) -> dict[str, Any] | None:
    """Mutual information of factors and units; None where no factor is known or varies.

    Args:
        run: its folder; a `metrics.json` of this encoder is taken, where it has the matrix.
        encoder: the encoder.
        data: the data set.
        encoded: random items of it, over which it is computed else.

    Returns:
        `factors` (K names), `entropies` (K,), `matrix` (K, D) in nats and `how`, a sentence.
    """
    return _evaluated(run, encoder) or _computed(encoder, data, encoded)


def _evaluated(run: Path, encoder: FrozenEncoder) -> dict[str, Any] | None:
    path = run / "metrics.json"
    if not path.is_file():
        return None
    remedy = "evaluate the run again (python -m sparse_repr.evaluate)"
    report = read_json(path, remedy=remedy)
    scores = report.get("disentanglement") or {}
    if report.get("encoder") != encoder.fingerprint or "mutual_information_nats" not in scores:
        return None
    require(report, {"items": whole(1), "disentanglement": _SCORES}, str(path), remedy=remedy)
    names, entropies, matrix = (scores[name] for name in _SCORES)  # type: ignore[union-attr]
    if len(entropies) != len(names) or {len(row) for row in matrix} != {encoder.code_size} or len(matrix) != len(names):
        raise ValueError(f"{path} is damaged: its mutual information is not of {len(names)} factors; {remedy}")
    return _described(names, entropies, matrix, f"From metrics.json, over {report['items']:,} images.")


def _computed(encoder: FrozenEncoder, data: FactorDataset, encoded: EncodedItems) -> dict[str, Any] | None:
    varying = data.varying(encoded.items)
    if data.factors is None or not varying:
        return None
    factors, names = data.factors[encoded.items][:, varying], [data.factor_names[k] for k in varying]
    images = f"{len(encoded):,} images"
    if encoder.spec.posterior == "gaussian":
        found = extrapolated_information(encoded.mean, encoded.log_variance, factors, population=len(data))
        return _described(names, found.factor_entropies_nats, found.matrix, f"Over {images}.")
    matrix = discrete_mutual_information(discretise(encoded.mean, _BINS), factors)
    return _described(names, factor_entropies(factors), matrix, f"From histograms of {images}.")


def _described(names: Any, entropies: Any, matrix: Any, how: str) -> dict[str, Any]:
    return {
        "factors": [name.replace("_", " ") for name in names],
        "entropies": [float(entropy) for entropy in entropies],
        "matrix": [[round(float(value), 4) for value in row] for row in matrix],
        "how": how,
    }


def told_by(information: dict[str, Any] | None, units: list[int]) -> str:
    """The factor of which some units tell most, with its share; empty where they tell little of any.

    >>> told_by({"factors": ["shape", "scale"], "entropies": [1.0, 2.0], "matrix": [[0.1], [1.5]]}, [0])
    'scale 75 %'
    """
    if information is None:
        return ""
    shares = np.asarray(information["matrix"])[:, units].max(1) / np.asarray(information["entropies"])
    best = int(shares.argmax())
    return f"{information['factors'][best]} {100 * shares[best]:.0f} %" if shares[best] >= _LEAST_SHARE else ""
