"""When runs leave the mean picture, and their curves: `python -m experiments.time_to_quality.training_curves`."""
