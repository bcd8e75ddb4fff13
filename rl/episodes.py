"""Environments that play the same from any moment on, so that an interrupted recording goes on exactly.

Every episode has a seed of its own. A moment is then told by which episode each environment plays and at which step
that began: from there the environments are played to the moment again, by the same actions.
"""

from __future__ import annotations

import copy
import itertools
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt


class EpisodePolicy(Protocol):
    """A policy that is told where episodes begin, and what to draw its actions by."""

    def act(self, observations: Any, *, started: npt.NDArray[np.bool_], seed: int) -> Any:
        """Batched observations -> batched actions; `started` (n,) says which are the first of an episode.

        An interrupted recording goes on exactly if actions depend on `seed` and the observations of the episode alone;
        its first observation may come several times before the second one.
        """


Policy = Callable[[Any], Any] | EpisodePolicy
"""Batched observations of all environments -> batched actions."""
VectorEnv = gym.vector.SyncVectorEnv | gym.vector.AsyncVectorEnv

# Random actions are seeded anew after so many steps: so many are drawn in vain, at most, to come to a moment.
_SEEDED_STEPS = 256
# behind the step, so that policies draw by other seeds than random actions do
_OF_POLICIES = (0, 1)


class Start(NamedTuple):
    """Where one environment begins: what its seeds are made of, its first episode, and the steps until that begins."""

    seed: int
    stream: int
    place: int
    episode: int = 0
    wait: int = 0


class SeededEpisodes(gym.Wrapper[Any, Any, Any, Any]):
    """Give every episode a seed of its own, and hand out copies of pictures, and of the infos the factors alone.

    Copies: environments may draw all pictures into one array, even one that they share. Of the infos of others nothing
    is known: Gymnasium cannot put together all of them.

    Args:
        env: one environment.
        parent: process that steps the vector of environments.
    """

    def __init__(self, env: gym.Env[Any, Any], parent: int) -> None:
        super().__init__(env)
        self.start = Start(0, 0, 0)
        self._episode = 0
        self._shown: tuple[Any, dict[str, Any]] | None = None
        if os.getpid() != parent:
            # Ctrl-C reaches all processes of a terminal; the parent closes this one when it has saved
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode; with any seed, that of `start`."""
        if seed is not None or self._shown is None:
            self._episode = self.start.episode
        chosen = seed_of(self.start.seed, self.start.stream, self.start.place, self._episode)
        self._episode += 1
        observation, info = self.env.reset(seed=chosen, options=options)
        self._shown = copy.deepcopy(observation), self._kept(info)
        return self._shown

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """The next picture, or once more the first one while this environment waits."""
        if self.start.wait and self._shown is not None:
            self.start = self.start._replace(wait=self.start.wait - 1)
            return self._shown[0], 0.0, False, False, dict(self._shown[1])
        observation, reward, terminated, truncated, info = self.env.step(action)
        return copy.deepcopy(observation), reward, terminated, truncated, self._kept(info)

    def render(self) -> Any:
        """A copy of the picture that the environment draws."""
        return copy.deepcopy(self.env.render())

    def declared_factors(self) -> tuple[list[str], list[npt.NDArray[np.float64]], list[str]] | None:
        """Names of the factors and, as far as declared, edges of their bins and names of the nominal ones."""
        names = _declared(self.env, "factor_names")
        if names is None:
            return None
        edges = _declared(self.env, "factor_bins") or ()
        nominal = _declared(self.env, "nominal_factors") or ()
        if isinstance(edges, Mapping):
            edges = _in_order(edges, list(names))
        return list(map(str, names)), [_numbers(row) for row in edges], list(map(str, nominal))

    def _kept(self, info: dict[str, Any]) -> dict[str, Any]:
        return {"factors": np.array(info["factors"])} if "factors" in info else {}


def _in_order(edges: Mapping[str, Any], names: list[str]) -> list[Any]:
    if edges.keys() != set(names):
        raise ValueError(
            f"factor_bins needs edges of each of factor_names ({', '.join(map(str, names))}), got those of "
            f"{', '.join(map(str, edges))}"
        )
    return [edges[name] for name in names]


def _numbers(row: Any) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(row, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"factor_bins needs the edges of bins, numbers, got {row!r}") from error


def _declared(env: gym.Env[Any, Any], name: str) -> Any:
    try:
        return env.get_wrapper_attr(name)
    except AttributeError:
        return None


class Moment(NamedTuple):
    """How far a recording is: enough to come there again."""

    frames: int
    """Recorded until now, the pictures of `step` among them."""
    step: int
    """Steps that all environments took."""
    episodes: tuple[tuple[int, int], ...]
    """Per environment the number of its episode, and the step at which it began."""
    stream: int = 0
    """Frames that were there when the environments were started; their seeds are made of it."""
    brightest: int = 0
    """Largest pixel until now."""

    @classmethod
    def at_start(cls, environments: int, *, stream: int = 0, brightest: int = 0) -> Moment:
        """Before the first step."""
        return cls(stream, 0, ((0, 0),) * environments, stream, brightest)


class Players:
    """All environments, from a moment on; `advance` is one step of each.

    Args:
        venv: of `SeededEpisodes`.
        seed: of episodes and random actions.
        moment: `step` is `moment.step` after so many calls of `advance` as it takes.
        act: observations -> actions; None draws them at random.
        at_random: (n,), environments whose actions are drawn at random all the same: those of a recording without
            `act`; None is none of them.
    """

    def __init__(
        self,
        venv: VectorEnv,
        *,
        seed: int,
        moment: Moment,
        act: Policy | None,
        at_random: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.venv = venv
        self._act = act
        self._at_random = at_random
        self._seed, self._stream = seed, moment.stream
        self.step = min(began for _, began in moment.episodes)
        self._episodes = np.array([number for number, _ in moment.episodes])
        self._began = np.array([began for _, began in moment.episodes])
        self._ended = np.zeros(len(self._began), dtype=bool)
        self._started = np.ones(len(self._began), dtype=bool)
        starts = [
            Start(seed, moment.stream, place, number, began - self.step)
            for place, (number, began) in enumerate(moment.episodes)
        ]
        venv.set_attr("start", starts)
        # any seed: it says that the episodes of `starts` begin
        self.observations, self.infos = venv.reset(seed=0)
        self._actions = _random_actions(venv.action_space, (seed, moment.stream), self.step)

    def advance(self) -> None:
        """Take one step; where an episode has ended it is the first picture of the next one."""
        actions = self._chosen()
        self.observations, _, terminated, truncated, self.infos = self.venv.step(actions)
        self.step += 1
        self._episodes[self._ended] += 1
        self._began[self._ended] = self.step
        self._started = self._ended
        self._ended = np.logical_or(terminated, truncated)

    def _chosen(self) -> Any:
        """The actions of all environments."""
        if self._act is None:
            return next(self._actions)
        seed = seed_of(self._seed, self._stream, self.step, *_OF_POLICIES)
        actions = actions_of(self._act, self.observations, started=self._started, seed=seed)
        if self._at_random is None or not self._at_random.any():
            return actions
        return _mixed(actions, next(self._actions), self._at_random)

    def episodes(self) -> tuple[tuple[int, int], ...]:
        """Per environment the number of its episode, and the step at which it began."""
        return tuple(zip(self._episodes.tolist(), self._began.tolist(), strict=True))


def actions_of(policy: Policy, observations: Any, *, started: npt.NDArray[np.bool_], seed: int) -> Any:
    """What a policy of either kind does."""
    if callable(policy):
        return policy(observations)
    return policy.act(observations, started=started, seed=seed)


def _mixed(actions: Any, others: Any, rows: npt.NDArray[np.bool_]) -> Any:
    """Batched actions, in `rows` those of `others`, which are as the space has them."""
    if isinstance(others, dict):
        return {name: _mixed(actions[name], part, rows) for name, part in others.items()}
    if isinstance(others, tuple):
        return tuple(_mixed(mine, part, rows) for mine, part in zip(actions, others, strict=True))
    mixed, given = np.array(others), np.asarray(actions)
    if given.shape != mixed.shape:
        raise ValueError(f"policy needs actions of shape {mixed.shape}, one of each environment, got {given.shape}")
    mixed[~rows] = given[~rows]
    return mixed


def _random_actions(space: gym.Space[Any], seed: tuple[int, ...], first: int) -> Iterator[Any]:
    """Actions of the steps from `first` on; those of a step are always the same."""
    for step in itertools.count(first - first % _SEEDED_STEPS):
        if step % _SEEDED_STEPS == 0:
            space.seed(seed_of(*seed, step))
        actions = space.sample()
        if step >= first:
            yield actions


def seed_of(*parts: int) -> int:
    """A seed made of several numbers."""
    # 31 bits: not every environment takes more
    return int(np.random.SeedSequence(parts).generate_state(1)[0] >> 1)


def make_players(name: str, environments: int, *, parallel: bool, options: dict[str, Any]) -> VectorEnv:
    """Environments for `Players`, in this process or (`parallel`) each in one of its own.

    Raises:
        gymnasium.error.Error, ImportError: no such environment, or something that it needs is missing.
        ValueError: the environment cannot be made with these options.
    """
    parent = os.getpid()
    mode = "async" if parallel else "sync"
    try:
        venv = gym.make_vec(
            name,
            num_envs=environments,
            vectorization_mode=mode,
            wrappers=[lambda env: SeededEpisodes(env, parent)],
            **options,
        )
    except (gym.error.Error, ImportError):
        raise
    except Exception as error:  # what the constructors of others raise is no documented set
        raise ValueError(f"{name} could not be made with {options} ({type(error).__name__}: {error})") from error
    assert isinstance(venv, gym.vector.SyncVectorEnv | gym.vector.AsyncVectorEnv)
    return venv


def close_players(venv: VectorEnv, *, broken: bool) -> None:
    """Close the environments; where one of their processes is gone, end the others."""
    if not broken:
        try:
            return venv.close()
        except (EOFError, OSError):  # from a pipe: a signal to all processes ended this one a moment ago
            pass
    if isinstance(venv, gym.vector.AsyncVectorEnv):
        for process in venv.processes:
            process.kill()
            process.join()
    # Gymnasium would wait for their answers
    venv.closed = True
    return None
