"""Standard suites: lm-eval's tasks, asked of any weights through our own engines.

Dataset: whatever the named suites bring, from the hub or from local files.
Metric: lm-eval's own; the first suite's first one is the primary.
Reward: none, it only evaluates.
"""
