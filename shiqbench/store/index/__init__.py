"""Index of a results folder: every finished cell and evaluation, and the state of unfinished ones."""

from shiqbench.store.index.entries import CellEntry, EvaluationEntry, Index, Text, Unfinished, origins
from shiqbench.store.index.look import read_evaluation, read_index

__all__ = ["CellEntry", "EvaluationEntry", "Index", "Text", "Unfinished", "origins", "read_evaluation", "read_index"]
