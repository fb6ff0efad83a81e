"""Training, evaluation and feature extraction, wherever the targets come from."""
