"""What is watched while an agent of the study learns: its returns, how far updates go, what its first layer becomes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

_WINDOWS = 40
_LOOKED_AT = 512
"""Observations of the first rollout that the first layer is looked at on."""


class LearningCurve(BaseCallback):
    """Returns and successes of the episodes that end while an agent learns, in equal windows of steps.

    Args:
        total: steps of the whole training.
        on_steps: called with the number of steps taken since its last call.
        clock: seconds since the training began.
    """

    def __init__(self, total: int, on_steps: Callable[[int], None], clock: Callable[[], float]) -> None:
        super().__init__()
        self._total, self._on_steps, self._told, self._clock = total, on_steps, 0, clock
        self._episodes: list[list[tuple[float, bool]]] = [[] for _ in range(_WINDOWS)]
        self._begun = [0.0]

    def _on_step(self) -> bool:
        window = min((self.num_timesteps - 1) * _WINDOWS // self._total, _WINDOWS - 1)
        while len(self._begun) <= window:
            self._begun.append(self._clock())
        self._episodes[window] += [
            (info["episode"]["r"], bool(info["is_success"])) for info in self.locals["infos"] if "episode" in info
        ]
        done = min(self.num_timesteps, self._total)
        self._on_steps(done - self._told)
        self._told = done
        return True

    def windows(self) -> list[tuple[int, float, float, int]]:
        """Steps at the end, mean return, share of successes and number of episodes of each window that has any."""
        return [
            (
                (place + 1) * self._total // _WINDOWS,
                float(np.mean([episode[0] for episode in episodes])),
                float(np.mean([episode[1] for episode in episodes])),
                len(episodes),
            )
            for place, episodes in enumerate(self._episodes)
            if episodes
        ]

    def seconds(self) -> list[float]:
        """Seconds of training at the end of each window that `windows` gives; call it when the training has ended.

        Learning from what a window's last steps showed counts for the next window, but for the last one of all.
        """
        ends = [*self._begun[1:], self._clock()]
        return [round(second, 2) for second, episodes in zip(ends, self._episodes, strict=False) if episodes]


UPDATES = ("approx_kl", "clip_fraction", "explained_variance")
"""What is kept of every update of PPO, as Stable-Baselines3 logs it: how far the policy moved, in nats, the share of
probability ratios beyond the clipping range, both in the last of its epochs, and how well returns were foretold."""


class UpdateSizes(BaseCallback):
    """What `UPDATES` names, after every update of an agent that logs it."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, list[float | None]] = {}
        """Name -> a value per update; None where it is not a number, as with returns that are all the same."""

    def _keep(self) -> None:
        logged = self.logger.name_to_value
        for name in UPDATES:
            if f"train/{name}" in logged:
                value = float(logged[f"train/{name}"])
                self.values.setdefault(name, []).append(float(f"{value:.5g}") if np.isfinite(value) else None)

    def _on_rollout_start(self) -> None:
        self._keep()  # what the update before it has logged, which the log is emptied of before the next

    def _on_training_end(self) -> None:
        self._keep()

    def _on_step(self) -> bool:
        return True


class FirstLayer(BaseCallback):
    """How far the outputs of the first dense layer of a policy move while it learns, where it learns from rollouts.

    They are compared on what the untrained policy saw in its first rollout.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, float] = {}
        """input_l1: mean L1 norm of what the layer is shown before anything was learned, by which a step of Adam at a
        small rate moves its outputs at most, in rates. moved: root mean square change of these outputs from before
        learning to its end, over their standard deviation before (pooled over observations and neurons)."""
        self._observations: Tensor | None = None
        self._outputs: Tensor | None = None

    def _looked_at(self) -> tuple[Tensor, Tensor] | None:
        policy = self.model.policy
        if self._observations is None or not isinstance(policy, ActorCriticPolicy):
            return None
        with torch.no_grad():
            shown = policy.extract_features(self._observations, policy.pi_features_extractor)
            assert isinstance(shown, Tensor)
            return shown, policy.mlp_extractor.policy_net[:2](shown)

    def _on_rollout_end(self) -> None:
        if self._observations is not None or not isinstance(self.locals.get("rollout_buffer"), RolloutBuffer):
            return
        observations = self.locals["rollout_buffer"].observations
        if isinstance(observations, dict):
            return
        seen = observations.reshape(-1, *observations.shape[2:])  # (steps, environments, ...)
        chosen = np.linspace(0, len(seen) - 1, min(_LOOKED_AT, len(seen)), dtype=np.int64)
        self._observations = torch.as_tensor(seen[chosen], device=self.model.device)
        if (before := self._looked_at()) is not None:
            shown, self._outputs = before
            self.found["input_l1"] = float(f"{shown.abs().flatten(1).sum(1).mean():.5g}")

    def _on_training_end(self) -> None:
        after = self._looked_at()
        if after is None or self._outputs is None:
            return
        before = self._outputs
        spread = (before - before.mean(0)).square().mean().sqrt()
        if spread > 0:
            self.found["moved"] = float(f"{(after[1] - before).square().mean().sqrt() / spread:.5g}")

    def _on_step(self) -> bool:
        return True
