"""AgentGraph: encoder and deterministic policy as one torch module, from the raw image to the action."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, VecTransposeImage, unwrap_vec_wrapper
from torch import Tensor, nn

from rl.agents import codes_wrapping
from rl.features_extractor import LatentExtractor
from rl.latent_encoding import LatentOptions
from rl.normalization import Normalization
from rl.observation import LatentObservation, VecLatentObservation
from rl.recoded_codes import require_raw_codes
from rl.spaces import frame_shape
from sparse_repr import FrozenEncoder

# The part of an off-policy agent that acts; critics and target networks stay behind.
_ACTING_PARTS = ("actor", "q_net", "quantile_net")


class AgentGraph(nn.Module):
    """What `model.predict(observation, deterministic=True)` does, from the raw image on, without gradients, on the CPU.

    It shares nothing that can change with the model. Arguments and errors are those of `rl.export.export_agent`.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        model: BaseAlgorithm,
        *,
        encoder: FrozenEncoder | None = None,
        latent_options: LatentOptions | None = None,
        image_shape: Sequence[int] | None = None,
        vec_normalize: VecNormalize | Normalization | None = None,
    ) -> None:
        """Take the agent apart."""
        super().__init__()
        require_memoryless(model.policy, "export_agent")
        require_raw_codes(model)
        seen = model.observation_space
        if not isinstance(seen, gym.spaces.Box):
            raise TypeError(f"export_agent needs an agent that observes one Box, got {seen}")
        normalisation = _normalisation(vec_normalize or model.get_vec_normalize_env())
        if len(seen.shape) >= 3:
            if encoder is not None or latent_options is not None:
                raise TypeError(f"export_agent: this agent observes images {seen.shape} itself: leave encoder out")
            if normalisation is not None:
                raise ValueError("export_agent: VecNormalize changes the images; give it norm_obs=False")
            shape = tuple(image_shape or _untransposed_shape(model.get_env()) or seen.shape)
            self._observe = nn.Sequential(*_transposition(shape, seen.shape))
            self.image_dtype = seen.dtype
        else:
            encoder, options = _encoder_of(model, encoder, latent_options)
            found = _wrapped_shape(model.get_env())
            if image_shape is None and found is None:
                raise ValueError(
                    "export_agent needs image_shape=(H, W, C) or (C, H, W): the model has no environment that tells it"
                )
            frame = tuple(image_shape or found or ())
            encoder.preprocessing.layout_of(frame_shape(frame))
            shape = frame if options.n_stack == 1 else (options.n_stack, *frame)
            self._observe = nn.Sequential(_Codes(encoder, options))
            if normalisation is not None:
                self._observe.append(normalisation)
            self.image_dtype = np.dtype(np.uint8)
        self.image_shape = shape
        """Of one raw image, or of the `n_stack` last ones, oldest first."""
        self._acting = _acting_part(model.policy)
        extractors = [module for module in self._acting.modules() if isinstance(module, LatentExtractor)]
        own = (module.encoder for module in extractors if module.trainable_encoder is None)
        self.encoder = encoder or next(own, None)
        """Frozen encoder in the graph; None where the agent has none, or has trained its own."""
        self._squashed = model.policy.squash_output
        space = model.action_space
        self._action_shape = space.shape or ()
        self._bounded = isinstance(space, gym.spaces.Box)
        if isinstance(space, gym.spaces.Box):
            self.register_buffer("low", torch.as_tensor(space.low))
            self.register_buffer("high", torch.as_tensor(space.high))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Raw images (B, *image_shape) -> actions (B, ...) in the action space's own range."""
        actions = self._acting._predict(self._observe(images), deterministic=True).reshape(-1, *self._action_shape)
        if self._squashed:
            return self.low + 0.5 * (actions + 1) * (self.high - self.low)
        return actions.clamp(self.low, self.high) if self._bounded else actions

    def trace(self) -> torch.export.ExportedProgram:
        """The graph as torch sees it, for any batch size."""
        example = torch.from_numpy(np.zeros((2, *self.image_shape), self.image_dtype))
        with torch.no_grad(), _unvalidated_distributions():
            program = torch.export.export(
                self, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False
            )
        # frozen encoders keep their weights in channels-last order, which torch.export.save takes for views
        for held in (program.state_dict, program.constants):
            held.update({name: value.contiguous() for name, value in held.items() if isinstance(value, Tensor)})
        return program


class _Transposed(nn.Module):
    """Images (B, H, W, C) -> (B, C, H, W), as `VecTransposeImage` does."""

    def forward(self, images: Tensor) -> Tensor:
        return images.permute(0, 3, 1, 2)


class _Codes(nn.Module):
    """Raw images (B, ...) or (B, n_stack, ...) -> codes (B, F), as the observation wrappers give them."""

    def __init__(self, encoder: FrozenEncoder, options: LatentOptions) -> None:
        super().__init__()
        self._encoder, self._n_stack, self._features = encoder, options.n_stack, options.features(encoder)

    def forward(self, images: Tensor) -> Tensor:
        frames = images if self._n_stack == 1 else images.flatten(0, 1)
        if frames.ndim == 5:  # of stacks of one picture, as `frame_shape` has them
            frames = frames.squeeze(1)
        return self._features.torch(*self._encoder.posterior(frames)).reshape(images.shape[0], -1)


class _Normalisation(nn.Module):
    """The statistics of a `VecNormalize`, fixed; in double precision as there."""

    mean: Tensor
    deviation: Tensor
    _limit: float

    def __init__(self, normalization: Normalization) -> None:
        super().__init__()
        found = normalization.arrays
        self.register_buffer("mean", torch.as_tensor(found["observation_mean"]).clone())
        deviation = np.sqrt(found["observation_variance"] + found["epsilon"])
        self.register_buffer("deviation", torch.as_tensor(deviation))
        self._limit = float(found["clip_obs"])

    def forward(self, codes: Tensor) -> Tensor:
        return ((codes - self.mean) / self.deviation).clamp(-self._limit, self._limit).to(torch.float32)


def _normalisation(found: VecNormalize | Normalization | None) -> _Normalisation | None:
    """What normalises observations; None where nothing does."""
    if found is None:
        return None
    state = Normalization.of(found) if isinstance(found, VecNormalize) else found
    return _Normalisation(state) if state.settings["norm_obs"] else None


def require_memoryless(policy: BasePolicy, name: str) -> None:
    """Refuse policies whose action needs more than the observation, and those that do not compute in torch.

    Raises:
        TypeError: it does; `name` is who needs it otherwise.
    """
    if next(policy.parameters(), None) is None:
        raise TypeError(
            f"{name} needs a policy that computes in torch, but {type(policy).__module__}.{type(policy).__name__} has "
            "no parameter there"
        )
    needs = set(inspect.signature(policy._predict).parameters) - {"observation", "obs", "deterministic"}
    if needs:
        raise TypeError(
            f"{name} needs a policy that acts on the observation alone, but {type(policy).__name__} also takes "
            f"{', '.join(sorted(needs))}"
        )


def _acting_part(policy: BasePolicy) -> BasePolicy:
    """A copy on the CPU, without gradients, of what chooses the action."""
    acting: BasePolicy = next((getattr(policy, name) for name in _ACTING_PARTS if hasattr(policy, name)), policy)
    # distributions keep tensors of the last training step, which refuse a deep copy; each action makes its own
    kept = [module.action_dist for module in acting.modules() if hasattr(module, "action_dist")]
    part = copy.deepcopy(acting, {id(distribution): copy.copy(distribution) for distribution in kept})
    for unused in ("value_net", "vf_features_extractor"):
        if hasattr(part, unused):
            setattr(part, unused, nn.Identity())
    part.to("cpu").requires_grad_(False).set_training_mode(False)
    # once in earnest: an extractor verifies its encoder and the range of the images at its first batch
    space = part.observation_space
    assert space.shape is not None
    with torch.no_grad():
        part._predict(torch.from_numpy(np.zeros((1, *space.shape), space.dtype)), deterministic=True)
    return part


@contextmanager
def _unvalidated_distributions() -> Iterator[None]:
    """Distributions check their arguments by value, which a traced graph cannot."""
    before = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(before)


def _untransposed_shape(env: VecEnv | None) -> tuple[int, ...] | None:
    """The shape of one image before SB3 brought the channels to the front."""
    transposed = None if env is None else unwrap_vec_wrapper(env, VecTransposeImage)
    return None if transposed is None else transposed.venv.observation_space.shape


def _transposition(raw: tuple[int, ...], seen: tuple[int, ...]) -> list[nn.Module]:
    if raw == seen:
        return []
    if len(raw) == 3 and (raw[2], *raw[:2]) == seen:
        return [_Transposed()]
    raise ValueError(f"export_agent: images of shape {raw} do not fit an agent that observes {seen}")


def _encoder_of(
    model: BaseAlgorithm, encoder: FrozenEncoder | None, options: LatentOptions | None
) -> tuple[FrozenEncoder, LatentOptions]:
    """What made the codes that the agent observes."""
    seen, env = model.observation_space.shape, model.get_env()
    found = None if env is None else codes_wrapping(env)
    if encoder is None:
        if options is not None:
            raise TypeError("export_agent takes latent_options beside encoder; a wrapper has its own")
        if found is None:
            raise ValueError(
                f"export_agent: the agent observes {seen}, and no LatentObservation or VecLatentObservation was found "
                "in its environment: give the file that save_agent wrote, and image_shape=, or load it with env=, "
                "or give encoder=, image_shape=, and latent_options= and vec_normalize= as it was trained"
            )
        encoder, options = found
    options = (options or LatentOptions()).resolved(encoder)
    if found is not None and (encoder, options.meaning()) != (found[0], found[1].meaning()):
        raise ValueError(
            f"export_agent: the agent's environment is wrapped in {found[0]!r} with {found[1]}, given were {encoder!r} "
            f"with {options}: leave encoder and latent_options out"
        )
    made = options.code_space(encoder)
    if seen != made.shape:
        raise ValueError(
            f"export_agent: the agent observes {seen}, but {encoder!r} with {options} gives {made.shape}: "
            "latent_options says what its wrapper did"
        )
    if getattr(model.observation_space, "made_by", made.made_by) != made.made_by:
        raise ValueError(f"export_agent: the agent observes {model.observation_space}, given was what makes {made}")
    return encoder, options


def _wrapped_shape(env: VecEnv | None) -> tuple[int, ...] | None:
    """The shape of one image below the observation wrapper."""
    if env is None:
        return None
    vectorised = unwrap_vec_wrapper(env, VecLatentObservation)
    if vectorised is not None:
        return vectorised.venv.observation_space.shape
    shape: tuple[int, ...] | None = (
        env.get_attr("image_space")[0].shape if all(env.env_is_wrapped(LatentObservation)) else None
    )
    return shape
