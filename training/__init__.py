"""One way to train, evaluate and extract, whatever the targets come from."""
