"""Episodes on disk, datasets of their windows, and replay."""
