"""Sweeps: many runs of main_al.py, on the cores of this machine, on Dask or on SLURM."""
