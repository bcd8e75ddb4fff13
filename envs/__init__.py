"""Environments with ground-truth factors; importing this package registers them with Gymnasium.

`envs/README.md` shows them: three on pictures of the dSprites renderer, each of which takes `domain=` (`envs.domains`),
and tasks that no one here wrote (`envs.public`, extra `envs`): two Atari games (`envs.atari`), VizDoom's Basic
(`envs.doom`), LunarLander (`envs.lander`) and MiniGrid's DoorKey (`envs.door_key`).
"""

from __future__ import annotations

import gymnasium

from envs import atari, chase, lander, pose, reach

MAX_STEPS = reach.MAX_STEPS
"""Steps after which a SpriteReach episode is truncated; `envs.chase` and `envs.pose` name their own."""

for _name, _module in (("SpriteReach", reach), ("SpriteChase", chase), ("SpritePose", pose)):
    for _suffix, _discrete in (("", False), ("-Discrete", True)):
        gymnasium.register(
            id=f"SparseRepr/{_name}{_suffix}-v0",
            entry_point=f"{_module.__name__}:{_name}",
            max_episode_steps=_module.MAX_STEPS,
            kwargs={"discrete": _discrete},
        )

for _name in atari.GAMES:
    gymnasium.register(
        id=f"SparseRepr/{_name}-v0",
        entry_point="envs.atari:AtariGame",
        max_episode_steps=atari.MAX_STEPS,
        kwargs={"game": _name},
    )

gymnasium.register(
    id="SparseRepr/LunarLander-v0", entry_point="envs.lander:LunarLander", max_episode_steps=lander.MAX_STEPS
)
# these two truncate their episodes themselves
gymnasium.register(id="SparseRepr/VizDoomBasic-v0", entry_point="envs.doom:VizDoomBasic")
for _suffix, _size in (("", 5), ("-6x6", 6), ("-8x8", 8)):
    gymnasium.register(
        id=f"SparseRepr/DoorKey{_suffix}-v0", entry_point="envs.door_key:DoorKey", kwargs={"size": _size}
    )
