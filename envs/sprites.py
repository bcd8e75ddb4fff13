"""The three sprite environments under one import path; each has its own module, and `envs/README.md` shows them."""

from __future__ import annotations

from envs.chase import SpriteChase
from envs.pose import SpritePose
from envs.reach import SpriteReach

__all__ = ["SpriteChase", "SpritePose", "SpriteReach"]
