"""Environments of others, played by a program in its own interpreter."""
