"""Fronts: what an algorithm gains for the distance that it moves, over a sweep and over checkpoints."""
