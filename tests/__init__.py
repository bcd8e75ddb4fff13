"""The tests; their folders and names are those of the code."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
"""The checkout."""
