"""The contract kit: three lines of a test check what every algorithm, task and engine promises.

>>> from shiqbench.testing import check_algorithm
>>> def test_contract() -> None:
...     check_algorithm("awr")
"""

from __future__ import annotations

from shiqbench.testing.algorithms import check_algorithm
from shiqbench.testing.batches import random_batch
from shiqbench.testing.contract import ContractReport
from shiqbench.testing.engines import check_engine
from shiqbench.testing.tasks import check_task

__all__ = ["ContractReport", "check_algorithm", "check_engine", "check_task", "random_batch"]
