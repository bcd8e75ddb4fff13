"""SaveAgent: a callback that writes whole agents while they are trained."""

from __future__ import annotations

import os

from stable_baselines3.common.callbacks import BaseCallback

from rl.agents import require_saveable, save_agent

_STEPS = "{steps}"


class SaveAgent(BaseCallback):
    """Write the agent by `save_agent` whenever it is called: with its encoder, wrapper and `VecNormalize` statistics.

    What `EvalCallback` and `CheckpointCallback` write has none of these. Give it to a callback that decides when:
    ``EvalCallback(check, callback_on_new_best=SaveAgent("best.zip"))`` or
    ``EveryNTimesteps(10_000, SaveAgent("agent-{steps}.zip"))``. By itself it would write at every step.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Take the place.

        Args:
            path: ends in ``.zip``; ``{steps}`` in it becomes the number of steps. A file that is there is replaced.

        Raises:
            ValueError: another ending.
        """
        super().__init__()
        self._path = os.fspath(path)
        if not self._path.endswith(".zip"):
            raise ValueError(f"SaveAgent needs a path that ends in .zip, got {self._path}")

    def _init_callback(self) -> None:
        """Look whether the agent can be saved, before it is trained.

        Raises:
            ValueError: as `save_agent`.
        """
        require_saveable(self.model)

    def _on_step(self) -> bool:
        save_agent(self._path.replace(_STEPS, str(self.num_timesteps)), self.model)
        return True
