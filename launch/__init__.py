"""Sweeps: which runs, and where they run."""
