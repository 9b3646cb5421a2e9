"""Offline data: exact distributions, samples, selection, draws of units."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mdp_support import mdp_task, shiq
from shiqbench_algorithms.sft import Sft, SftConfig
from shiqbench_tasks.mdp import data
from shiqbench_tasks.mdp.data import Draws, Trajectories
from shiqbench_tasks.mdp.task import MdpTask

from shiqbench.base.errors import ConfigError


def offered(task: MdpTask, seed: int = 0) -> Trajectories:
    return data.make_data(task.mdp, task.solve(), task.config, seed)


@pytest.mark.parametrize(
    "settings",
    [
        {"mdp": "bandit"},
        {"mdp": "tree"},
        {"mdp": "tree", "noise": 0.5, "horizon": 4},
        {"mdp": "chain", "coverage": 0.5},
        {"mdp": "random", "coverage": 0.6, "behaviour": "mixture"},
        {"mdp": "random", "behaviour": "expert", "reference": "peaked"},
    ],
    ids=lambda s: "-".join(map(str, s.values())),
)
def test_exact_data_are_every_trajectory_once_with_its_probability(settings: dict[str, Any]) -> None:
    task = mdp_task(**settings)
    found = offered(task)
    assert found.weight_SE.shape[1] == task.config.trajectories
    torch.testing.assert_close(found.weight_SE.sum(-1), torch.ones(4, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (found.weight_SE > 0).all()
    for s in range(4):
        rows = torch.cat([found.state_SEH[s], found.action_SEH[s]], dim=-1)
        if task.config.mdp in ("bandit", "tree"):  # elsewhere two branches may lead to one state
            assert len(rows.unique(dim=0)) == len(rows)  # type: ignore[no-untyped-call]
    assert (found.logp_SEH.exp() > 0).all()
    if not task.config.noise:
        torch.testing.assert_close(found.logp_SEH.sum(-1).exp(), found.weight_SE, rtol=1e-12, atol=0)


def test_behaviours() -> None:
    logp = {
        name: data.behaviour_logp(t.mdp, t.solve(), t.config).exp()
        for name in ("reference", "uniform", "expert", "mixture")
        for t in [mdp_task(reference="random", behaviour=name)]
    }
    task = mdp_task(reference="random")
    torch.testing.assert_close(logp["reference"], task.mdp.ref_logp_SNA.exp())
    torch.testing.assert_close(logp["uniform"], torch.full_like(logp["uniform"], 1 / 3))
    torch.testing.assert_close(logp["expert"], task.solve().logp_SNA.exp())
    torch.testing.assert_close(logp["mixture"], (logp["reference"] + logp["uniform"] + logp["expert"]) / 3)


@pytest.mark.parametrize("mode", ["exact", "sample"])
def test_partial_coverage_never_shows_the_other_actions(mode: str) -> None:
    task = mdp_task(mdp="random", coverage=0.6, data=mode, reference="random")
    found = offered(task)
    shown = task.mdp.shown_SNK.flatten(0, 1)[(found.state_SEH + 25 * torch.arange(4)[:, None, None]).flatten()]
    assert (shown == found.action_SEH.flatten()[:, None]).any(-1).all()
    logp = data.behaviour_logp(task.mdp, task.solve(), task.config)
    torch.testing.assert_close(logp.exp().sum(-1), torch.ones(4, 25, dtype=torch.float64))


def test_a_sample_is_a_function_of_the_seed_and_follows_the_distribution() -> None:
    task = mdp_task(mdp="chain", data="sample", episodes=20_000, behaviour="expert", horizon=3)
    first, again, other = offered(task), offered(task), offered(task, seed=1)
    assert torch.equal(first.action_SEH, again.action_SEH)
    assert not torch.equal(first.action_SEH, other.action_SEH)
    exact = offered(mdp_task(mdp="chain", behaviour="expert", horizon=3))
    code = torch.tensor([4, 2, 1])
    for s in range(4):
        share = torch.bincount((first.action_SEH[s] * code).sum(-1), minlength=8) / 20_000
        wanted = torch.zeros(8, dtype=torch.float64).index_add(
            0, (exact.action_SEH[s] * code).sum(-1), exact.weight_SE[s]
        )
        assert ((share - wanted).abs() < 4 * (wanted * (1 - wanted) / 20_000).sqrt() + 1e-9).all()


def test_episodes_that_end_early_are_left_aligned_and_padded_with_zeros() -> None:
    task = mdp_task(mdp="grid", behaviour="expert", episodes=200, reward="dense")
    found = offered(task)
    lengths = found.valid_SEH.sum(-1)
    assert lengths.min() < lengths.max()
    assert torch.equal(found.valid_SEH, torch.arange(10) < lengths[..., None])
    for values in (found.state_SEH, found.action_SEH, found.reward_SEH, found.logp_SEH):
        assert (values[~found.valid_SEH] == 0).all()
    early = lengths < 10
    last = found.reward_SEH.gather(-1, lengths[..., None] - 1)[..., 0]
    assert (last[early] == 1).all()


def test_the_first_seeds_see_the_same_data_whatever_comes_after_them() -> None:
    few, many = (offered(mdp_task(mdp="grid", seeds=n, episodes=50)) for n in (2, 5))
    assert torch.equal(few.action_SEH[0], many.action_SEH[0])


def test_selection_is_the_algorithms_own_rule() -> None:
    task = mdp_task(reward="dense")
    every = offered(task)
    assert data.selected(every, shiq()) is every
    best = data.selected(every, Sft(SftConfig()))
    assert torch.equal(best.weight_SE.argmax(-1), every.return_SE.argmax(-1))
    torch.testing.assert_close(best.weight_SE.max(-1).values, torch.ones(4, dtype=torch.float64))
    above = data.selected(every, Sft(SftConfig(accept="threshold", threshold=0.5)))
    assert torch.equal(above.weight_SE > 0, every.return_SE > 0.5)
    torch.testing.assert_close(above.weight_SE.sum(-1), torch.ones(4, dtype=torch.float64))
    with pytest.raises(ConfigError, match=r"instance 0 has no episode that the algorithm accepts"):
        data.selected(every, Sft(SftConfig(accept="threshold", threshold=99.0)))


def weighted(returns: list[float], weights: list[float]) -> Trajectories:
    """Two instances of one-step trajectories with these returns; the second has the weights turned round."""
    reward = torch.tensor([returns, returns], dtype=torch.float64)[..., None]
    weight = torch.tensor([weights, weights[::-1]], dtype=torch.float64)
    zeros = torch.zeros_like(reward)
    return Trajectories(zeros.long(), zeros.long(), reward, torch.ones_like(zeros, dtype=torch.bool), zeros, weight)


def frequencies(indices: torch.Tensor, count: int) -> torch.Tensor:
    """Shares of pairs ``[count, count]`` among rows ``[2 U]``."""
    pairs = indices.view(-1, 2)
    return torch.bincount(pairs[:, 0] * count + pairs[:, 1], minlength=count * count).view(count, count) / len(pairs)


def test_pairs_are_two_draws_given_that_their_returns_differ_the_better_first() -> None:
    returns, weights = [1.0, 0.0, 1.0, 2.0, 0.0], [0.1, 0.3, 0.2, 0.0, 0.4]
    found = weighted(returns, weights)
    rows = Draws(found, "pair", 2).rows(40_000, data.random_stream(0, "test"))
    assert rows.shape == (2, 80_000)
    for s in range(2):
        p = found.weight_SE[s]
        r = found.return_SE[s]
        wanted = torch.where(r[:, None] > r[None], 2 * p[:, None] * p[None], 0.0)
        wanted = wanted / wanted.sum()
        share = frequencies(rows[s], 5)
        assert ((share - wanted).abs() < 4 * (wanted * (1 - wanted) / 40_000).sqrt() + 1e-12).all()


def test_groups_and_small_batches_are_independent_draws() -> None:
    found = weighted([1.0, 0.0, 1.0, 2.0], [0.1, 0.3, 0.2, 0.4])
    rows = Draws(found, "group", 4).rows(10_000, data.random_stream(0, "test"))
    share = frequencies(rows[0], 4)
    p = found.weight_SE[0]
    wanted = p[:, None] * p[None]
    assert ((share - wanted).abs() < 4 * (wanted / 20_000).sqrt()).all()


def test_pairs_of_equal_returns_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"no pair to train on: all returns of instance 0 are equal") as caught:
        Draws(weighted([1.0, 1.0 + 1e-12, 0.0], [0.5, 0.5, 0.0]), "pair", 2)
    assert "\n" not in caught.value.line()


def test_streams_differ_by_seed_and_purpose() -> None:
    numbers = {tuple(torch.rand(3, generator=data.random_stream(*x)).tolist()) for x in [(0, "a"), (0, "b"), (1, "a")]}
    assert len(numbers) == 3


def test_coverage_is_the_share_of_the_optimum_that_data_show() -> None:
    whole = mdp_task(mdp="tree", horizon=3)
    torch.testing.assert_close(
        data.coverage(whole.mdp, whole.solve(), offered(whole)), torch.ones(4, dtype=torch.float64)
    )
    bandit = mdp_task(mdp="bandit", arm_rewards=(1.0, 0.0, 0.5), coverage=0.3)  # data show the first arm only
    expected = bandit.solve().logp_SNA[:, 0, 0].exp()
    torch.testing.assert_close(data.coverage(bandit.mdp, bandit.solve(), offered(bandit)), expected)


def test_coverage_rises_with_the_sample_and_counts_what_is_used_only() -> None:
    found = []
    for episodes in (8, 64, 512):
        task = mdp_task(mdp="grid", episodes=episodes)
        found.append(data.coverage(task.mdp, task.solve(), offered(task)))
    assert (found[0] < found[1]).all()
    assert (found[1] < found[2]).all()
    best = data.selected(offered(task), Sft(SftConfig()))
    assert (data.coverage(task.mdp, task.solve(), best) < found[2]).all()
