"""The tasks of the study of agents: what is played, and what of it must be in a code."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from envs.domains import TARGETS
from envs.lander import SOLVED_RETURN


@dataclasses.dataclass(frozen=True)
class Task:
    """An environment, and what is needed to compare agents on it."""

    environment: str
    """Id."""
    code_size: int
    """D of every encoder: more than the task has factors."""
    one_hot: Mapping[str, int]
    """Factors that are names and not quantities -> number of values; the agent on factors gets them one-hot."""
    positions: Mapping[str, tuple[str, ...]]
    """Sprite -> its factors across and down, or the one along which it moves: the small things that must be encoded."""
    classes: tuple[str, ...]
    """Factors that are names, which a code must tell apart."""
    decided_by: tuple[str, tuple[str, ...]] | None = None
    """The factor that says what to do, with the names of its values; None where every episode asks for the same."""
    domains: tuple[str, ...] = ("source", *TARGETS)
    """Where agents are evaluated; they and their encoders know the first alone."""
    n_stack: int = 1
    """How many of the last observations every arm is shown: more than one where a single picture hides speeds."""
    scaled_rewards: bool = False
    """Whether agents learn from rewards over the running spread of their discounted sum, as where returns are hundreds:
    PPO's value loss would drown the rest. What is told of them is never scaled."""
    threshold: float | None = None
    """The return from which it counts as learned: its authors' or, of VizDoom and DoorKey, 80 % of the way from chance
    to the scripted policy (`envs/public.md`). None: what agents on ground truth reach decides."""

    crop: str | None = None
    """TOP,LEFT,HEIGHT,WIDTH: the part of its pictures in which what decides is seen, for the arms that see it alone."""

    def arguments(self, domain: str) -> dict[str, Any]:
        """What the environment is made with; one that has a single domain is asked for none."""
        return {"domain": domain} if len(self.domains) > 1 else {}


_CHASE = ("player", "heart", "square", "ellipse_1", "ellipse_2")
_CHASE_COLORS = tuple(f"{name}_color" for name in _CHASE[1:])
_AS_IT_IS = ("source",)
SPRITES = ("SpriteReach", "SpriteChase", "SpritePose")
"""Keys of `TASKS` that this package draws: several domains each."""
_LARGER_ROOM = Task(
    "",
    32,
    {"agent_direction": 4, "door": 3},
    {"agent": ("agent_x", "agent_y"), "key": ("key_x", "key_y"), "door": ("door_x", "door_y")},
    ("agent_direction", "key_carried", "door"),
    domains=_AS_IT_IS,
)
TASKS = {
    "SpriteReach": Task(
        "SparseRepr/SpriteReach-v0",
        10,
        {"shape": 3},
        {"sprite": ("position_x", "position_y")},
        ("shape",),
        ("shape", ("square", "ellipse", "heart")),
    ),
    "SpriteChase": Task(
        "SparseRepr/SpriteChase-v0",
        32,
        dict.fromkeys(_CHASE_COLORS, 4),
        {name: (f"{name}_x", f"{name}_y") for name in _CHASE},
        _CHASE_COLORS,
    ),
    "SpritePose": Task(
        "SparseRepr/SpritePose-v0",
        32,
        {"shape": 3, "color": 4},
        {"sprite": ("position_x", "position_y")},
        ("shape", "color"),
    ),
    "VizDoomBasic": Task(
        "SparseRepr/VizDoomBasic-v0",
        10,
        {},
        {"monster": ("monster_x",), "player": ("player_x",)},
        ("weapon_ready",),
        domains=_AS_IT_IS,
        scaled_rewards=True,
        threshold=24.0,
        crop="23,0,17,64",  # the far wall, at the foot of which the monster stands
    ),
    "DoorKey": Task(
        "SparseRepr/DoorKey-v0",
        32,
        {"agent_direction": 4, "door": 3},
        {"agent": ("agent_x", "agent_y"), "key": ("key_y",), "door": ("door_y",)},
        ("agent_direction", "key_carried", "door"),
        domains=_AS_IT_IS,
        threshold=0.79,
    ),
    "DoorKey6": dataclasses.replace(_LARGER_ROOM, environment="SparseRepr/DoorKey-6x6-v0", threshold=0.79),
    "DoorKey8": dataclasses.replace(_LARGER_ROOM, environment="SparseRepr/DoorKey-8x8-v0"),
    "LunarLander": Task(
        "SparseRepr/LunarLander-v0",
        32,
        {},
        {"lander": ("lander_x", "lander_y")},
        (),
        domains=_AS_IT_IS,
        n_stack=4,
        scaled_rewards=True,
        threshold=SOLVED_RETURN,
    ),
    "Pong": Task(
        "SparseRepr/Pong-v0",
        32,
        {},
        {"ball": ("ball_x", "ball_y"), "player": ("player_y",), "opponent": ("opponent_y",)},
        (),
        domains=_AS_IT_IS,
        n_stack=4,
    ),
    "Breakout": Task(
        "SparseRepr/Breakout-v0",
        32,
        {},
        {"ball": ("ball_x", "ball_y"), "player": ("player_x",)},
        (),
        domains=_AS_IT_IS,
        n_stack=4,
    ),
}
"""Name -> task."""
