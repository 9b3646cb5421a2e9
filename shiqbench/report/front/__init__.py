"""Fronts: an algorithm's gain against the distance that it moves, over a sweep and over checkpoints."""
