"""One run: its options, folder, identity, checkpoints and result files."""
