"""Frozen encoders in Stable-Baselines3 and Gymnasium."""

from __future__ import annotations

from rl.agents import load_agent, save_agent
from rl.copied_observation import CopiedObservation
from rl.features_extractor import LatentExtractor
from rl.latent_vec_env import make_latent_vec_env
from rl.observation import FactorObservation, LatentObservation, VecLatentObservation
from rl.recoded_codes import RecodedCodes
from rl.same_codes import SameCodes, require_same_codes
from rl.saving_callback import SaveAgent

__all__ = [
    "CopiedObservation",
    "FactorObservation",
    "LatentExtractor",
    "LatentObservation",
    "RecodedCodes",
    "SameCodes",
    "SaveAgent",
    "VecLatentObservation",
    "load_agent",
    "make_latent_vec_env",
    "require_same_codes",
    "save_agent",
]
