"""Floor 0: graph, diffusion, training, options and records; imports nothing of the project's."""
