"""Token statistics become a loss, a loss becomes weights."""
