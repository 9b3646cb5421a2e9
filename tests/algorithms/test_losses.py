"""Facts that the losses must reproduce, in fp64 on small exact batches.

Mutations tried by hand; each makes at least one test here fail: sign of beta * rho, sign of dv, no shift,
detached v(s_t), mask left out of the suffix sum, gradient through masked positions, future not detached
under stop_future, gamma applied from the episode's start, pairs swapped in dpo.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from builders import LENGTHS, A, E, batch
from shiqbench_algorithms.dpo import Dpo, DpoConfig
from shiqbench_algorithms.sft import Sft, SftConfig
from shiqbench_algorithms.shiq import Shiq, ShiqConfig

from shiqbench.episodes.episode import Episode, Message
from shiqbench.plugin.batch import Batch
from shiqbench.plugin.tensors import next_action, suffix_sum


def shiq(**settings: Any) -> Shiq:
    return Shiq(ShiqConfig(**settings))


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_at_the_reference_the_residual_is_the_return_to_go(gamma: float) -> None:
    for offset in (False, True):
        b = batch(at_reference=True, offset=offset)
        delta = shiq(gamma=gamma, beta=0.7).residual(b)
        expected = torch.zeros(E, A, dtype=torch.float64)
        for e in range(E):
            for t in range(int(LENGTHS[e])):
                expected[e, t] = sum(gamma ** (k - t) * b.reward_EA[e, k] for k in range(t, int(LENGTHS[e])))
        torch.testing.assert_close(delta, expected, atol=1e-12, rtol=0)


def test_a_constant_per_state_on_both_models_changes_nothing_under_the_shift_alone() -> None:
    plain, moved = batch(), batch(offset=True)
    torch.testing.assert_close(shiq().residual(plain), shiq().residual(moved), atol=1e-12, rtol=0)
    without = shiq(shift=False)
    assert (without.residual(plain) - without.residual(moved)).abs().max() > 1e-3


def test_a_constant_on_the_policy_alone_changes_the_residual_since_logits_carry_the_value() -> None:
    b = batch()
    up = batch(logit_EA=b.logit_EA + 1, lse_EA=b.lse_EA + 1)
    torch.testing.assert_close(
        shiq(beta=0.5).residual(up), shiq(beta=0.5).residual(b) - 0.5 * b.valid_EA, atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_one_step_residuals_telescope_to_the_multi_step_residual(shift: bool, gamma: float) -> None:
    b = batch()
    one = shiq(multi_step=False, shift=shift, gamma=gamma, beta=0.3).residual(b)
    many = shiq(multi_step=True, shift=shift, gamma=gamma, beta=0.3).residual(b)
    torch.testing.assert_close(suffix_sum(one, gamma), many, atol=1e-12, rtol=0)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_the_residual_has_the_closed_form_of_its_derivation(gamma: float) -> None:
    b, beta = batch(), 0.3
    dl = (b.logit_EA - b.ref_logit_EA) * b.valid_EA
    rho = b.logratio_EA
    future = gamma * next_action(suffix_sum(rho, gamma))
    expected = suffix_sum(b.reward_EA, gamma) - beta * dl - beta * future
    found = shiq(gamma=gamma, beta=beta).residual(b)
    torch.testing.assert_close(found, expected * b.valid_EA, atol=1e-12, rtol=0)


@pytest.mark.parametrize("settings", [{}, {"multi_step": False}, {"stop_future": True}, {"shift": False}])
def test_gradients_are_zero_where_masked_and_not_elsewhere(settings: dict[str, Any]) -> None:
    b = batch()
    shiq(**settings).loss(b).numerator_U.sum().backward()  # type: ignore[no-untyped-call]
    assert b.logit_EA.grad is not None
    assert b.lse_EA.grad is not None
    for gradient in (b.logit_EA.grad, b.lse_EA.grad):
        assert (gradient[~b.valid_EA] == 0).all()
    assert (b.logit_EA.grad[b.valid_EA] != 0).all()
    # With the future stopped, delta_t moves with the chosen logit alone: v(s_t) cancels against its log-ratio.
    assert (b.lse_EA.grad[b.valid_EA] != 0).any() != settings.get("stop_future", False)


def chosen_logit_gradients(length: int, *, stop_future: bool) -> torch.Tensor:
    """Gradient in each chosen logit, uniform over 10 tokens, terminal reward, at the reference."""
    logits = torch.zeros(1, length, 10, dtype=torch.float64, requires_grad=True)
    reward = torch.zeros(1, length, dtype=torch.float64)
    reward[0, -1] = 1.0
    b = Batch(
        valid_EA=torch.ones(1, length, dtype=torch.bool),
        reward_EA=reward,
        logit_EA=logits[..., 0],
        lse_EA=logits.logsumexp(-1),
        ref_logit_EA=torch.zeros(1, length, dtype=torch.float64),
        ref_lse_EA=torch.full((1, length), math.log(10), dtype=torch.float64),
        unit_E=torch.zeros(1, dtype=torch.long),
        weight_U=torch.ones(1, dtype=torch.float64),
    )
    shiq(stop_future=stop_future).loss(b).numerator_U.sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    return logits.grad[0, :, 0]


@pytest.mark.parametrize(("length", "ratio"), [(8, 7.3), (64, 57.7), (512, 460.9)])
def test_the_full_gradient_grows_with_the_position_and_stop_future_makes_it_flat(length: int, ratio: float) -> None:
    full = chosen_logit_gradients(length, stop_future=False)
    assert float(full[-1] / full[0]) == pytest.approx(1 + (length - 1) * 0.9, rel=1e-9)
    assert float(full[-1] / full[0]) == pytest.approx(ratio, abs=0.05)
    flat = chosen_logit_gradients(length, stop_future=True)
    torch.testing.assert_close(flat, flat[0].expand_as(flat), atol=1e-15, rtol=0)


def test_normalisations_differ_only_in_what_a_token_counts() -> None:
    b = batch()
    squared = shiq().residual(b).detach().square().sum(-1)
    losses = {n: shiq(normalize=n).loss(b) for n in ("sum", "sequence", "token")}
    value = {n: float(x.numerator_U.detach().sum() / x.denominator_U.sum()) for n, x in losses.items()}
    assert value["sum"] == pytest.approx(float(squared.mean()))
    assert value["sequence"] == pytest.approx(float((squared / LENGTHS).mean()))
    assert value["token"] == pytest.approx(float(squared.sum() / LENGTHS.sum()))


def test_dpo_is_ln_2_at_the_reference_and_follows_its_formula_elsewhere() -> None:
    dpo = Dpo(DpoConfig(beta=0.3))
    at_reference = dpo.loss(batch(2, at_reference=True))
    torch.testing.assert_close(
        at_reference.numerator_U, torch.full((2,), math.log(2), dtype=torch.float64), atol=1e-14, rtol=0
    )
    b = batch(2)
    h = b.logratio_EA.sum(-1)
    expected = -torch.log(1 / (1 + torch.exp(-0.3 * (h[0::2] - h[1::2]))))
    torch.testing.assert_close(dpo.loss(b).numerator_U, expected, atol=1e-12, rtol=0)


def test_label_smoothing_weighs_the_pair_the_other_way_round() -> None:
    b, smooth = batch(2), 0.2
    h = b.logratio_E.detach()
    margin = 0.3 * (h[0::2] - h[1::2])
    p = 1 / (1 + torch.exp(-margin))
    found = Dpo(DpoConfig(beta=0.3, label_smoothing=smooth)).loss(b).numerator_U.detach()
    torch.testing.assert_close(found, -(1 - smooth) * p.log() - smooth * (1 - p).log(), atol=1e-12, rtol=0)
    assert float(margin.abs().min()) > 1e-2


def test_dpo_raises_the_better_row() -> None:
    b = batch(2, at_reference=True)
    Dpo(DpoConfig()).loss(b).numerator_U.sum().backward()  # type: ignore[no-untyped-call]
    assert b.logit_EA.grad is not None
    assert (b.logit_EA.grad[0::2][b.valid_EA[0::2]] < 0).all()
    assert (b.logit_EA.grad[1::2][b.valid_EA[1::2]] > 0).all()


def test_dpo_is_finite_at_extreme_log_ratios() -> None:
    b = batch(2, logit_EA=torch.full((E, A), -1e4, dtype=torch.float64, requires_grad=True))
    loss = Dpo(DpoConfig()).loss(b).numerator_U.sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert b.logit_EA.grad is not None
    assert torch.isfinite(b.logit_EA.grad).all()


def test_sft_is_the_mean_negative_log_likelihood_of_action_tokens() -> None:
    b = batch()
    loss = Sft(SftConfig()).loss(b)
    logp = (b.logit_EA - b.lse_EA)[b.valid_EA]
    assert float(loss.numerator_U.detach().sum() / loss.denominator_U.sum()) == pytest.approx(
        -float(logp.detach().mean())
    )
    per_sequence = Sft(SftConfig(normalize="sequence")).loss(b)
    expected = -float((b.logp_EA.detach().sum(-1) / LENGTHS).mean())
    assert float(per_sequence.numerator_U.detach().sum() / per_sequence.denominator_U.sum()) == pytest.approx(expected)


def reward_episode(name: str, group: str, reward: float) -> Episode:
    return Episode(name, group, "test", (Message("assistant", "x", action=True, reward=reward),))


def test_sft_accepts_the_best_of_each_group_or_what_exceeds_a_threshold() -> None:
    episodes = [
        reward_episode("a", "1", 0.2),
        reward_episode("b", "1", 0.9),
        reward_episode("c", "2", -1.0),
        reward_episode("d", "2", -1.0),
        reward_episode("e", "2", -2.0),
    ]
    assert [e.id for e in Sft(SftConfig()).select(episodes)] == ["b", "c", "d"]
    assert [e.id for e in Sft(SftConfig(accept="threshold", threshold=0.2)).select(episodes)] == ["b"]


@pytest.mark.parametrize("algorithm", [shiq(), Dpo(DpoConfig()), Sft(SftConfig())])
def test_padding_and_row_order_change_nothing(algorithm: Any) -> None:
    b = batch(2 if algorithm.unit == "pair" else 1)
    names = ("valid_EA", "reward_EA", "logit_EA", "lse_EA", "ref_logit_EA", "ref_lse_EA")
    wide: dict[str, Any] = {n: torch.nn.functional.pad(getattr(b, n).detach(), (0, 5)) for n in names}
    padded = Batch(**wide, unit_E=b.unit_E, weight_U=b.weight_U)
    torch.testing.assert_close(algorithm.loss(padded).numerator_U, algorithm.loss(b).numerator_U.detach())
    order = [2, 3, 0, 1]
    turned = Batch(**{n: getattr(b, n).detach()[order] for n in names}, unit_E=b.unit_E, weight_U=b.weight_U)
    units = [1, 0] if algorithm.unit == "pair" else order
    torch.testing.assert_close(algorithm.loss(turned).numerator_U, algorithm.loss(b).numerator_U.detach()[units])
