"""The last codes of several environments side by side: what frame stacking is for agents that observe codes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.float32]
CodesByKey = dict[str, Codes]


class CodeStack:
    """The last `n_stack` codes of each of n environments, oldest first, for every image of the observation.

    At the start of an episode all places hold its first code. Zeros, as `VecFrameStack` fills in, would be a code that
    no picture has.
    """

    def __init__(self, n_stack: int) -> None:
        """Start empty: the first codes fill every place.

        Raises:
            ValueError: `n_stack` is not a whole number of at least 1.
        """
        if isinstance(n_stack, bool) or not isinstance(n_stack, int) or n_stack < 1:
            raise ValueError(f"n_stack needs a whole number of at least 1, got {n_stack!r}")
        self.n_stack = n_stack
        self._held: CodesByKey = {}  # each (n, k, F)

    def push(self, codes: CodesByKey, started: npt.NDArray[np.bool_]) -> CodesByKey:
        """Append the newest codes; where an episode has `started`, fill every place instead.

        Args:
            codes: each float32 (n, F).
            started: (n,).

        Returns:
            Each float32 (n, n_stack * F), a copy.
        """
        if self.n_stack == 1:
            return codes
        for key, newest in codes.items():
            filled = self._filled(newest)
            if key in self._held:
                moved = np.concatenate([self._held[key][:, 1:], newest[:, None]], axis=1)
                filled = np.where(started[:, None, None], filled, moved)
            self._held[key] = filled
        return self._stacked()

    def restart(self, codes: CodesByKey, started: npt.NDArray[np.bool_]) -> CodesByKey:
        """Fill every place where an episode has `started` and leave the others as they are; as in `push`."""
        if self.n_stack == 1:
            return codes
        for key, newest in codes.items():
            filled = self._filled(newest)
            kept = self._held.get(key, filled)
            self._held[key] = np.where(started[:, None, None], filled, kept)
        return self._stacked()

    def finals(self, codes: Mapping[str, Codes], rows: list[int]) -> CodesByKey:
        """The stacks that end in the final codes (m, F) of the environments `rows`: each (m, n_stack * F).

        To be asked before `push` starts the next episode of these environments.
        """
        if self.n_stack == 1:
            return dict(codes)
        return {
            key: np.concatenate([self._held[key][rows, 1:], last[:, None]], axis=1).reshape(len(last), -1)
            for key, last in codes.items()
        }

    def _filled(self, newest: Codes) -> Codes:
        return np.repeat(newest[:, None], self.n_stack, axis=1)  # (n, k, F)

    def _stacked(self) -> CodesByKey:
        # a copy, so that who normalises an observation in place does not reach into the next ones
        return {key: held.reshape(len(held), -1).copy() for key, held in self._held.items()}
