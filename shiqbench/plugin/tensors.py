"""Tensor operations that losses share, on masked rows of action tokens.

Legend: E episodes (rows), A action positions (columns), U units.
This module and the algorithms built on it import torch only when they compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def suffix_sum(x_EA: Tensor, gamma: float = 1.0) -> Tensor:
    """Discounted sum from each position to the end of its row, ``y_t = sum_{k>=t} gamma^(k-t) x_k``.

    Positions after a row's last action token must be 0; discounting counts action tokens.

    Returns:
        ``[E, A]`` like the input.
    """
    if gamma == 1.0:
        return x_EA.flip(-1).cumsum(-1).flip(-1)
    import torch

    columns, later = [], torch.zeros_like(x_EA[:, 0])
    for t in range(x_EA.shape[1] - 1, -1, -1):
        later = x_EA[:, t] + gamma * later
        columns.append(later)
    return torch.stack(columns[::-1], dim=1)


def next_action(x_EA: Tensor) -> Tensor:
    """Shift left by one action token; the last column becomes 0."""
    import torch

    return torch.cat([x_EA[:, 1:], torch.zeros_like(x_EA[:, :1])], dim=1)


def log_sigmoid(x: Tensor) -> Tensor:
    """``ln sigmoid(x)``, stable at both ends."""
    import torch.nn.functional

    return torch.nn.functional.logsigmoid(x)
