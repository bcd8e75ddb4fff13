"""save_agent and load_agent: a trained agent together with all that its observations depend on, in one file."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecEnvWrapper,
    VecNormalize,
    unwrap_vec_normalize,
)

from rl.agent_archive import AgentArchive
from rl.around_codes import changes_actions, require_harmless
from rl.copied_observation import CopiedObservation
from rl.features_extractor import LatentExtractor
from rl.latent_encoding import LatentOptions
from rl.normalization import Normalization
from rl.observation import LatentObservation, VecLatentObservation
from rl.recoded_codes import RecodedCodes, require_raw_codes
from rl.recoding import described
from rl.spaces import is_image_space
from sparse_repr import FrozenEncoder

_NO_BUFFER: dict[str, Any] = {
    "buffer_size": 1,
    "replay_buffer_class": None,
    "replay_buffer_kwargs": {},
    "optimize_memory_usage": False,
}


def save_agent(path: str | os.PathLike[str], model: BaseAlgorithm) -> Path:
    """Write an agent, its encoder, how it is wrapped and its VecNormalize statistics into one file, atomically.

    An agent's own zip knows nothing of the wrapper it was trained in: with another encoder of equal code size it would
    load, run and be wrong. Replay buffers are not in the file, as in SB3's own.

    Args:
        path: must end in ``.zip``.
        model: with its environment, in which codes come from `VecLatentObservation`, `LatentObservation` or from a
            `LatentExtractor` in the policy.

    Returns:
        The path.

    Raises:
        TypeError: not a model, or not a path.
        ValueError: another ending; no environment; no codes; a wrapper around the codes that cannot be rebuilt; an
            algorithm that is defined in a function; or codes that `VecNormalize` changes before a `RecodedCodes` sees
            them.
    """
    if not isinstance(model, BaseAlgorithm) or not isinstance(path, str | os.PathLike):
        raise TypeError(
            "save_agent needs a path that ends in .zip and a model of Stable-Baselines3, got "
            f"{type(path).__name__} and {type(model).__name__}"
        )
    target = Path(path)
    if target.suffix != ".zip":
        raise ValueError(f"save_agent needs a path that ends in .zip, got {target}")
    venv, encoder, found = require_saveable(model)
    if type(model).__module__ == "__main__":
        warnings.warn(
            f"save_agent: {type(model).__qualname__} is defined in the script that runs, so that no other program can "
            "load the agent: define it in a module of its own",
            stacklevel=2,
        )
    content = io.BytesIO()
    with _carrying_dictionary(model):
        model.save(content)
    normalized = unwrap_vec_normalize(venv)
    AgentArchive(
        algorithm=f"{type(model).__module__}:{type(model).__qualname__}",
        model=content.getvalue(),
        encoder=encoder,
        wrapper=None if found is None else _portable(found),
        normalization=None if normalized is None else Normalization.of(normalized),
        environment=_environment_id(venv),
        changes_actions=changes_actions(venv),
    ).write(target)
    return target


def require_saveable(model: BaseAlgorithm) -> tuple[VecEnv, FrozenEncoder, LatentOptions | None]:
    """What `save_agent` needs of an agent: its environment, the encoder, and the wrapper's options, if it has one.

    Raises:
        ValueError: as `save_agent`.
    """
    venv = model.get_env()
    if venv is None:
        raise ValueError(
            "save_agent needs a model with its environment, which tells how codes are made: model.set_env(...) first"
        )
    found = codes_wrapping(venv)
    encoder = _encoder_in_policy(model) if found is None else found[0]
    if encoder is None:
        raise ValueError(
            "save_agent needs an agent that observes codes, but neither its environment is wrapped in "
            f"VecLatentObservation nor does its policy have a LatentExtractor: use {type(model).__name__}.save"
        )
    require_raw_codes(model)
    _require_importable(type(model))
    return venv, encoder, None if found is None else found[1]


def load_agent(
    path: str | os.PathLike[str],
    env: str | gym.Env[Any, Any] | VecEnv | None = None,
    *,
    training: bool = True,
    device: str = "auto",
    encoder_device: str = "cpu",
    custom_objects: Mapping[str, Any] | None = None,
    **overrides: Any,
) -> tuple[BaseAlgorithm, VecEnv | None]:
    """Load what `save_agent` wrote, and wrap an environment as the agent was trained.

    The SB3 model inside holds pickles, which can run code: load only agents you trust. All else is plain data.

    The environment keeps the seed it was given, if any: Stable-Baselines3's own `load` gives it that of the agent, so
    that an evaluation would begin with the episodes of the training.

    Args:
        path: the file.
        env: an environment id, an environment or a VecEnv that shows images, as when training; or one that is wrapped
            already, with the same encoder and options. A `VecNormalize` around it is replaced by the saved one.
        training: False keeps the statistics of `VecNormalize` as they are and shows rewards as they are.
        device: where the policy computes.
        encoder_device: where the wrapper encodes.
        custom_objects: as in SB3's `load`: what takes the place of what the file holds of that name, for what another
            version of Python or of a package cannot read, such as a schedule.
        **overrides: attributes of the algorithm to set, as in SB3's `load`, such as ``tensorboard_log=None``, or
            ``buffer_size=1`` for an agent that only acts: a replay buffer of pictures may need many gigabytes.

    Returns:
        The agent, and the environment it observes: always use this one, not the one you gave. None without `env`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or incomplete; the environment is wrapped in another encoder or with other
            options; its observations are not those of the agent. Expected and found are named.
    """
    place = Path(path)
    archive = AgentArchive.read(place)
    algorithm = _algorithm(archive.algorithm, place)
    made = None if env is None else _vectorised(env)
    with contextlib.ExitStack() as unless_loaded:
        if made is not None and isinstance(env, str):
            unless_loaded.callback(made.close)
        venv = None if made is None else _observed(made, archive, place, training, encoder_device)
        model = _loaded(algorithm, archive, venv, device, dict(custom_objects or {}), overrides)
        unless_loaded.pop_all()
    return model, model.get_env()


def load_to_act(path: str | os.PathLike[str], env: VecEnv) -> tuple[BaseAlgorithm, VecEnv]:
    """As `load_agent` on the CPU, of an agent that only acts: statistics stay, and there is no replay buffer.

    Raises:
        FileNotFoundError, ValueError: as `load_agent`.
    """
    place = Path(path)
    archive = AgentArchive.read(place)
    algorithm = _algorithm(archive.algorithm, place)
    venv = _observed(env, archive, place, training=False, encoder_device="cpu")
    model = _loaded(algorithm, archive, venv, "cpu", {}, {}, acts_only=True)
    observed = model.get_env()
    assert observed is not None  # it was given one
    return model, observed


def model_of(archive: AgentArchive, path: Path, *, device: str) -> BaseAlgorithm:
    """The agent of a file that was read already, without an environment, to act only; `path` is for errors."""
    return _loaded(_algorithm(archive.algorithm, path), archive, None, device, {}, {}, acts_only=True)


def _loaded(
    algorithm: type[BaseAlgorithm],
    archive: AgentArchive,
    venv: VecEnv | None,
    device: str,
    custom_objects: dict[str, Any],
    overrides: Mapping[str, Any],
    *,
    acts_only: bool = False,
) -> BaseAlgorithm:
    """The agent of an archive, in an environment that keeps its seed; one that only acts gets no replay buffer."""
    replaced = {**({} if archive.wrapper is not None else _policy_with(archive)), **custom_objects}
    base: Any = None if venv is None else venv.unwrapped
    seeds = getattr(base, "_seeds", None)
    if acts_only and issubclass(algorithm, OffPolicyAlgorithm):
        # a buffer of pictures may be larger than the memory of this machine, and HER's needs an environment
        overrides = {**_NO_BUFFER, **overrides}
    try:
        model = algorithm.load(io.BytesIO(archive.model), env=venv, device=device, custom_objects=replaced, **overrides)
    except AssertionError as error:
        if "HerReplayBuffer" not in str(error):
            raise
        raise ValueError(
            "load_agent needs env= for an agent that learned with HerReplayBuffer, whose goals it relabels; or, to act "
            "only, replay_buffer_class=None, replay_buffer_kwargs={}"
        ) from error
    if seeds is not None:
        base._seeds = seeds
    return model


def codes_wrapping(venv: VecEnv) -> tuple[FrozenEncoder, LatentOptions] | None:
    """Encoder and options of the wrapper in `venv` that makes codes; None where there is none.

    Raises:
        ValueError: something around it that may change observations or actions, or several encoders or options: it
            could not be rebuilt.
    """
    around: list[VecEnvWrapper] = []
    while isinstance(venv, VecEnvWrapper) and not isinstance(venv, VecLatentObservation):
        around.append(venv)
        venv = venv.venv
    if isinstance(venv, VecLatentObservation):
        require_harmless(venv, around)
        return venv.encoder, venv.latent_options
    if not all(venv.env_is_wrapped(LatentObservation)):
        return None
    require_harmless(venv, around)
    encoders: list[FrozenEncoder] = venv.get_attr("encoder")
    options: list[LatentOptions] = venv.get_attr("latent_options")
    told = {str(each.meaning()): str(each) for each in options}
    different: dict[str, dict[Any, str]] = {"encoder": {each: str(each) for each in encoders}, "set of options": told}
    for kind, values in different.items():
        if len(values) > 1:
            raise ValueError(f"an agent needs one {kind} in all environments, got {sorted(values.values())}")
    return encoders[0], options[0]


def _encoder_in_policy(model: BaseAlgorithm) -> FrozenEncoder | None:
    extractors = (module for module in model.policy.modules() if isinstance(module, LatentExtractor))
    return next((extractor.encoder for extractor in extractors), None)


@contextlib.contextmanager
def _carrying_dictionary(model: BaseAlgorithm) -> Iterator[None]:
    """While it is saved, the dictionary that the policy shows stands in place of its file's path.

    So the agent's file needs no other; the mapping that the user gave stays as it is.
    """
    given = model.policy_kwargs
    fitted = _fitted_dictionary(model)
    if fitted is not None:
        extractor = {**given["features_extractor_kwargs"], "recode": fitted}
        model.policy_kwargs = {**given, "features_extractor_kwargs": extractor}
    try:
        yield
    finally:
        model.policy_kwargs = given


def _fitted_dictionary(model: BaseAlgorithm) -> dict[str, Any] | None:
    """Settings and content of the dictionary that the policy was given as a file; None where it was not."""
    extractor = (model.policy_kwargs or {}).get("features_extractor_kwargs") or {}
    if extractor.get("recode") is None or isinstance(extractor["recode"], Mapping):
        return None
    for module in model.policy.modules():
        if isinstance(module, LatentExtractor | RecodedCodes) and module.recoding_settings is not None:
            # what was read when the policy was made: the file may have been written again, or be gone
            return dict(module.recoding_settings) if "artefact" in module.recoding_settings else None
    return None


def _portable(options: LatentOptions) -> dict[str, Any]:
    """The options apart from the device, which is a matter of the machine."""
    return {name: value for name, value in options.arguments().items() if name != "device"}


def _environment_id(venv: VecEnv) -> str | None:
    base = venv.unwrapped
    # other processes are not asked: one that cannot send its spec would die of the question
    spec = base.envs[0].spec if isinstance(base, DummyVecEnv) else None
    return None if spec is None else spec.id


def _require_importable(algorithm: type[BaseAlgorithm]) -> None:
    """Refuse a class that no process can import."""
    if "<locals>" in algorithm.__qualname__:
        raise ValueError(
            f"save_agent needs an algorithm that load_agent can import, got {algorithm.__qualname__}, which is defined "
            "in a function: define it in a module"
        )


def _algorithm(name: str, path: Path) -> type[BaseAlgorithm]:
    module, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        remedy = "define it in a module of its own, and save again" if module == "__main__" else "install its package"
        raise ValueError(f"{path}: the algorithm {name} cannot be imported ({error}): {remedy}") from error
    if not (isinstance(found, type) and issubclass(found, BaseAlgorithm)):
        raise ValueError(f"{path}: expected a Stable-Baselines3 algorithm, found {name}")
    return found


def _vectorised(env: str | gym.Env[Any, Any] | VecEnv) -> VecEnv:
    if isinstance(env, str):
        return make_vec_env(env, wrapper_class=CopiedObservation)
    if isinstance(env, VecEnv):
        return env
    if not isinstance(env, gym.Env):
        raise TypeError(f"load_agent needs an environment, a VecEnv or an id, got {type(env).__name__}")
    return DummyVecEnv([lambda: CopiedObservation(Monitor(env))])


def _observed(venv: VecEnv, archive: AgentArchive, path: Path, training: bool, encoder_device: str) -> VecEnv:
    """The environment as the agent observed it in training."""
    if isinstance(venv, VecNormalize):
        venv = venv.venv
        if archive.normalization is None:
            raise ValueError(f"{path}: the agent was trained without VecNormalize, found one around the environment")
    if unwrap_vec_normalize(venv) is not None:
        raise ValueError(f"{path}: found a VecNormalize inside of other wrappers: give the environment without it")
    found = codes_wrapping(venv)
    if archive.wrapper is None:
        if found is not None:
            raise ValueError(f"{path}: the agent takes images, found an environment that is wrapped to show codes")
    elif found is None:
        venv = VecLatentObservation(venv, archive.encoder, **archive.wrapper, device=encoder_device)
    else:
        _require_same(found, archive.encoder, archive.wrapper, path)
    if archive.normalization is None:
        return venv
    return archive.normalization.wrap(venv, training=training, origin=f"{path}, normalization")


def _require_same(
    found: tuple[FrozenEncoder, LatentOptions], encoder: FrozenEncoder, wrapper: Mapping[str, Any], path: Path
) -> None:
    if found[0] != encoder:
        raise ValueError(
            f"{path}: expected an environment wrapped in {encoder!r}, on whose codes the agent was trained, found "
            f"{found[0]!r}; give the environment without wrapper"
        )
    options = found[1].meaning()
    names = [*options, *(name for name in ("recode",) if name in wrapper and name not in options)]
    differing = [name for name in names if options.get(name) != wrapper.get(name)]
    if differing:
        raise ValueError(
            f"{path}: expected an environment wrapped with "
            + ", ".join(f"{name}={_in_words(wrapper.get(name))}" for name in differing)
            + ", found "
            + ", ".join(f"{name}={_in_words(options.get(name))}" for name in differing)
            + "; give the environment without wrapper"
        )


def _in_words(option: Any) -> str:
    return repr(described(option) if isinstance(option, Mapping) else option)


def _policy_with(archive: AgentArchive) -> dict[str, Any]:
    """`custom_objects` that give the policy the bundled encoder, where its zip knows a path that may be gone."""
    data, _, _ = load_from_zip_file(io.BytesIO(archive.model), device="cpu")
    policy = dict((data or {}).get("policy_kwargs") or {})
    extractor = policy.get("features_extractor_kwargs") or {}
    if "encoder" not in extractor:
        return {}
    replaced = {**extractor, "encoder": archive.encoder}
    seen = (data or {}).get("observation_space")
    if isinstance(seen, gym.spaces.Dict):
        # agents of earlier versions were not asked which pictures are features as they are
        named = extractor.get("image_keys") or ()
        replaced["raw_keys"] = [key for key, space in seen.items() if key not in named and is_image_space(space)]
    return {"policy_kwargs": {**policy, "features_extractor_kwargs": replaced}}
