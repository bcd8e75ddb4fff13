"""The speeds and sizes that the README quotes. `python -m experiments.benchmark` measures them."""
