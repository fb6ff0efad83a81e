"""Many runs of main_al.py: which, in what order, on how many cores or machines."""
