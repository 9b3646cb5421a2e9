"""The statistics primitive against a naive twin, in fp64."""

from __future__ import annotations

import pytest
import torch

from shiqbench.training.token_statistics import token_statistics

N, D, V = 13, 6, 31


def naive(hidden: torch.Tensor, weight: torch.Tensor, token: torch.Tensor, bias: torch.Tensor) -> list[torch.Tensor]:
    logits = hidden @ weight.T + bias
    return [logits[range(N), token], logits.logsumexp(-1)]


@pytest.mark.parametrize("chunk", [1, 4, 13, 100])
def test_values_and_gradients_match_a_naive_twin(chunk: int) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(N, D, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(V, D, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(V, dtype=torch.float64, requires_grad=True)
    token = torch.randint(V, (N,))
    ours = token_statistics(hidden, lambda h: h @ weight.T + bias, token, chunk=chunk)
    twin = naive(hidden, weight, token, bias)
    mix = torch.randn(2, N, dtype=torch.float64)
    for a, b in zip(ours[:2], twin, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
    parameters = (hidden, weight, bias)
    ga = torch.autograd.grad(sum((m * x).sum() for m, x in zip(mix, ours[:2], strict=True)), parameters)
    gb = torch.autograd.grad(sum((m * x).sum() for m, x in zip(mix, twin, strict=True)), parameters)
    for a, b in zip(ga, gb, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=0)


def test_half_precision_hidden_states_give_fp32_statistics() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(N, D).bfloat16(), torch.randn(V, D).bfloat16()
    found = token_statistics(hidden, lambda h: h @ weight.float().T, torch.zeros(N, dtype=torch.long))
    assert found.logit_N.dtype == found.lse_N.dtype == torch.float32
    torch.testing.assert_close(found.logit_N, hidden.float() @ weight.float()[0], atol=1e-5, rtol=1e-5)


def test_no_action_tokens_is_an_empty_answer() -> None:
    found = token_statistics(torch.zeros(0, D), lambda h: h, torch.zeros(0, dtype=torch.long))
    assert found.logit_N.shape == found.lse_N.shape == (0,)
