"""Films of agents at work."""
