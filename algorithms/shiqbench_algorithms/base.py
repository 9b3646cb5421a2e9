r"""base: the model as it is.

$$ \text{no loss} $$

The point that every other cell is compared with. It trains nothing, so its cell depends on the
model and the task's setting alone and is shared by all comparisons.
"""

from __future__ import annotations

from shiqbench.plugin import Algorithm, AlgorithmConfig, Batch, Loss


class BaseConfig(AlgorithmConfig):
    """Nothing to set."""


class Base(Algorithm[BaseConfig]):
    """The untrained model."""

    uses_reference = False

    def loss(self, batch: Batch) -> Loss:
        """Refuse: there is nothing to train."""
        raise TypeError("base trains nothing and has no loss")
