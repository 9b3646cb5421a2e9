"""The instances: MDPs of the task ``mdp``, unrolled into trees of conversations.

A state is the whole conversation up to a question: a model that reads it may answer otherwise after another way to the
same cell of a grid. Legend: S = 1, N states, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING

import torch

from shiqbench.plugin import ConfigError
from shiqbench_tasks.chat_mdp.words import place
from shiqbench_tasks.mdp import data, mdps, solve
from shiqbench_tasks.mdp.config import FIRST_OF_VALIDATION, GRID, MdpConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from shiqbench_tasks.chat_mdp.config import ChatMdpConfig
    from shiqbench_tasks.mdp.mdps import Mdp

LEAST_GAIN = 1e-6  # of the best objective over the uniform policy's; a grid's goal may be too far away
MOST_TRIED = 50  # seeds per instance


@dataclass(frozen=True)
class Instance:
    """One MDP whose actions are words; its reference is uniform on them.

    Attributes:
        seed: Seed of the MDP.
        words: Its actions.
        names: Where the user says that one is in each state. No other instance has these names.
        mdp: The MDP over conversations.
        paths: The actions that lead to each state.
        places: State of the original MDP at each state; for a grid, step and cell.
    """

    seed: int
    words: tuple[str, ...]
    names: tuple[str, ...]
    mdp: Mdp
    paths: tuple[tuple[int, ...], ...]
    places: tuple[int, ...]

    @property
    def id(self) -> str:
        """Name in records and groups."""
        return f"seed-{self.seed}"

    @cached_property
    def state_of(self) -> dict[tuple[int, ...], int]:
        """State after each path."""
        return {path: state for state, path in enumerate(self.paths)}


def table_config(config: ChatMdpConfig, seeds: int) -> MdpConfig:
    """The settings of the MDPs in terms of the task ``mdp``."""
    return MdpConfig(
        mdp=config.mdp,
        actions=config.actions,
        horizon=config.horizon,
        reward=config.reward,
        beta=config.beta,
        seeds=seeds,
        behaviour=config.behaviour,
        coverage=config.coverage,
        data="sample",
    )


def instances(config: ChatMdpConfig, validation: bool) -> list[Instance]:
    """The first instances in which something can be gained.

    Args:
        config: Settings.
        validation: Whether to take those on which settings are chosen.

    Raises:
        ConfigError: There are not enough.
    """
    key = config.model_copy(update={"teach": "rewards", "episodes": None, "behaviour": "uniform"})
    return list(_instances(key, validation))


@cache
def _instances(config: ChatMdpConfig, validation: bool) -> tuple[Instance, ...]:
    first = FIRST_OF_VALIDATION if validation else 0
    tried = config.seeds
    while tried <= MOST_TRIED * config.seeds:
        settings = table_config(config, tried).model_copy(update={"instances": "validation" if validation else "test"})
        whole = mdps.build(settings)
        gain_S = solve.solve(whole).value_SN[:, 0] - solve.objective(whole, whole.ref_logp_SNA)
        useful = (gain_S > LEAST_GAIN).nonzero().flatten().tolist()[: config.seeds]
        if len(useful) == config.seeds:
            return tuple(_instance(whole, s, first + s, i, config, validation) for i, s in enumerate(useful))
        tried *= 2
    raise ConfigError(
        f"nothing can be gained in all but {len(useful)} of {tried // 2} instances",
        where=f"task.horizon = {config.horizon}",
        do="raise it, or lower task.seeds",
    )


def _instance(whole: Mdp, s: int, seed: int, number: int, config: ChatMdpConfig, validation: bool) -> Instance:
    mdp, paths, places = unroll(whole, s)
    if config.mdp == "tree":
        first = (number + validation * config.seeds) * len(paths)
        names = tuple(place(first + state) for state in range(len(paths)))
    else:
        town = place(number + validation * config.seeds)
        names = tuple(f"{town}, {cell_name(cell)}" for cell in places)
    return Instance(seed, config.words_of(number), names, mdp, paths, places)


def cell_name(state: int) -> str:
    """Name of a grid's cell, such as ``B3``: column and row; the original MDP numbers steps and cells."""
    row, column = divmod(state % (GRID * GRID), GRID)
    return f"{'ABCDE'[column]}{row + 1}"


def unroll(whole: Mdp, s: int) -> tuple[Mdp, tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """The tree of all conversations of one instance, with the actions that lead to each state, and its place."""
    ends, following = whole.reward_SNA.shape[1], whole.successors[s, :, :, 0].tolist()
    found: list[tuple[tuple[int, ...], int]] = [((), 0)]
    layers, children, first = [], [], 0
    while first < len(found):
        last = len(found)
        layers.append((first, last))
        for path, at in found[first:last]:
            row = []
            for action, after in enumerate(following[at]):
                row.append(len(found) if after < ends else -1)
                if after < ends:
                    found.append(((*path, action), after))
            children.append(row)
        first = last
    next_NA = torch.tensor(children)
    at_N = torch.tensor([at for _, at in found])
    tree = replace(
        whole,
        successors=torch.where(next_NA < 0, len(found), next_NA)[None, ..., None],
        chances=torch.ones(1, *next_NA.shape, 1, dtype=torch.float64),
        reward_SNA=whole.reward_SNA[s, at_N][None],
        ref_logit_SNA=whole.ref_logit_SNA[s, at_N][None],
        shown_SNK=whole.shown_SNK[s, at_N][None],
        layers=tuple(layers),
    )
    return tree, tuple(path for path, _ in found), tuple(at for _, at in found)


def with_other(mdp: Mdp, ref_logit_NA: Tensor, reward: float) -> Mdp:
    """The same MDP with one more action, any other text, and with the reference's own logits.

    Args:
        mdp: MDP whose actions are the words.
        ref_logit_NA: Logits of the words and of any other text.
        reward: Reward of any other text, which ends the episode.
    """
    _, states, _ = mdp.reward_SNA.shape
    return replace(
        mdp,
        successors=torch.cat([mdp.successors, torch.full((1, states, 1, 1), states)], dim=2),
        chances=torch.cat([mdp.chances, torch.ones(1, states, 1, 1, dtype=torch.float64)], dim=2),
        reward_SNA=torch.cat([mdp.reward_SNA, torch.full((1, states, 1), reward, dtype=torch.float64)], dim=2),
        ref_logit_SNA=ref_logit_NA[None],
    )


def trajectories(instance: Instance, config: ChatMdpConfig) -> data.Trajectories:
    """The data of an instance: every episode once, or a sample."""
    table = table_config(config, config.seeds)
    logp_SNA = data.behaviour_logp(instance.mdp, solve.solve(instance.mdp), table)
    if config.exact:
        return data.every_trajectory(instance.mdp, logp_SNA)
    assert config.episodes is not None
    stream = data.random_stream(instance.seed, "chat_mdp", config.teach)
    return data.sample(instance.mdp, logp_SNA, config.episodes, stream)


def steps(found: data.Trajectories) -> Sequence[list[tuple[int, int, float]]]:
    """State, action and reward of each step of each trajectory."""
    rows = zip(found.state_SEH[0].tolist(), found.action_SEH[0].tolist(), found.reward_SEH[0].tolist(), strict=True)
    lengths = found.valid_SEH[0].sum(-1).tolist()
    return [list(zip(*row, strict=True))[:length] for row, length in zip(rows, lengths, strict=True)]
