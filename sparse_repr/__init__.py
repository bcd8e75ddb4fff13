"""sparse-repr: images become codes, and codes serve metrics and agents."""

from __future__ import annotations

from sparse_repr.encoder import FrozenEncoder, load_encoder, save_encoder
from sparse_repr.pretrain.config import PretrainConfig
from sparse_repr.pretrain.together.ensemble import pretrain_encoders
from sparse_repr.pretrain.trainer import pretrain_encoder
from sparse_repr.pretrain.untrained import untrained_encoder

__all__ = [
    "FrozenEncoder",
    "PretrainConfig",
    "load_encoder",
    "pretrain_encoder",
    "pretrain_encoders",
    "save_encoder",
    "untrained_encoder",
]
