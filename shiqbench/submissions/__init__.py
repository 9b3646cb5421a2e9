"""A finished cell as one file that others can check and compare: packed, verified, shown on a board."""
