"""Rows of data that tasks share: where they are, conversations and splits in them, and rows that cannot be used."""
