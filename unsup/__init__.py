"""Floor 3: learning from all images without labels."""
