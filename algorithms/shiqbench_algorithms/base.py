r"""base: the model as it is, without training.

$$ \text{no loss} $$

Every other cell is compared with it. It trains nothing, so its cell depends only on the model and the task's
setting, and all comparisons share it.
"""

from __future__ import annotations

from shiqbench.plugin import Algorithm, AlgorithmConfig, Batch, Loss


class BaseConfig(AlgorithmConfig):
    """base has no settings."""


class Base(Algorithm[BaseConfig]):
    """The model as it is."""

    uses_reference = False

    def loss(self, batch: Batch) -> Loss:
        """Raise TypeError: there is nothing to train."""
        raise TypeError("base trains nothing and has no loss")
