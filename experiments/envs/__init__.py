"""Environments: one interface, one registry, DeepMind Control, a fake, adapters and parallel collection."""
