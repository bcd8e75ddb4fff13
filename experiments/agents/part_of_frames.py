"""What an agent on pixels sees where it is shown a part of each frame, as encoders pretrained with a crop are."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from PIL import Image

from sparse_repr.data.crop import Crop


class PartOfFrames(gym.ObservationWrapper[npt.NDArray[np.uint8], Any, npt.NDArray[np.uint8]]):
    """Shows a part of each frame, resized to the whole frame's height and width."""

    def __init__(self, env: gym.Env[Any, Any], crop: Crop) -> None:
        """Wrap an environment that observes frames, uint8 (H, W, 1 or 3).

        Args:
            env: the environment.
            crop: the part.

        Raises:
            ValueError: it is not within the frames.
        """
        super().__init__(env)
        height, width, _ = env.observation_space.shape or (0, 0, 0)
        crop.require_within((height, width))
        self._box = (crop.left, crop.top, crop.left + crop.width, crop.top + crop.height)
        self._size = (width, height)

    def observation(self, observation: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The part."""
        grey = observation.shape[2] == 1
        part = Image.fromarray(observation[..., 0] if grey else observation).crop(self._box)
        shown = np.asarray(part.resize(self._size, Image.Resampling.BILINEAR))
        return shown[..., None] if grey else shown
