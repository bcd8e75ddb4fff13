"""How soon runs leave the mean picture and what they become: `python -m experiments.time_to_quality.training_curves`."""
