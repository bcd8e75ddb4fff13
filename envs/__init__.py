"""Environments whose pictures come from the dSprites renderer; importing this package registers them with Gymnasium.

`envs/README.md` shows them. Each takes `domain=`, see `envs.domains`.
"""

from __future__ import annotations

import gymnasium

from envs import chase, pose, reach

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
