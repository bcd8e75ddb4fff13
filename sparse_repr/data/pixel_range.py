"""Whether stored images use the range 0..255 that every reader takes uint8 for."""

from __future__ import annotations

import itertools
import warnings

import numpy as np

from sparse_repr.data.base import FactorDataset

_MOST_IMAGES = 10_000
_BATCH = 64
# Levels that are no brightness at all (0 and 1, classes, indices of a palette) and 12 bits kept in 16 all stay below.
DARK = 16


def warn_of_dark_images(dataset: FactorDataset) -> FactorDataset:
    """Warn where no image has a pixel that can be seen, as when values 0..1 were kept as uint8; returns the data set.

    Up to 10,000 images, evenly spread, are looked at; the first bright pixel ends the search.
    """
    count = min(_MOST_IMAGES, len(dataset))
    chosen = np.arange(count, dtype=np.int64) * len(dataset) // max(1, count)
    # the first image alone settles most files
    edges = [0, *range(1, count, _BATCH), count]
    brightest = 0
    for start, end in itertools.pairwise(edges):
        try:
            images = dataset.store.read(chosen[start:end])
        except OSError:  # a damaged part is named to whoever reads it
            continue
        brightest = max(brightest, int(images.max(initial=0)))
        if brightest >= DARK:
            return dataset
    looked_at = f"{count:,} images" if count == len(dataset) else f"{count:,} of {len(dataset):,} images"
    warnings.warn(
        f"{dataset.source}: the brightest pixel of {looked_at} is {brightest}, and 255 is taken for white, so all of "
        "them are nearly black; where the pixels were in 0..1 or a few levels, stretch them to 0..255 and save them "
        "again",
        stacklevel=3,
    )
    return dataset
