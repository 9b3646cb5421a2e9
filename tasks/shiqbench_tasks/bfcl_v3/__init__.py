"""BFCL-V3 multi-turn: a model operates simulated tools over several user turns.

Dataset: 200 scenarios of the category ``base`` in the pinned wheel bfcl-eval 2025.7.17, split 120/30/50.
Metric: share of right turns, the official share of valid episodes beside it.
Reward: 1/turns for each right turn, or 1 for a valid episode.
"""
