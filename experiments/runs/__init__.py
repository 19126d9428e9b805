"""A run: its directory, metrics, training loop, progress, processes and stages."""
