"""What a results folder holds: every finished cell and evaluation, and what became of the others."""

from shiqbench.store.index.entries import CellEntry, EvaluationEntry, Index, Text, Unfinished, origins
from shiqbench.store.index.look import read_index

__all__ = ["CellEntry", "EvaluationEntry", "Index", "Text", "Unfinished", "origins", "read_index"]
