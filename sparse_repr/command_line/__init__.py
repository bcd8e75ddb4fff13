"""What all command lines share: one line for whatever goes wrong, bounds of settings, and signals."""
