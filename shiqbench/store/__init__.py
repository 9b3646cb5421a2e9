"""Results on disk, and their index."""
