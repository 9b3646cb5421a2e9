"""How the losses relate: identities, gradient stops, and the fixed points that they claim, in fp64.

Each test fails for a loss whose sign, factor, reference or stopped gradient is wrong, or whose claimed fixed point is
not one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from builders import FAMILY, batch, full
from shiqbench_algorithms.copg import Copg, CopgConfig
from shiqbench_algorithms.dqo import Dqo, DqoConfig
from shiqbench_algorithms.dro import Dro, DroConfig
from shiqbench_algorithms.ipo import Ipo, IpoConfig
from shiqbench_algorithms.oreo import Oreo, OreoConfig
from shiqbench_algorithms.qrpo import Qrpo, QrpoConfig
from shiqbench_algorithms.rebel import Rebel, RebelConfig
from shiqbench_algorithms.reinforce import Reinforce, ReinforceConfig
from shiqbench_algorithms.reval import Reval, RevalConfig
from shiqbench_algorithms.shiq import Shiq, ShiqConfig
from shiqbench_algorithms.tbrm import Tbrm, TbrmConfig

from shiqbench.plugin.algorithm import Loss
from shiqbench.plugin.batch import Batch
from shiqbench.plugin.tensors import suffix_sum


def gradients(algorithm: Any, b: Batch, *names: str) -> list[torch.Tensor]:
    """Gradients of the summed numerators."""
    tensors = [getattr(b, n) for n in names or ("logit_EA", "lse_EA")]
    return list(torch.autograd.grad(algorithm.loss(b).numerator_U.sum(), tensors))


def assert_close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a.detach(), b.detach(), atol=1e-11, rtol=1e-11)


def test_rebel_is_copg_of_two_over_beta_squared() -> None:
    copg, rebel = Copg(CopgConfig(beta=0.3)), Rebel(RebelConfig(eta=1 / 0.3))
    b = full(copg)
    assert_close(rebel.loss(b).numerator_U, copg.loss(b).numerator_U / 0.09)
    assert copg.temperature == pytest.approx(rebel.temperature)


@pytest.mark.parametrize("k", [2, 3, 6])
def test_the_gradient_of_copg_is_2_beta_times_that_of_leave_one_out_summed_over_the_group(k: int) -> None:
    copg, reinforce = Copg(CopgConfig(beta=0.3, k=k)), Reinforce(ReinforceConfig(beta=0.3, k=k))
    b = full(copg)
    for ours, theirs in zip(gradients(copg, b), gradients(reinforce, b), strict=True):
        assert_close(ours, 2 * 0.3 * theirs)
    assert (reinforce.loss(b).denominator_U == k * b.weight_U).all()


@pytest.mark.parametrize("name", ["copg", "copg of 3", "reinforce", "reinforce of 3", "rebel"])
def test_a_constant_added_to_the_rewards_of_a_group_changes_nothing(name: str) -> None:
    algorithm = FAMILY[name]
    b = full(algorithm)
    first = torch.zeros_like(b.reward_EA)
    first[:, 0] = 5.0
    assert_close(algorithm.loss(replace(b, reward_EA=b.reward_EA + first)).numerator_U, algorithm.loss(b).numerator_U)


def test_the_truncated_ratio_weighs_each_episode_and_carries_no_gradient() -> None:
    plain, clipped = Reinforce(ReinforceConfig(beta=0.3)), Reinforce(ReinforceConfig(beta=0.3, importance_clip=1.5))
    b = full(plain)
    shift = torch.tensor([-9.0, math.log(0.4), math.log(1.2), 9.0, 0.0, math.log(1.5)], dtype=torch.float64)
    behaviour = b.logp_EA.detach().clone()
    behaviour[:, 0] -= shift  # pi/mu of the episode becomes exp(shift)
    b = replace(b, behaviour_logp_EA=behaviour)
    ratio = torch.tensor([math.exp(-9), 0.4, 1.2, 1.5, 1.0, 1.5], dtype=torch.float64)
    for ours, theirs in zip(gradients(clipped, b), gradients(plain, b), strict=True):
        assert_close(ours, ratio[:, None] * theirs)


def test_on_policy_the_ratio_is_1() -> None:
    plain, clipped = Reinforce(ReinforceConfig(beta=0.3)), Reinforce(ReinforceConfig(beta=0.3, importance_clip=1))
    b = full(plain)
    b = replace(b, behaviour_logp_EA=b.logp_EA.detach())
    assert_close(clipped.loss(b).numerator_U, plain.loss(b).numerator_U)


def test_reval_is_the_first_residual_of_shiq_and_tbrm_lacks_the_reference_value() -> None:
    b, beta = batch(), 0.3
    delta_0 = Shiq(ShiqConfig(beta=beta)).residual(b)[:, 0]
    assert_close(Reval(RevalConfig(beta=beta)).loss(b).numerator_U, (delta_0 / beta).square())
    unshifted_0 = Shiq(ShiqConfig(beta=beta, shift=False)).residual(b)[:, 0]
    assert_close(Tbrm(TbrmConfig(beta=beta)).loss(b).numerator_U, (unshifted_0 / beta).square())
    assert_close(unshifted_0, delta_0 - beta * b.ref_lse_EA[:, 0])


def test_a_constant_per_state_on_both_models_moves_tbrm_but_not_reval() -> None:
    plain, moved = batch(), batch(offset=True)
    reval, tbrm = Reval(RevalConfig()), Tbrm(TbrmConfig(beta=0.3))
    assert_close(reval.loss(plain).numerator_U, reval.loss(moved).numerator_U)
    assert (tbrm.loss(plain).numerator_U - tbrm.loss(moved).numerator_U).abs().max() > 1e-3


def test_dqo_is_shiq_with_a_value_head_in_place_of_the_logits_own_value() -> None:
    b, beta = batch(), 0.3
    own = beta * (b.lse_EA - b.ref_lse_EA)
    dqo = Dqo(DqoConfig(beta=beta)).loss(replace(b, value_EA=own))
    assert_close(dqo.numerator_U, Shiq(ShiqConfig(beta=beta)).loss(b).numerator_U)


def test_dqo_has_the_residual_and_the_value_gradient_of_oreo_but_the_whole_policy_gradient() -> None:
    dqo, oreo = Dqo(DqoConfig(beta=0.3)), Oreo(OreoConfig(beta=0.3))
    b = full(dqo)
    assert_close(oreo.loss(b).numerator_U, 2 * dqo.loss(b).numerator_U)
    assert_close(gradients(oreo, b, "value_EA")[0], gradients(dqo, b, "value_EA")[0])
    # Each token's gradient in oreo is its own residual's; in dqo all residuals up to it add up.
    last = b.valid_EA & ~torch.nn.functional.pad(b.valid_EA[:, 1:], (0, 1))
    own, whole = gradients(oreo, b, "logit_EA")[0], gradients(dqo, b, "logit_EA")[0]
    assert_close(own.cumsum(-1) * b.valid_EA, whole)
    assert (own - whole)[last & (b.length_E[:, None] > 1)].abs().min() > 1e-6


def test_oreo_stops_the_gradient_everywhere_but_at_the_own_token_and_the_own_value() -> None:
    oreo, beta = Oreo(OreoConfig(beta=0.3)), 0.3
    b = full(oreo)
    residual = (b.need("value_EA") - suffix_sum(b.reward_EA) + beta * suffix_sum(b.logratio_EA)).detach()
    scale = 2 * residual * b.valid_EA * b.weight_U[:, None] / b.length_E[:, None]
    assert_close(gradients(oreo, b, "value_EA")[0], scale)
    assert_close(gradients(oreo, b, "logit_EA")[0], beta * scale)
    assert_close(gradients(oreo, b, "lse_EA")[0], -beta * scale)


def test_the_kl_term_of_oreo_is_alpha_times_the_mean_kl() -> None:
    with_kl, without = FAMILY["oreo kl"], FAMILY["oreo"]
    b = full(with_kl)
    (of_kl,) = gradients(with_kl, b, "kl_EA")
    assert_close(of_kl, 0.4 * b.weight_U[:, None] * b.valid_EA / b.length_E[:, None])
    assert_close(gradients(with_kl, b, "logit_EA")[0], gradients(without, b, "logit_EA")[0])


def test_dro_moves_the_policy_by_a_gradient_over_tau_and_the_value_by_its_own() -> None:
    tau = 0.3
    dro = Dro(DroConfig(tau=tau))
    b = full(dro)
    assert b.value_EA is not None
    residual = (b.return_E - b.value_EA[:, 0] - tau * b.logratio_E).detach() * b.weight_U
    plain = 0.5 * b.weight_U * (b.return_E - b.value_EA[:, 0].detach() - tau * b.logratio_E).square()
    (of_plain,) = torch.autograd.grad(plain.sum(), [b.logit_EA])
    found, of_value = gradients(dro, b, "logit_EA", "value_EA")
    assert_close(found, of_plain / tau)
    assert_close(found, -residual[:, None] * b.valid_EA)
    assert_close(of_value[:, 0], -residual)
    assert (of_value[:, 1:] == 0).all()


def test_each_head_of_ilql_learns_from_its_own_term_alone() -> None:
    ilql = FAMILY["ilql"]
    b = full(ilql)
    c, q, weight = ilql.config, b.token_q, b.weight_U[:, None] * b.valid_EA
    assert q is not None
    assert b.value_EA is not None
    value = (b.value_EA * b.valid_EA).detach()
    gap = q.target_EA - value
    (of_value,) = gradients(ilql, b, "value_EA")
    assert_close(of_value, -2 * gap * (0.2 + 0.6 * (gap > 0).double()) * weight)
    after = torch.nn.functional.pad(value[:, 1:], (0, 1))
    of_q, of_lse = torch.autograd.grad(ilql.loss(b).numerator_U.sum(), [q.q_EA, q.lse_EA])
    assert_close(of_q, (2 * (q.q_EA - b.reward_EA - c.gamma * after) - c.cql_weight) * weight)
    assert_close(of_lse, c.cql_weight * weight)
    assert_close(gradients(ilql, b, "logit_EA")[0], -c.bc_weight * weight)
    moving = q._replace(target_EA=q.target_EA.requires_grad_())
    (of_target,) = torch.autograd.grad(
        ilql.loss(replace(b, token_q=moving)).numerator_U.sum(), [moving.target_EA], allow_unused=True
    )
    assert of_target is None


def test_ipo_is_zero_at_its_target_and_pulls_back_beyond_it() -> None:
    sums = Ipo(IpoConfig(beta=0.5, length_average=False))
    b = batch(2, at_reference=True, lengths=(2, 3))
    for gap, sign in ((1.0, 0), (0.5, -1), (3.0, 1)):
        moved = b.logit_EA.detach().clone()
        moved[0, 0] += gap  # h_w - h_l
        at = replace(b, logit_EA=moved.requires_grad_())
        (gradient,) = gradients(sums, at, "logit_EA")
        assert float(gradient[0, 0]) == pytest.approx(2 * (gap - 1.0), abs=1e-12)
        assert float(torch.sign(gradient[0, 0].round(decimals=9))) == sign
        assert float(gradient[1, 0]) == pytest.approx(-float(gradient[0, 0]), abs=1e-12)


def test_kto_raises_the_good_and_lowers_the_bad_through_h_alone() -> None:
    for name in ("kto", "kto best"):
        kto = FAMILY[name]
        b = full(kto)
        z = torch.full((6,), 0.17, dtype=torch.float64, requires_grad=True)
        b = replace(b, mismatched_E=z)
        good = kto.good(b)
        assert 0 < int(good.sum()) < 6
        (gradient,) = gradients(kto, b, "logit_EA")
        first = gradient[:, 0]
        assert (first[good] < 0).all()
        assert (first[~good] > 0).all()
        (of_z,) = torch.autograd.grad(kto.loss(b).numerator_U.sum(), [z], allow_unused=True)
        assert of_z is None


def test_the_reference_point_of_kto_makes_raising_harder() -> None:
    kto = FAMILY["kto"]
    b = full(kto)
    good = kto.good(b)

    def losses(z: float) -> torch.Tensor:
        loss: Loss = kto.loss(replace(b, mismatched_E=torch.full((6,), z, dtype=torch.float64)))
        return loss.numerator_U.detach()

    assert (losses(2.0)[good] > losses(0.0)[good]).all()
    assert (losses(2.0)[~good] < losses(0.0)[~good]).all()
    assert_close(losses(-3.0), losses(0.0))


def binary(n: int, beta: float, ties: str, dtype: torch.dtype = torch.float64) -> tuple[float, float]:
    """U of a right episode, and beta ln Z, among n completions of which half are right."""
    references = torch.tensor([[1.0] * (n // 2) + [0.0] * (n // 2)] * 4, dtype=dtype)
    reward = torch.zeros(4, 7, dtype=dtype)
    reward[:, 0] = 1.0
    b = batch(reference_return_EK=references, reward_EA=reward)
    u, log_z = Qrpo(QrpoConfig(beta=beta, ties=ties)).ranks(b)  # type: ignore[arg-type]
    return float(u[0]), float(log_z[0])


def test_the_closed_form_of_qrpo_is_wrong_for_binary_rewards() -> None:
    closed = 0.5 * math.log(0.5 * (math.exp(2) - 1))
    assert closed == pytest.approx(0.581, abs=5e-4)
    u, log_z = binary(16, 0.5, "inclusive")
    assert u == 1.0
    assert log_z == pytest.approx(0.801, abs=5e-4)
    # From scratch: 8 right ones that none of 15 exceeds, 8 wrong ones that 7 of 15 equal.
    assert log_z == pytest.approx(0.5 * math.log((math.exp(2) + math.exp(2 * 7 / 15)) / 2), rel=1e-12)
    u, log_z = binary(16, 0.5, "mid")
    assert u == 0.75
    assert log_z == pytest.approx(0.5 * math.log((math.exp(2 * 11.5 / 15) + math.exp(2 * 3.5 / 15)) / 2), rel=1e-12)


def test_the_partition_function_of_qrpo_tends_to_the_closed_form_without_ties() -> None:
    n, beta = 2000, 0.5
    references = torch.rand(1, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 100
    b = batch(lengths=(3,), reference_return_EK=references)
    log_z = float(Qrpo(QrpoConfig(beta=beta)).ranks(b)[1])
    assert log_z == pytest.approx(0.5 * math.log(0.5 * (math.exp(2) - 1)), abs=2 / n)


@pytest.mark.parametrize("beta", [1e-3, 1e-2, 0.3])
def test_the_partition_function_of_qrpo_is_stable_in_fp32(beta: float) -> None:
    exact = 11.5 / 15 + beta * math.log(0.5 + 0.5 * math.exp(-8 / 15 / beta))
    for dtype in (torch.float32, torch.float64):
        assert binary(16, beta, "mid", dtype)[1] == pytest.approx(exact, abs=1e-6)
    assert math.isinf(float(torch.tensor(1 / 1e-3).exp()))  # what the closed form would compute


def test_qrpo_is_zero_at_the_optimum_of_the_reward_u() -> None:
    arms, copies, beta = torch.tensor([0.3, -1.0, 2.0, 0.3], dtype=torch.float64), 200, 0.3
    references = arms.repeat(copies)[None].expand(4, -1)
    below = (arms[None] < arms[:, None]).sum(-1) + 0.5 * (arms[None] == arms[:, None]).sum(-1)
    u = below / 4
    log_ratio = u / beta - (u / beta).logsumexp(0) + math.log(4)
    b = batch(
        lengths=(1,) * 4,
        at_reference=True,
        reward_EA=arms[:, None],
        reference_return_EK=references,
    )
    b = replace(b, logit_EA=b.logit_EA + log_ratio[:, None])
    assert Qrpo(QrpoConfig(beta=beta)).loss(b).numerator_U.sqrt().max() < 2 / (4 * copies)


# Two steps of three tokens: every episode, weighed by a behaviour with full support.
STATES = {(): 0, (0,): 1, (1,): 2, (2,): 3}
TOKENS = 3


class Tree:
    """All nine episodes of a tree of depth two, in units of ``k``, as one exact expectation."""

    def __init__(self, beta: float) -> None:
        generator = torch.Generator().manual_seed(11)

        def rand(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, dtype=torch.float64, generator=generator)

        self.beta, self.ref_SV, self.reward_SV = beta, rand(4, TOKENS), rand(4, TOKENS)
        self.behaviour_SV = rand(4, TOKENS).log_softmax(-1)
        q_SV = self.reward_SV.clone()
        logp_ref_SV = self.ref_SV.log_softmax(-1)
        leaf_V = beta * (logp_ref_SV[1:] + q_SV[1:] / beta).logsumexp(-1)
        q_SV[0] += leaf_V
        self.q_SV = q_SV
        self.value_S = beta * (logp_ref_SV + q_SV / beta).logsumexp(-1)

    def batch(self, logit_SV: torch.Tensor, value_S: torch.Tensor, k: int) -> Batch:
        episodes = list(product(range(TOKENS), repeat=2))
        units = list(product(range(len(episodes)), repeat=k))
        chosen = torch.tensor([episodes[i] for unit in units for i in unit])
        state = torch.stack([torch.zeros(len(chosen), dtype=torch.long), 1 + chosen[:, 0]], -1)
        behaviour_EA = self.behaviour_SV[state, chosen]
        logp_SV, logp_ref_SV = logit_SV.log_softmax(-1), self.ref_SV.log_softmax(-1)
        return Batch(
            valid_EA=torch.ones_like(chosen, dtype=torch.bool),
            reward_EA=self.reward_SV[state, chosen],
            logit_EA=logit_SV[state, chosen],
            lse_EA=logit_SV.logsumexp(-1)[state],
            ref_logit_EA=self.ref_SV[state, chosen],
            ref_lse_EA=self.ref_SV.logsumexp(-1)[state],
            unit_E=torch.arange(len(chosen)) // k,
            weight_U=behaviour_EA.sum(-1).reshape(-1, k).sum(-1).exp(),
            behaviour_logp_EA=behaviour_EA,
            value_EA=value_S[state],
            kl_EA=(logp_SV.exp() * (logp_SV - logp_ref_SV)).sum(-1)[state],
        )

    def gradient(self, algorithm: Any, logit_SV: torch.Tensor, value_S: torch.Tensor) -> float:
        logit_SV, value_S = logit_SV.clone().requires_grad_(), value_S.clone().requires_grad_()
        loss = algorithm.loss(self.batch(logit_SV, value_S, algorithm.group_size))
        mean = loss.numerator_U.sum() / loss.denominator_U.sum()
        found = torch.autograd.grad(mean, [logit_SV, value_S], allow_unused=True)
        return max(float(g.abs().max()) for g in found if g is not None)


CLAIMS = ["shiq", "copg", "copg of 3", "dro", "rebel", "reinforce", "tbrm", "reval", "oreo", "dqo"]


@pytest.mark.parametrize("name", [*CLAIMS, "reinforce of 3"])
def test_the_optimum_that_is_claimed_is_a_fixed_point_under_full_coverage(name: str) -> None:
    algorithm = FAMILY[name]
    beta = algorithm.temperature or algorithm.config.beta  # with a ratio it is a fixed point, and no claim
    tree, other = Tree(beta), Tree(2 * beta)
    base_SV = tree.ref_SV - tree.ref_SV.logsumexp(-1, keepdim=True) if name == "tbrm" else tree.ref_SV

    def optimum(of: Tree) -> torch.Tensor:
        return base_SV + of.q_SV / of.beta

    assert tree.gradient(algorithm, optimum(tree), tree.value_S) < 1e-12
    assert tree.gradient(algorithm, optimum(other), other.value_S) > 1e-3
    assert tree.gradient(algorithm, tree.ref_SV, torch.zeros_like(tree.value_S)) > 1e-3


def test_all_claims_are_tested() -> None:
    assert {n for n, a in FAMILY.items() if a.temperature is not None} == set(CLAIMS)


def test_the_kl_term_moves_oreo_away_from_the_optimum() -> None:
    tree = Tree(0.3)
    assert tree.gradient(FAMILY["oreo kl"], tree.ref_SV + tree.q_SV / tree.beta, tree.value_S) > 1e-3
