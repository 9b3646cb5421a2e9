"""Offline data: weighted trajectories of every instance, and how units are drawn from them.

A data set is a distribution over trajectories: every one with its probability (exact), or a sample with equal weights.
The whole data set is one weighted batch. Pairs, groups and smaller batches are drawn from it independently.

Legend: S instances, N states, A actions, K actions that data show, E trajectories, H steps, U units, R rows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from shiqbench.plugin import Algorithm, AlgorithmConfig, ConfigError, Episode, Message
from shiqbench_tasks.mdp.solve import occupancy

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from shiqbench_tasks.mdp.config import MdpConfig
    from shiqbench_tasks.mdp.mdps import Mdp
    from shiqbench_tasks.mdp.solve import Solution

SAME_RETURN = 1e-9  # returns this close are a tie, as in the pairs of language models


@dataclass(frozen=True)
class Trajectories:
    """Trajectories of every instance, left-aligned.

    Attributes:
        state_SEH: State of each step; 0 beyond the end.
        action_SEH: Action of each step; 0 beyond the end.
        reward_SEH: Reward of each step; 0 beyond the end.
        valid_SEH: True where there is a step.
        logp_SEH: Log-probability of each action under the policy that made the data; 0 beyond the end.
        weight_SE: Probability of each trajectory; sums to one over an instance.
    """

    state_SEH: Tensor
    action_SEH: Tensor
    reward_SEH: Tensor
    valid_SEH: Tensor
    logp_SEH: Tensor
    weight_SE: Tensor

    @property
    def return_SE(self) -> Tensor:
        """Undiscounted return of each trajectory."""
        return self.reward_SEH.sum(-1)


def random_stream(seed: int, *purpose: object) -> Generator:
    """Make a random generator that depends only on the seed and the purpose."""
    name = "/".join(map(str, (seed, *purpose)))
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))


def behaviour_logp(mdp: Mdp, solution: Solution, config: MdpConfig) -> Tensor:
    """Log-probabilities ``[S, N, A]`` of the policy that makes the data; -inf for actions that it never shows."""
    reference, expert = mdp.ref_logp_SNA.exp(), solution.logp_SNA.exp()
    uniform = torch.full_like(reference, 1 / reference.shape[-1])
    made = {
        "reference": reference,
        "uniform": uniform,
        "expert": expert,
        "mixture": (reference + uniform + expert) / 3,
    }[config.behaviour]
    shown = torch.zeros_like(made).scatter_(-1, mdp.shown_SNK, 1.0)
    return (made * shown / (made * shown).sum(-1, keepdim=True)).log()


def make_data(mdp: Mdp, solution: Solution, config: MdpConfig, seed: int) -> Trajectories:
    """Make the data set of a configuration."""
    logp_SNA = behaviour_logp(mdp, solution, config)
    if config.exact:
        return every_trajectory(mdp, logp_SNA)
    assert config.episodes is not None
    return sample(mdp, logp_SNA, config.episodes, random_stream(seed, "data"))


def every_trajectory(mdp: Mdp, logp_SNA: Tensor) -> Trajectories:
    """Every trajectory over the shown actions and all branches, with its probability. Episodes must be equally long."""
    seeds = logp_SNA.shape[0]
    state_SE = torch.zeros(seeds, 1, dtype=torch.long)
    weight_SE = logp_SNA.new_ones(seeds, 1)
    columns: list[list[Tensor]] = []  # per step: state, action, log-probability
    for step in range(mdp.horizon):
        branches = mdp.chances.shape[-1] if step < mdp.horizon - 1 else 1
        action_SEK = _rows(mdp.shown_SNK, state_SE)
        fan = action_SEK.shape[-1] * branches
        action_SE = action_SEK.repeat_interleave(branches, dim=-1).flatten(1)
        branch_SE = torch.arange(branches).repeat(action_SE.shape[1] // branches).expand_as(action_SE)
        before_SE = state_SE.repeat_interleave(fan, dim=1)
        columns = [[x.repeat_interleave(fan, dim=1) for x in column] for column in columns]
        logp_SE = _at(logp_SNA, before_SE, action_SE)
        columns.append([before_SE, action_SE, logp_SE])
        weight_SE = weight_SE.repeat_interleave(fan, dim=1) * logp_SE.exp()
        weight_SE = weight_SE * _at(mdp.chances.flatten(2), before_SE, _branch(mdp, action_SE, branch_SE))
        state_SE = _at(mdp.successors.flatten(2), before_SE, _branch(mdp, action_SE, branch_SE))
    state_SEH, action_SEH, logp_SEH = (torch.stack(part, dim=-1) for part in zip(*columns, strict=True))
    valid_SEH = torch.ones_like(state_SEH, dtype=torch.bool)
    return Trajectories(state_SEH, action_SEH, _rewards(mdp, state_SEH, action_SEH), valid_SEH, logp_SEH, weight_SE)


def sample(mdp: Mdp, logp_SNA: Tensor, episodes: int, generator: Generator) -> Trajectories:
    """Sample a fixed number of episodes of every instance from a policy."""
    seeds, n, _ = logp_SNA.shape
    state_SE = torch.zeros(seeds, episodes, dtype=torch.long)
    policy_cdf, branch_cdf = _cdf(logp_SNA.exp()), _cdf(mdp.chances.flatten(1, 2))
    # One call draws all numbers: those of an instance do not depend on the number of other instances.
    draws = torch.rand(seeds, episodes, mdp.horizon, 2, dtype=torch.float64, generator=generator)
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    for step in range(mdp.horizon):
        valid_SE = state_SE < n
        at_SE = state_SE * valid_SE
        action_SE = _draw(_rows(policy_cdf, at_SE), draws[:, :, step, 0])
        branch_SE = _draw(_rows(branch_cdf, at_SE * logp_SNA.shape[-1] + action_SE), draws[:, :, step, 1])
        columns.append((at_SE, action_SE * valid_SE, valid_SE))
        after_SE = _at(mdp.successors.flatten(2), at_SE, _branch(mdp, action_SE, branch_SE))
        state_SE = torch.where(valid_SE, after_SE, n)
    state_SEH, action_SEH, valid_SEH = (torch.stack(part, dim=-1) for part in zip(*columns, strict=True))
    reward_SEH = _rewards(mdp, state_SEH, action_SEH) * valid_SEH
    logp_SEH = torch.where(valid_SEH, _chosen(logp_SNA, state_SEH, action_SEH), 0.0)
    weight_SE = torch.full((seeds, episodes), 1 / episodes, dtype=torch.float64)
    return Trajectories(state_SEH, action_SEH, reward_SEH, valid_SEH, logp_SEH, weight_SE)


def coverage(mdp: Mdp, solution: Solution, data: Trajectories) -> Tensor:
    """Share of the optimum's decisions that the data show, ``[S]``.

    The share of state-action pairs with an episode of positive weight, weighted by how often pi* takes them.
    """
    seen_SNA = torch.zeros_like(mdp.reward_SNA)
    pair_SEH = data.state_SEH * mdp.reward_SNA.shape[-1] + data.action_SEH
    used_SEH = data.valid_SEH & (data.weight_SE > 0)[..., None]
    seen_SNA.flatten(1).scatter_reduce_(1, pair_SEH.flatten(1), used_SEH.flatten(1).to(seen_SNA), "amax")
    pair_SNA = occupancy(mdp, solution.logp_SNA, gamma=1.0)[..., None] * solution.logp_SNA.exp()
    return (pair_SNA * seen_SNA).flatten(1).sum(-1) / pair_SNA.flatten(1).sum(-1)


def selected(data: Trajectories, algorithm: Algorithm[AlgorithmConfig]) -> Trajectories:
    """The data, with weight 0 for episodes that the algorithm does not learn from.

    Raises:
        ConfigError: The algorithm accepts no episode of some instance.
    """
    if algorithm.pairs != "all":
        raise ConfigError(
            f"pairs {algorithm.pairs} cannot be honoured: this task draws pairs by their returns",
            where="algo.pairs",
            do="--set algo.pairs=all",
        )
    if type(algorithm).select is Algorithm.select:
        return data
    episodes = _episodes(data)
    kept = {e.id for e in algorithm.select(episodes)}
    mask_SE = torch.tensor([e.id in kept for e in episodes]).view(data.weight_SE.shape)
    weight_SE = data.weight_SE * mask_SE
    total_S = weight_SE.sum(-1, keepdim=True)
    if (total_S == 0).any():
        raise ConfigError(
            f"instance {int((total_S == 0).flatten().nonzero()[0])} has no episode that the algorithm accepts",
            where="training data",
            do="lower its threshold, or raise task.offset",
        )
    return replace(data, weight_SE=weight_SE / total_S)


def _episodes(data: Trajectories) -> list[Episode]:
    """The trajectories as episodes: each action is a message, each instance is a group."""
    found = []
    rows = zip(data.action_SEH.tolist(), data.reward_SEH.tolist(), data.valid_SEH.sum(-1).tolist(), strict=True)
    for s, (actions, rewards, lengths) in enumerate(rows):
        for e, length in enumerate(lengths):
            steps = zip(actions[e][:length], rewards[e][:length], strict=True)
            messages = tuple(Message("assistant", str(a), action=True, reward=r) for a, r in steps)
            found.append(Episode(f"{s}/{e}", str(s), "offline", messages))
    return found


class Draws:
    """Draws of units from the weighted trajectories of every instance.

    Args:
        data: Trajectories to draw from.
        unit: ``episode``, ``pair`` or ``group``.
        size: Trajectories per unit.

    Raises:
        ConfigError: The unit is a pair and all returns of some instance are equal.
    """

    def __init__(self, data: Trajectories, unit: str, size: int) -> None:
        self.unit, self.size = unit, size
        self.order_SE = data.return_SE.argsort(dim=-1, stable=True)
        self.weight_SE = data.weight_SE.gather(1, self.order_SE)
        self.cdf_SE = _cdf(self.weight_SE)
        if unit == "pair":
            self._prepare_pairs(data.return_SE.gather(1, self.order_SE))

    def _prepare_pairs(self, return_SE: Tensor) -> None:
        """Prepare to draw pairs. Returns are sorted, so the trajectories that tie with one are adjacent to it."""
        self.first_SE = torch.searchsorted(return_SE, return_SE - SAME_RETURN)
        self.after_SE = torch.searchsorted(return_SE, return_SE + SAME_RETURN, right=True)
        below_SE = torch.cat([torch.zeros_like(self.cdf_SE[:, :1]), self.cdf_SE], dim=1)
        self.below_SE = below_SE.gather(1, self.first_SE)
        self.tie_SE = below_SE.gather(1, self.after_SE) - self.below_SE
        differs_SE = self.weight_SE * (1 - self.tie_SE)
        none = (differs_SE.sum(-1) < SAME_RETURN).nonzero().flatten().tolist()
        if none:
            raise ConfigError(
                f"no pair to train on: all returns of instance {none[0]} are equal",
                where="training data",
                do="raise task.coverage or task.episodes, or choose an algorithm that takes no pairs",
            )
        self.differs_cdf_SE = _cdf(differs_SE)

    def rows(self, units: int, generator: Generator) -> Tensor:
        """Draw units of every instance; returns the indices ``[S, R]`` of their trajectories, unit by unit.

        A pair is two draws, given that their returns differ, the better one first. A group is independent draws.
        """
        u_SR = torch.rand(len(self.cdf_SE), units * self.size, dtype=torch.float64, generator=generator)
        if self.unit != "pair":
            return self.order_SE.gather(1, _invert(self.cdf_SE, u_SR))
        i_SU = _invert(self.differs_cdf_SE, u_SR[:, 0::2])
        tie_SU, below_SU = self.tie_SE.gather(1, i_SU), self.below_SE.gather(1, i_SU)
        v_SU = u_SR[:, 1::2] * (1 - tie_SU)
        above_SU = v_SU >= below_SU  # skip the ties
        j_SU = _invert(self.cdf_SE, torch.where(above_SU, v_SU + tie_SU, v_SU))
        better, worse = torch.maximum(i_SU, j_SU), torch.minimum(i_SU, j_SU)
        return self.order_SE.gather(1, torch.stack([better, worse], dim=-1).flatten(1))


def facts(data: Trajectories, config: MdpConfig) -> dict[str, Any]:
    """Facts about the data for the manifest."""
    return {
        "data": "exact" if config.exact else "sample",
        "behaviour": config.behaviour,
        "trajectories": data.weight_SE.shape[1],
        "actions_shown": config.shown,
        "mean_return": float((data.weight_SE * data.return_SE).sum(-1).mean()),
    }


def _rows(table: Tensor, index_SE: Tensor) -> Tensor:
    """``table[s, index[s, e], :]`` as ``[S, E, ...]``."""
    return table.gather(1, index_SE[..., None].expand(*index_SE.shape, table.shape[-1]))


def _at(table: Tensor, state_SE: Tensor, column_SE: Tensor) -> Tensor:
    """``table[s, state, column]`` as ``[S, E]``."""
    return table.flatten(1).gather(1, state_SE * table.shape[-1] + column_SE)


def _branch(mdp: Mdp, action_SE: Tensor, branch_SE: Tensor) -> Tensor:
    """Column of an action's branch where actions and branches are flattened into one."""
    return action_SE * mdp.chances.shape[-1] + branch_SE


def _chosen(table_SNA: Tensor, state_SEH: Tensor, action_SEH: Tensor) -> Tensor:
    return _at(table_SNA, state_SEH.flatten(1), action_SEH.flatten(1)).view(state_SEH.shape)


def _rewards(mdp: Mdp, state_SEH: Tensor, action_SEH: Tensor) -> Tensor:
    return _chosen(mdp.reward_SNA, state_SEH, action_SEH)


def _cdf(weights: Tensor) -> Tensor:
    """Cumulative weights along the last axis, ending at exactly one."""
    total = weights.cumsum(-1)
    return total / total[..., -1:]


def _draw(cdf: Tensor, u: Tensor) -> Tensor:
    """Index of the first cumulative weight above each number."""
    return (u[..., None] >= cdf).sum(-1)


def _invert(cdf_SE: Tensor, u_SR: Tensor) -> Tensor:
    """The same as :func:`_draw`, by bisection, for many numbers per instance."""
    return torch.searchsorted(cdf_SE, u_SR.contiguous(), right=True).clamp(max=cdf_SE.shape[-1] - 1)
