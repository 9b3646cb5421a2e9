"""Runs one cell: trains it, evaluates it and records the result."""
