"""How soon other settings reach what published steps reach. `python -m experiments.time_to_quality` measures it."""
