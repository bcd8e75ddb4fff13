"""RecodedCodes: a features extractor that recodes the codes an agent observes, so that replay buffers hold codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import unwrap_vec_normalize
from torch import Tensor

from rl.code_recoding import CodeRecoding
from rl.recoding import Recode, fitted_digest, require_same_fit
from rl.spaces import require_named
from sparse_repr.encoder import UnitStatistics


class RecodedCodes(BaseFeaturesExtractor):
    """What ``recode=`` of a wrapper shows, made in the policy from the codes that the wrapper shows without it.

    For algorithms with a replay buffer: it then holds 8 bytes per unit and step, where recoded observations take as
    many per value, twenty times more for `expand`. On-policy algorithms recode each observation once per epoch this
    way, and once with ``recode=`` of the wrapper.

    The statistics come from the space of the codes, which has them from the encoder's artefact, so that the agent's
    file needs nothing else. `VecNormalize` must leave the codes as they are: ``norm_obs=False``.

    Example:
        >>> from rl.code_space import CodeSpace
        >>> from sparse_repr import untrained_encoder
        >>> codes = CodeSpace(untrained_encoder(channels=1), n_stack=2)
        >>> RecodedCodes(codes, recode="expand")(torch.zeros(3, 20)).shape
        torch.Size([3, 400])
    """

    def __init__(self, observation_space: gym.Space[Any], recode: Recode, *, raw_keys: Sequence[str] = ()) -> None:
        """Read the statistics of the codes.

        Args:
            observation_space: of `LatentObservation` and its likes, without `code_scaling` and `recode`; in a Dict all
                that are no codes pass through, flattened.
            recode: as in `LatentObservation`.
            raw_keys: which of the others are pictures or grids that pass through as they are, a feature per value.

        Raises:
            TypeError: the space holds no codes of this package, or a picture that is not in `raw_keys`; or `recode` is
                neither a name nor a mapping with one.
            ValueError: the codes are scaled or recoded already, or as `CodeRecoding`.
        """
        named = observation_space.spaces if isinstance(observation_space, gym.spaces.Dict) else None
        parts = {"": observation_space} if named is None else named
        codes = {key: _Codes(space, recode) for key, space in parts.items() if hasattr(space, "units")}
        if not codes:
            raise TypeError(
                f"RecodedCodes needs an environment that shows codes, got observations {observation_space}: wrap it in "
                "LatentObservation, VecLatentObservation or make_latent_vec_env; for images take LatentExtractor"
            )
        passed = {key: space for key, space in parts.items() if key not in codes}
        require_named(passed, (), raw_keys, "RecodedCodes")
        others = [gym.spaces.utils.flatdim(space) for space in passed.values()]
        super().__init__(observation_space, features_dim=sum(part.width for part in codes.values()) + sum(others))
        self._codes = codes
        self._others = [key for key in parts if key not in codes]

    @property
    def recoding_settings(self) -> Mapping[str, Any] | None:
        """Name and settings of what stands in place of each code, with what was fitted."""
        return next((part.settings for part in self._codes.values()), None)

    def get_extra_state(self) -> Tensor:
        """The digest of a dictionary, uint8 (32,); zeros of a recoding that nothing was fitted for."""
        return torch.frombuffer(bytearray(fitted_digest(self.recoding_settings)), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Verify that the agent was saved with this dictionary.

        Raises:
            ValueError: it was saved with another one.
        """
        require_same_fit(bytes(state.cpu().tolist()), self.recoding_settings)

    def _load_from_state_dict(
        self, state: Any, prefix: str, metadata: Any, strict: bool, missing: Any, *rest: Any
    ) -> None:
        super()._load_from_state_dict(state, prefix, metadata, strict, missing, *rest)
        name = f"{prefix}_extra_state"
        if name in missing:  # agents that were saved before there was one
            missing.remove(name)

    def recodes(self, keys: Iterable[str]) -> bool:
        """Whether what is observed under some of these keys is recoded; "" is the key of what is no Dict."""
        return any(key in self._codes for key in keys)

    def forward(self, observations: Tensor | Mapping[str, Tensor]) -> Tensor:
        """Codes (B, n_stack * D), or a dict that holds some -> (B, features_dim)."""
        if isinstance(observations, Tensor):
            return self._codes[""](observations)
        parts = [part(observations[key]) for key, part in self._codes.items()]
        parts += [observations[key].flatten(1).to(parts[0].dtype) for key in self._others]
        return torch.cat(parts, dim=1)


def require_raw_codes(model: BaseAlgorithm) -> None:
    """Check that no `VecNormalize` changes the codes before a `RecodedCodes` of the policy standardises them.

    The extractor itself cannot tell: normalised codes are numbers as any others.

    Args:
        model: with its environment; without one nothing is checked.

    Raises:
        ValueError: one does.
    """
    venv = model.get_env()
    normalized = None if venv is None else unwrap_vec_normalize(venv)
    if normalized is None or not normalized.norm_obs:
        return
    keys = [""] if normalized.norm_obs_keys is None else normalized.norm_obs_keys
    for module in model.policy.modules():
        if isinstance(module, RecodedCodes) and module.recodes(keys):
            raise ValueError(
                "RecodedCodes standardises codes by the encoder's statistics, but VecNormalize has changed them "
                "before: make the environment with VecNormalize(..., norm_obs=False), or without normalize=True of "
                "make_latent_vec_env, and train the agent again"
            )


class _Codes:
    """Stacked codes (B, n_stack * F) -> the same recoded, frame by frame, float32 (B, width)."""

    def __init__(self, space: Any, recode: Recode) -> None:
        made_by = space.made_by
        if made_by["code_scaling"] != "none" or "recode" in made_by:
            raise ValueError(
                f"RecodedCodes needs codes as the encoder gives them, got {space}: leave code_scaling and recode of "
                "the wrapper out, the recoding standardises by itself"
            )
        units = UnitStatistics(**{name: tuple(values) for name, values in space.units.items()})
        self._recoding = CodeRecoding(units, recode, made_by["encoder"])
        self.settings: Mapping[str, Any] = self._recoding.settings
        self._code_size = len(space.units["mean"])
        self._n_stack = made_by["n_stack"]
        each = self._recoding.width + (self._code_size if made_by["include_log_variance"] else 0)
        self.width = self._n_stack * each

    def __call__(self, observed: Tensor) -> Tensor:
        frames = observed.reshape(observed.shape[0], self._n_stack, -1)
        codes, log_variances = frames.tensor_split((self._code_size,), dim=2)
        recoded = self._recoding.torch(codes)
        return torch.cat((recoded, log_variances), dim=2).flatten(1)
