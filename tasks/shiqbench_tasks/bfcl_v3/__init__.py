"""BFCL-V3 multi-turn: a model operates simulated tools over several user turns.

Dataset: 200 scenarios in each of four categories of the pinned wheels bfcl-eval 2025.7.17 (v3) and 2026.3.23
    (v4), split 120/30/50 by scenario across categories. The default is ``base`` of v3.
Metric: share of right turns, with the official share of valid episodes next to it.
Reward: 1/turns for each right turn, or 1 for a valid episode.
"""
