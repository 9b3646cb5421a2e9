"""The instances: shapes, structure, seeds."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from mdp_support import KINDS, mdp_task
from shiqbench_tasks.mdp.config import MdpConfig
from shiqbench_tasks.mdp.mdps import Mdp


def instances(**settings: Any) -> Mdp:
    return mdp_task(**settings).mdp


@pytest.mark.parametrize("settings", KINDS, ids=lambda s: s["mdp"])
@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_every_transition_leads_to_the_next_layer_or_ends(settings: dict[str, Any], noise: float) -> None:
    if noise and settings["mdp"] == "bandit":
        pytest.skip("a bandit has no transitions")
    mdp = instances(**settings, noise=noise)
    n = mdp.reward_SNA.shape[1]
    assert mdp.layers[0][0] == 0
    assert mdp.layers[-1][1] == n
    assert mdp.horizon == (settings.get("horizon") or 1)
    for (first, last), after in zip(mdp.layers, [*mdp.layers[1:], (n, n + 1)], strict=True):
        targets = mdp.successors[:, first:last]
        assert ((targets == n) | ((targets >= after[0]) & (targets < after[1]))).all()
    assert (mdp.successors[:, mdp.layers[-1][0] :] == n).all()
    torch.testing.assert_close(mdp.chances.sum(-1), torch.ones_like(mdp.reward_SNA), rtol=0, atol=1e-12)
    assert mdp.chances.shape[-1] == (mdp.reward_SNA.shape[2] if noise else 1)


def test_a_tree_is_every_prefix() -> None:
    mdp = instances(mdp="tree", actions=2, horizon=3)
    assert mdp.layers == ((0, 1), (1, 3), (3, 7))
    assert mdp.successors[0, :, :, 0].tolist() == [[1, 2], [3, 4], [5, 6], [7, 7], [7, 7], [7, 7], [7, 7]]


def test_a_chain_moves_on_or_back() -> None:
    mdp = instances(mdp="chain", states=3, horizon=4)
    assert mdp.successors[0, :6, :, 0].tolist() == [[4, 3], [5, 3], [5, 3], [7, 6], [8, 6], [8, 6]]


def test_a_grid_has_walls_and_a_goal_that_ends_and_pays() -> None:
    mdp = instances(mdp="grid", horizon=3, seeds=8)
    assert mdp.reward_SNA.shape == (8, 75, 4)
    corner = mdp.successors[0, 0, :, 0] - 25
    assert corner.tolist() == [0, 5, 0, 1]  # up and left are walls
    pays = mdp.reward_SNA == 1
    assert (mdp.reward_SNA[~pays] == 0).all()
    assert (pays.sum(dim=(1, 2)) == 3 * 4).all()
    assert (mdp.successors[..., 0][pays] == 75).all()
    dense = instances(mdp="grid", horizon=3, reward="dense", seeds=8)
    assert (dense.reward_SNA[~pays] < 0).all()
    assert (dense.reward_SNA[pays] == 1).all()


@pytest.mark.parametrize("kind", ["tree", "chain", "random"])
def test_sparse_rewards_are_at_the_end_alone_and_dense_ones_as_large_in_sum(kind: str) -> None:
    sparse, dense = (instances(mdp=kind, horizon=4, reward=r, seeds=50) for r in ("sparse", "dense"))
    first, last = sparse.layers[-1]
    assert (sparse.reward_SNA[:, :first] == 0).all()
    assert (dense.reward_SNA != 0).all()
    assert float(sparse.reward_SNA[:, first:last].std()) == pytest.approx(1, abs=0.05)
    assert float(dense.reward_SNA.std()) * math.sqrt(4) == pytest.approx(1, abs=0.05)


def test_the_offset_is_added_once_at_the_end() -> None:
    for settings in KINDS:
        plain, moved = instances(**settings), instances(**settings, offset=2.0)
        ends = plain.successors[..., 0] == plain.reward_SNA.shape[1]
        torch.testing.assert_close(moved.reward_SNA - plain.reward_SNA, 2.0 * ends.double(), rtol=0, atol=1e-12)


def test_seeds_fix_instances_whatever_else_is_set() -> None:
    few, many = instances(mdp="random", seeds=3), instances(mdp="random", seeds=6)
    torch.testing.assert_close(few.reward_SNA, many.reward_SNA[:3], rtol=0, atol=0)
    torch.testing.assert_close(few.successors, many.successors[:3], rtol=0, atol=0)
    assert not torch.equal(few.reward_SNA[0], few.reward_SNA[1])
    other = instances(mdp="random", seeds=3, reference="random", noise=0.3, logit_offset=1.0, coverage=0.4)
    torch.testing.assert_close(few.reward_SNA, other.reward_SNA, rtol=0, atol=0)
    torch.testing.assert_close(few.successors[..., 0], other.successors[:, :, 0], rtol=0, atol=0)


def test_references() -> None:
    assert (instances(reference="uniform").ref_logit_SNA == 0).all()
    peaked = instances(reference="peaked").ref_logit_SNA
    assert ((peaked == 3).sum(-1) == 1).all()
    assert ((peaked == 0).sum(-1) == 2).all()
    random = instances(reference="random")
    moved = instances(reference="random", logit_offset=2.0)
    constant = moved.ref_logit_SNA - random.ref_logit_SNA
    torch.testing.assert_close(constant, constant[..., :1].expand_as(constant), rtol=0, atol=1e-12)
    assert float(constant.std()) > 1
    torch.testing.assert_close(moved.ref_logp_SNA, random.ref_logp_SNA, rtol=0, atol=1e-12)


def test_coverage_shows_a_share_of_each_states_actions() -> None:
    mdp = instances(mdp="bandit", coverage=0.2, seeds=30)
    assert mdp.shown_SNK.shape == (30, 1, 2)
    assert (mdp.shown_SNK[..., 0] < mdp.shown_SNK[..., 1]).all()
    assert len({tuple(x) for x in mdp.shown_SNK[:, 0].tolist()}) > 10
    arms = instances(mdp="bandit", arm_rewards=(3, 2, 1, 0), coverage=0.5)
    assert (arms.shown_SNK == torch.tensor([0, 1])).all()
    assert (arms.reward_SNA == torch.tensor([3.0, 2.0, 1.0, 0.0])).all()


def test_numbers_without_an_exact_solution_are_refused() -> None:
    mdp = instances()
    with pytest.raises(ValueError, match="finite"):
        replace(mdp, reward_SNA=mdp.reward_SNA * torch.nan)
    with pytest.raises(ValueError, match="finite"):
        replace(mdp, ref_logit_SNA=mdp.ref_logit_SNA - torch.inf)
    with pytest.raises(ValueError, match="sum to one"):
        replace(mdp, chances=mdp.chances * 0.9)


@pytest.mark.parametrize(
    "settings", [{"mdp": "tree"}, {"mdp": "random", "reference": "random"}, {"policy": "transformer", "horizon": 3}]
)
def test_validation_has_other_instances_of_the_same_kind(settings: dict[str, Any]) -> None:
    test, validation = instances(**settings), instances(**settings, instances="validation")
    assert validation.reward_SNA.shape == test.reward_SNA.shape
    pays = test.reward_SNA != 0
    assert not torch.isclose(test.reward_SNA, validation.reward_SNA)[pays].any()
    if "reference" in settings or "policy" in settings:
        assert not torch.isclose(test.ref_logit_SNA, validation.ref_logit_SNA).any()


def test_the_choice_of_instances_is_a_setting_that_moves_no_earlier_digest() -> None:
    kept, chosen = MdpConfig(instances="test"), MdpConfig(instances="validation")
    assert kept.deciding() == MdpConfig().deciding()
    assert "instances" not in {**MdpConfig().deciding(), **MdpConfig().setting()}
    assert chosen.setting() == {**kept.setting(), "instances": "validation"}
