"""Layers that the library lacks, or that are faster here on the CPU."""
