"""Scores and pictures of pretrained encoders. `python -m sparse_repr.evaluate` runs it."""

from sparse_repr.evaluate.run import EvaluateConfig, compare_runs, evaluate_run

__all__ = ["EvaluateConfig", "compare_runs", "evaluate_run"]
