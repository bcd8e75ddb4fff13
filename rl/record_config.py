"""RecordConfig: what `rl.record` is to record, and which of it a recording that goes on must share."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium as gym
import tyro

from rl.agent_policy import AgentPolicy
from rl.episodes import Policy
from rl.random_share import random_environments
from sparse_repr.command_line.bounds import require_types, take_plain_numbers
from sparse_repr.files.json_reader import parse_json

# as minari.dataset.minari_dataset.parse_dataset_id has it, with a version
_MINARI_NAME = re.compile(r"(?:[-_\w][-_\w/]*[-_\w]/)?[-_\w]+-v\d+")
# settings that say which frames to take, and their defaults
_OF_FRAMES = {"every": 1, "parallel": False, "render": False, "key": None}
_MOST = {"frames": 10**12, "every": 10**9, "envs": 10**4, "seed": 2**63 - 1}


@dataclasses.dataclass(frozen=True)
class RecordConfig:
    """What to record."""

    env: Annotated[str, tyro.conf.Positional]
    """Environment id; MODULE:ID imports MODULE first, e.g. envs:SparseRepr/SpriteReach-v0."""
    out: str
    """HDF5 file to write; pretrain on it with --dataset h5 --data-path FILE. With --format minari the name of a data
    set, NAMESPACE/NAME-v0; pretrain on it with --dataset minari --data-path NAME."""
    frames: int = 10_000
    """Number of frames."""
    every: int = 1
    """Record one of so many steps of each environment: neighbouring frames show nearly the same, and a score of codes
    on them counts the same picture many times."""
    envs: int = 8
    """Environments stepped together."""
    parallel: bool = False
    """Step each environment in a process of its own: worth it where one step takes milliseconds."""
    render: bool = False
    """Record render() frames (render_mode rgb_array) instead of observations."""
    key: str | None = None
    """Which entry of a Dict observation is the picture."""
    env_kwargs: str | None = None
    """Keyword arguments of the environment as a JSON object, e.g. '{"domain": "source"}'."""
    policy: str | None = None
    """MODULE:FUNCTION that turns batched observations into batched actions, or AGENT.zip, an agent that rl.save_agent
    wrote, which acts by its stochastic policy on what it was shown in training. It holds pickles, which can run code:
    give only agents you trust. By default actions are random."""
    random_share: float = 0.0
    """With a policy: share of the environments, the last ones, whose actions are random all the same, 0..1; with
    --format minari share of the episodes, evenly spread."""
    seed: int = 0
    """Seed of the environments and of the random actions."""
    format: Literal["hdf5", "minari"] = "hdf5"
    """hdf5: frames with their factors. minari: whole episodes with actions, rewards and infos, one after another, where
    Minari keeps its data sets (extra minari)."""
    resume: bool = False
    """Continue an interrupted recording as if nothing had happened; where there is none, start one."""
    overwrite: bool = False
    """Replace an existing file, or an interrupted recording."""
    progress: bool = True
    """Show a progress bar."""

    def __post_init__(self) -> None:
        take_plain_numbers(self)
        for name, most in _MOST.items():
            value, least = getattr(self, name), 0 if name == "seed" else 1
            if type(value) is not int or not least <= value <= most:
                raise ValueError(f"{name} needs a whole number in {least}..{most}, got {value!r}")
        if type(self.random_share) not in (int, float) or not 0 <= self.random_share <= 1:
            raise ValueError(f"random_share needs a number in 0..1, got {self.random_share!r}")
        require_types(self)
        if self.format == "minari":
            self._check_episodes()
        elif not Path(self.out).name or Path(self.out).is_dir():
            raise ValueError(f"out needs the name of a file, got {self.out!r}; for example frames.h5")
        else:
            random_environments(self.random_share, self.envs)
        if self.resume and self.overwrite:
            raise ValueError("resume keeps the frames recorded so far and overwrite drops them: give one of the two")
        if self.render and self.key is not None:
            raise ValueError("render records what the environment draws and key a part of what it observes: give one")
        self.env_arguments()

    def _check_episodes(self) -> None:
        """What a data set of whole episodes cannot have."""
        if not _MINARI_NAME.fullmatch(self.out):
            raise ValueError(
                f"out needs the name of a Minari data set, NAMESPACE/NAME-v0, got {self.out!r}; for example "
                "sprites/reach-v0"
            )
        given = [name for name, default in _OF_FRAMES.items() if getattr(self, name) != default]
        if given:
            raise ValueError(
                f"format minari records whole episodes as they are observed, one after another: leave {given[0]} out"
            )

    def env_arguments(self) -> dict[str, Any]:
        """The keyword arguments that the environment is made with."""
        # not passed unless asked for: some environments do not take it
        drawn = {"render_mode": "rgb_array"} if self.render else {}
        if self.env_kwargs is None:
            return drawn
        try:
            return {**parse_json(self.env_kwargs, "it", remedy="quote it for the shell"), **drawn}
        except ValueError as error:
            raise ValueError(
                f'env_kwargs needs a JSON object such as {{"domain": "source"}}, got {self.env_kwargs[:60]!r} ({error})'
            ) from error

    def settings(self) -> dict[str, Any]:
        """What must be the same for a recording to be continued."""
        kept = ["env", "frames", "render", "key", "policy", "seed"]
        # left out where it is not given: recordings of earlier versions can be continued
        kept += ["env_kwargs"] * (self.env_kwargs is not None) + ["every"] * (self.every != 1)
        kept += ["format"] * (self.format != "hdf5") + ["random_share"] * (self.random_share != 0)
        found = {name: getattr(self, name) for name in kept}
        agent = self.agent_path()
        # its place may change, and another agent may take its place
        return found if agent is None else {**found, "policy": f"agent {_fingerprint(agent)}"}

    def agent_path(self) -> Path | None:
        """The agent's file, where `policy` is one."""
        return Path(self.policy) if self.policy is not None and self.policy.endswith(".zip") else None

    def imported_policy(self) -> Policy | None:
        """The function that `policy` names; None where an agent acts, or actions are random."""
        return None if self.policy is None or self.agent_path() is not None else import_policy(self.policy)

    def loaded_agent(
        self, observation_space: gym.Space[Any], action_space: gym.Space[Any], environments: int
    ) -> Policy | None:
        """The agent in the file that `policy` is, for these spaces of one environment; None where it is none."""
        path = self.agent_path()
        if path is None:
            return None
        return AgentPolicy(
            path, observation_space=observation_space, action_space=action_space, environments=environments
        )

    def require_policy(self, policy: Policy | None) -> None:
        """Check that there is something that does not act at random, where a share is to.

        Args:
            policy: what was given beside this.

        Raises:
            ValueError: there is nothing.
        """
        if self.random_share and self.policy is None and policy is None:
            raise ValueError(
                f"random_share {self.random_share:g} needs a policy that acts in the rest; without --policy all "
                "actions are random: leave it out"
            )


def _fingerprint(agent: Path) -> str:
    if not agent.is_file():
        raise FileNotFoundError(f"no agent at {agent}: expected a file that save_agent wrote")
    return hashlib.sha256(agent.read_bytes()).hexdigest()


def import_policy(name: str) -> Policy:
    """The function that MODULE:FUNCTION names.

    Raises:
        ValueError: it cannot be imported, or is no function.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # importing runs the user's code
        raise ValueError(
            f"policy needs MODULE:FUNCTION that can be imported, or the .zip file of an agent, got {name!r} ({error})"
        ) from error
    if not callable(found):
        raise ValueError(f"policy needs a function (observations -> actions), {name!r} is {type(found).__name__}")
    imported: Policy = found
    return imported
