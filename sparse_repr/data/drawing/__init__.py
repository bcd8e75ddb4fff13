"""The geometry of what is drawn: sprites, chairs, faces."""
