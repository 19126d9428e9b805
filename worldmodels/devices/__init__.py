"""Placement of arrays and programs on several devices and processes."""
