"""Synthetic MDPs small enough to solve exactly, with a table of logits as the policy."""
