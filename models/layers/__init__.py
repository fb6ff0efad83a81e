"""Layers of our own: what the library does not have, or has slower on the CPU."""
