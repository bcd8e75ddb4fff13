"""Encoders that cannot change any more: what they are, what they take, and the file that describes them.

Agents' files name `sparse_repr.encoder.FrozenEncoder`: it stays importable from here.
"""

from sparse_repr.encoder.frozen import FrozenEncoder, load_encoder, save_encoder
from sparse_repr.encoder.preprocessing import Preprocessing
from sparse_repr.encoder.spec import EncoderSpec, UnitStatistics

__all__ = ["EncoderSpec", "FrozenEncoder", "Preprocessing", "UnitStatistics", "load_encoder", "save_encoder"]
