"""Configurations: one `get_config(preset)` per experiment."""
