"""Mains, configurations, environments, logs and reports: everything that touches the outside world."""
