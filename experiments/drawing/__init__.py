"""Figures' style, videos, and pictures of what a world model sees."""
