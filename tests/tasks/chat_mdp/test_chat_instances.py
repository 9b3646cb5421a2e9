"""Instances: unrolled, they have the same optimum; any other text is an action of its own."""

from __future__ import annotations

import itertools

import pytest
import torch
from shiqbench_tasks.chat_mdp.config import ChatMdpConfig
from shiqbench_tasks.chat_mdp.instances import instances, steps, table_config, trajectories, with_other
from shiqbench_tasks.mdp import mdps, solve

from shiqbench.base.errors import ConfigError


@pytest.mark.parametrize("kind", ["tree", "grid"])
@pytest.mark.parametrize("reward", ["sparse", "dense"])
def test_an_unrolled_instance_has_the_same_optimum(kind: str, reward: str) -> None:
    config = ChatMdpConfig.model_validate({"mdp": kind, "reward": reward, "seeds": 4})
    found = instances(config, validation=False)
    assert len(found) == 4
    assert len({name for i in found for name in i.names}) == sum(len(set(i.names)) for i in found)
    whole = mdps.build(table_config(config, found[-1].seed + 1))
    values = solve.solve(whole).value_SN
    for i in found:
        own = solve.solve(i.mdp).value_SN[0]
        torch.testing.assert_close(own, values[i.seed, list(i.places)], rtol=0, atol=1e-12)
        assert own[0] > solve.objective(i.mdp, i.mdp.ref_logp_SNA)[0] + 1e-6


def test_instances_of_validation_are_others() -> None:
    config = ChatMdpConfig(seeds=3)
    test, validation = (instances(config, validation=v) for v in (False, True))
    assert not {i.seed for i in test} & {i.seed for i in validation}
    assert not {n for i in test for n in i.names} & {n for i in validation for n in i.names}


def test_a_grid_whose_goal_is_never_reached_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing can be gained in all but 0 of"):
        instances(ChatMdpConfig(mdp="grid", horizon=1, seeds=2), validation=False)


def test_the_optimum_with_other_texts_is_that_of_all_conversations() -> None:
    """By hand: every conversation with its return and its probability under the reference."""
    config = ChatMdpConfig(horizon=2, seeds=2, beta=0.7, other_reward=-0.3)
    instance = instances(config, validation=False)[0]
    generator = torch.Generator().manual_seed(0)
    logit_NA = torch.randn(len(instance.paths), 4, dtype=torch.float64, generator=generator)
    mdp = with_other(instance.mdp, logit_NA, config.other_reward)
    logp, reward = logit_NA.log_softmax(-1), instance.mdp.reward_SNA[0]
    terms = [logp[0, 3] + config.other_reward / config.beta]
    for first, second in itertools.product(range(3), range(4)):
        state = instance.paths.index((first,))
        gained = reward[0, first] + (config.other_reward if second == 3 else reward[state, second])
        terms.append(logp[0, first] + logp[state, second] + gained / config.beta)
    by_hand = config.beta * torch.stack(terms).logsumexp(0)
    assert float(solve.solve(mdp).value_SN[0, 0]) == pytest.approx(float(by_hand), abs=1e-12)


def test_data_show_a_share_of_the_words_of_each_state() -> None:
    whole = ChatMdpConfig(seeds=2)
    part = ChatMdpConfig(seeds=2, coverage=0.5)
    instance = instances(whole, validation=False)[0]
    assert len(steps(trajectories(instance, whole))) == 27
    played = steps(trajectories(instances(part, validation=False)[0], part))
    assert len(played) == 2**3
    shown: dict[int, set[int]] = {}
    for state, action, _ in itertools.chain.from_iterable(played):
        shown.setdefault(state, set()).add(action)
    assert {len(actions) for actions in shown.values()} == {2}


def test_a_sampled_episode_of_a_grid_ends_at_the_goal() -> None:
    config = ChatMdpConfig(mdp="grid", seeds=2, episodes=200)
    for instance in instances(config, validation=False):
        played = steps(trajectories(instance, config))
        assert len(played) == 200
        assert {round(sum(r for _, _, r in each), 9) for each in played} == {0.0, 1.0}
        for each in played:
            assert all(r == 0 for _, _, r in each[:-1])
            assert [instance.paths[s] for s, _, _ in each] == [
                tuple(a for _, a, _ in each[:n]) for n in range(len(each))
            ]
