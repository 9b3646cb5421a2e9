"""Comparisons with other tools: the same model, data, batches and precision."""
