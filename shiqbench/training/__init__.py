"""Training: token statistics, the loss on them, and the updates of the weights."""
