"""Environments whose pictures come from the dSprites renderer; importing this package registers them with Gymnasium."""

from __future__ import annotations

import gymnasium

MAX_STEPS = 50
"""Steps after which a SpriteReach episode is truncated; the way from corner to corner takes about 24."""

for _id, _discrete in (("SparseRepr/SpriteReach-v0", False), ("SparseRepr/SpriteReach-Discrete-v0", True)):
    gymnasium.register(
        id=_id,
        entry_point="envs.sprites:SpriteReach",
        max_episode_steps=MAX_STEPS,
        kwargs={"discrete": _discrete},
    )
