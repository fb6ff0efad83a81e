"""Rows that exist only here: what a new method, algorithm, pre-training, network or data set takes.

Each module has ROW, and WITH_OPTION, the same with an option of its own."""
