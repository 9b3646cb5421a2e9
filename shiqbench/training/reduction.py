"""Sums over the micro-batches and processes of one update; the only place where losses are reduced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from shiqbench.base.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shiqbench.plugin.algorithm import Loss
    from shiqbench.plugin.batch import Batch


class Totals:
    """Sums over the micro-batches of one update.

    Attributes:
        names: Names of the loss's metrics, the last entries of :meth:`tensor`.
        row_names: Names of what is measured on rows, the entries before them.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.row_names: list[str] = []
        self._sums: torch.Tensor | None = None

    def add(self, loss: Loss, batch: Batch, of_rows: Mapping[str, torch.Tensor]) -> None:
        """Add one micro-batch, with further values of its rows, ``[E]``."""
        self.names, self.row_names = list(loss.metrics), list(of_rows)
        weight_U, weight_E = batch.weight_U, batch.weight_U[batch.unit_E]
        values = [
            loss.numerator_U.detach().sum(),
            loss.denominator_U.sum(),
            weight_U.sum(),
            weight_E.sum(),
            (weight_E * batch.return_E).sum(),
            batch.valid_EA.sum(),
            *((weight_E * values_E).sum() for values_E in of_rows.values()),
            *((weight_U * loss.metrics[name]).sum() for name in self.names),
        ]
        new = torch.stack([v.to(torch.float64) for v in values])
        self._sums = new if self._sums is None else self._sums + new

    def tensor(self) -> torch.Tensor:
        """Numerator, denominator, weight of units and of rows, returns, action tokens, values of rows, metrics; fp64.

        Returns, values of rows and metrics are weighted sums.

        Raises:
            RunError: No micro-batch was added.
        """
        if self._sums is None:
            raise RunError("a process got no unit of a batch", do="raise train.batch_episodes")
        return self._sums
