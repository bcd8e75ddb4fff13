"""Which part of a recording a random policy plays, where an agent plays the rest."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def random_environments(share: float, environments: int) -> npt.NDArray[np.bool_]:
    """The environments that act at random: the last ones, as many as come nearest to the share.

    Args:
        share: 0..1; 0 is none of them and 1 all.
        environments: how many there are.

    Returns:
        (environments,).

    Raises:
        ValueError: the share comes nearest to none or to all of them, and says otherwise.

    Example:
        >>> random_environments(0.5, 4).tolist()
        [False, False, True, True]
    """
    count = math.floor(share * environments + 0.5)
    if (count == 0 and share > 0) or (count == environments and share < 1):
        raise ValueError(
            f"random_share {share:g} of {environments} environments is {'none' if count == 0 else 'all'} of them: "
            f"record more environments (--envs), or ask for a share in {1 / environments:g}..{1 - 1 / environments:g}"
            if environments > 1
            else f"random_share {share:g} needs several environments (--envs), got {environments}"
        )
    return np.arange(environments) >= environments - count


def is_random_episode(share: float, number: int) -> bool:
    """Whether an episode acts at random, where episodes are recorded one after another; spread evenly.

    Example:
        >>> [is_random_episode(0.5, number) for number in range(4)]
        [False, True, False, True]
    """
    return math.floor(share * (number + 1)) > math.floor(share * number)
