"""The tests; their folders and names are those of the code."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
"""The checkout."""


def fetching_nothing(objective: str) -> dict[str, Any]:
    """Settings of `PretrainConfig` that train an objective where there are no weights of VGG16."""
    further = {"feature_network": "dae", "dae_steps": 50} if objective == "feature_prediction" else {}
    return {"objective": objective, **further}
