"""Exact solutions against enumeration, identities and closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mdp_support import KINDS, mdp_task, random_logp
from shiqbench_tasks.mdp import solve
from shiqbench_tasks.mdp.data import every_trajectory, random_stream, sample

VARIANTS: list[dict[str, Any]] = [
    {},
    {"gamma": 0.9, "reward": "dense", "reference": "random"},
    {"noise": 0.6, "gamma": 0.9, "reward": "dense", "reference": "peaked", "logit_offset": 2.0},
]
CASES = [{**k, **v} for k in KINDS for v in VARIANTS if not (k["mdp"] == "bandit" and "noise" in v)]


@pytest.mark.parametrize("settings", CASES, ids=lambda s: "-".join(map(str, s.values())))
def test_regret_is_beta_times_the_divergence_from_the_optimum(settings: dict[str, Any]) -> None:
    task = mdp_task(**settings, beta=0.7)
    best, logp = task.solve(), random_logp(task)
    regret = solve.objective(task.mdp, best.logp_SNA) - solve.objective(task.mdp, logp)
    nats = solve.divergence(task.mdp, logp, best.logp_SNA)
    torch.testing.assert_close(regret, 0.7 * nats, rtol=0, atol=2e-14)
    torch.testing.assert_close(best.value_SN[:, 0], solve.objective(task.mdp, best.logp_SNA), rtol=0, atol=2e-14)
    at_reference = best.value_SN[:, 0] - solve.objective(task.mdp, task.mdp.ref_logp_SNA)
    relative = solve.relative_regret(task.mdp, best, logp)
    gains = at_reference > 0
    assert torch.equal(relative.isnan(), ~gains)
    torch.testing.assert_close(relative[gains], (regret / at_reference)[gains], rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "settings", [c for c in CASES if c["mdp"] != "grid"], ids=lambda s: "-".join(map(str, s.values()))
)
def test_the_objective_is_the_sum_over_all_trajectories(settings: dict[str, Any]) -> None:
    task = mdp_task(**settings)
    mdp, logp = task.mdp, random_logp(task)
    data = every_trajectory(mdp, logp)
    n, actions = mdp.reward_SNA.shape[1:]
    index = (data.state_SEH * actions + data.action_SEH).flatten(1)
    reference = mdp.ref_logp_SNA.flatten(1).gather(1, index).view(data.state_SEH.shape)
    discount = mdp.gamma ** torch.arange(mdp.horizon, dtype=torch.float64)
    gain = (discount * (data.reward_SEH - mdp.beta * (data.logp_SEH - reference))).sum(-1)
    torch.testing.assert_close((data.weight_SE * gain).sum(-1), solve.objective(mdp, logp), rtol=0, atol=1e-13)
    returned = (data.weight_SE * (discount * data.reward_SEH).sum(-1)).sum(-1)
    torch.testing.assert_close(returned, solve.expected_return(mdp, logp), rtol=0, atol=1e-13)
    assert n == task.config.state_count


def test_the_sampled_return_on_a_grid_is_the_exact_one() -> None:
    task = mdp_task(mdp="grid", reward="dense", noise=0.3, horizon=6)
    data = sample(task.mdp, task.mdp.ref_logp_SNA, 20_000, random_stream(0, "test"))
    exact = solve.expected_return(task.mdp, task.mdp.ref_logp_SNA)
    error = data.return_SE.std(-1) / 20_000**0.5
    assert ((data.return_SE.mean(-1) - exact).abs() < 4 * error).all()


def test_no_other_policy_is_better() -> None:
    task = mdp_task(reference="random", reward="dense")
    best = task.solve()
    for seed in range(5):
        near = (best.logp_SNA + 0.01 * random_logp(task, seed)).log_softmax(-1)
        assert (solve.objective(task.mdp, near) < best.value_SN[:, 0]).all()


def test_a_bandits_optimum_is_its_closed_form() -> None:
    task = mdp_task(mdp="bandit", arm_rewards=(1.0, 0.0, -2.0), beta=0.5, reference="random")
    mdp, best = task.mdp, task.solve()
    weights = mdp.ref_logp_SNA.exp() * torch.tensor([1.0, 0.0, -2.0], dtype=torch.float64).div(0.5).exp()
    torch.testing.assert_close(best.logp_SNA.exp(), weights / weights.sum(-1, keepdim=True), rtol=0, atol=1e-14)
    torch.testing.assert_close(best.value_SN, 0.5 * weights.sum(-1).log(), rtol=0, atol=1e-14)
    torch.testing.assert_close(best.q_SNA, mdp.reward_SNA, rtol=0, atol=0)


def test_visits_start_at_one_and_flow_on() -> None:
    task = mdp_task(mdp="random", horizon=4, noise=0.5)
    visits = solve.occupancy(task.mdp, random_logp(task))
    for first, last in task.mdp.layers:
        torch.testing.assert_close(visits[:, first:last].sum(-1), torch.ones(4, dtype=torch.float64))
    discounted = solve.occupancy(task.mdp, random_logp(task), gamma=0.5)
    assert float(discounted[:, -5:].sum(-1)[0]) == pytest.approx(0.125)


def test_value_error_is_zero_where_the_logits_carry_the_value() -> None:
    task = mdp_task(mdp="grid", horizon=5, reference="random", logit_offset=1.0)
    logit = task.mdp.ref_logit_SNA + task.solve().q_SNA / task.mdp.beta
    assert (solve.value_error(task.mdp, task.solve(), logit) < 1e-13).all()
    off = solve.value_error(task.mdp, task.solve(), logit + 2.0)
    torch.testing.assert_close(off, torch.ones(4, dtype=torch.float64))  # beta times 2


def test_mass_outside_some_actions() -> None:
    task = mdp_task(mdp="tree", horizon=3, coverage=0.6)
    outside = solve.mass_outside(task.mdp, task.mdp.ref_logp_SNA, task.mdp.shown_SNK)
    torch.testing.assert_close(outside, torch.full((4,), 1 / 3, dtype=torch.float64))
