"""The policies of `rl.policies` for the algorithms of sb3-contrib, which must be installed."""

from __future__ import annotations

from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.qrdqn.policies import QRDQNPolicy
from sb3_contrib.tqc.policies import TQCPolicy

from rl.policies import LatentPolicy


class LatentMaskableActorCriticPolicy(LatentPolicy, MaskableActorCriticPolicy):
    """For MaskablePPO."""


class LatentRecurrentActorCriticPolicy(LatentPolicy, RecurrentActorCriticPolicy):
    """For RecurrentPPO."""


class LatentQRDQNPolicy(LatentPolicy, QRDQNPolicy):
    """For QRDQN."""


class LatentTQCPolicy(LatentPolicy, TQCPolicy):
    """For TQC."""
