"""The weights of advantage-weighted regression."""

from __future__ import annotations

import math

import pytest
import torch
from shiqbench.testing import random_batch

from shiqbench_plugin_example.awr import Awr, AwrConfig


def algorithm(**settings: float) -> Awr:
    return Awr(AwrConfig.model_validate(settings))


def test_the_loss_is_the_weighted_likelihood() -> None:
    awr = algorithm(beta=0.7, group=3)
    batch = random_batch(awr)
    loss = awr.loss(batch)
    for unit in range(len(batch.weight_U)):
        rows = slice(3 * unit, 3 * unit + 3)
        returns = batch.return_E[rows].tolist()
        weights = [min(math.exp((r - sum(returns) / 3) / 0.7), 20.0) for r in returns]
        nll = [-float(batch.logp_EA[row].sum()) for row in range(rows.start, rows.stop)]
        wanted = float(batch.weight_U[unit]) * sum(w * n for w, n in zip(weights, nll, strict=True))
        assert float(loss.numerator_U[unit]) == pytest.approx(wanted)
        tokens = float(batch.weight_U[unit]) * int(batch.valid_EA[rows].sum())
        assert float(loss.denominator_U[unit]) == pytest.approx(tokens)


def test_a_large_beta_imitates_everybody_alike_and_a_small_one_the_best() -> None:
    batch = random_batch(algorithm())
    plain = -batch.per_unit(batch.logp_EA.sum(-1)) * batch.weight_U
    torch.testing.assert_close(algorithm(beta=1e9).loss(batch).numerator_U, plain, rtol=1e-6, atol=1e-6)
    best = batch.return_E.view(-1, 2).argmax(-1)
    nll = -batch.logp_EA.sum(-1).view(-1, 2).gather(1, best[:, None])[:, 0]
    greedy = algorithm(beta=1e-6).loss(batch).numerator_U
    torch.testing.assert_close(greedy, 20.0 * nll * batch.weight_U, rtol=1e-6, atol=1e-6)
