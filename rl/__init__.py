"""Frozen encoders in Stable-Baselines3 and Gymnasium."""

from __future__ import annotations

from rl.features_extractor import LatentExtractor
from rl.observation import FactorObservation, LatentObservation, VecLatentObservation

__all__ = ["FactorObservation", "LatentExtractor", "LatentObservation", "VecLatentObservation"]
