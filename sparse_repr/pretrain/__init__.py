"""Pretraining: from a configuration to a run folder. `python -m sparse_repr.pretrain` runs it."""
