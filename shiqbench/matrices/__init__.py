"""One file describes a matrix: algorithms x tasks x models x seeds x settings.

FILE.toml -> schema (keys and types) -> families (settings, all seeds alike) -> cells (digests) -> jobs -> executors.
"""
