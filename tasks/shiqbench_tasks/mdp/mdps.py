"""The MDPs: S instances of one kind in shared tensors. An instance depends only on the configuration and its seed.

States are numbered layer by layer, with one layer for each number of steps left; the start is state 0. State N, one
past the last, is the end of an episode.

Legend: S instances, N states, X places of a layer, A actions, B branches of a transition, K actions that data show.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from shiqbench_tasks.mdp.config import GRID

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from shiqbench_tasks.mdp.config import MdpConfig

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

PEAK = 3.0  # logit of the preferred action of a peaked reference
GRID_STEP_COST = 1 / 40  # in a dense grid, for each cell between the agent and the goal
# Each purpose has its own stream of random numbers, so changing one setting does not change the other draws.
STRUCTURE, REWARDS, NOISE, REFERENCE, OFFSETS, COVERAGE = range(6)


@dataclass(frozen=True)
class Mdp:
    """S instances of one shape, fp64.

    Attributes:
        successors: ``[S, N, A, B]``, state after each branch of each action; N where the episode ends.
        chances: ``[S, N, A, B]``, probability of each branch; one branch where transitions are deterministic.
        reward_SNA: Reward of each action.
        ref_logit_SNA: Logits of the reference, and of every policy before training.
        shown_SNK: Actions that offline data show.
        layers: States by number of steps taken, as (first, one past the last).
        beta: Cost per nat of divergence from the reference.
        gamma: Discount per step.
    """

    successors: Tensor
    chances: Tensor
    reward_SNA: Tensor
    ref_logit_SNA: Tensor
    shown_SNK: Tensor
    layers: tuple[tuple[int, int], ...]
    beta: float
    gamma: float

    def __post_init__(self) -> None:
        """Refuse numbers that make an exact solution impossible.

        Raises:
            ValueError: A reward or logit is not finite, or probabilities do not sum to one.
        """
        if not (self.reward_SNA.isfinite().all() and self.ref_logit_SNA.isfinite().all()):
            raise ValueError("rewards and logits of an MDP must be finite")
        total = self.chances.sum(-1)
        if (self.chances < 0).any() or not torch.allclose(total, torch.ones_like(total), rtol=0, atol=1e-12):
            raise ValueError("transition probabilities must be non-negative and sum to one")

    @property
    def horizon(self) -> int:
        """Maximum number of steps of an episode."""
        return len(self.layers)

    @cached_property
    def ref_logp_SNA(self) -> Tensor:
        """Log-probabilities of the reference."""
        return self.ref_logit_SNA.log_softmax(-1)


class _Places(NamedTuple):
    """One instance without noise, state by state.

    Attributes:
        next_NA: Intended successor of each action.
        reward_NA: Reward of each action.
        place_N: Place of each state; states at the same place share their noise.
    """

    next_NA: Ints
    reward_NA: Floats
    place_N: Ints


def build(config: MdpConfig) -> Mdp:
    """Build the instances of a configuration."""
    layers = _layers(config)
    parts = [_instance(config, layers, config.seed_of(s)) for s in range(config.seeds)]
    successors, chances, reward_SNA, ref_logit_SNA, shown_SNK = (
        torch.from_numpy(np.stack(arrays)) for arrays in zip(*parts, strict=True)
    )
    return Mdp(successors, chances, reward_SNA, ref_logit_SNA, shown_SNK, layers, config.beta, config.gamma)


def _layers(config: MdpConfig) -> tuple[tuple[int, int], ...]:
    actions, horizon, places = config.sizes
    widths = [actions**t if places is None else places for t in range(horizon)]
    ends = np.cumsum(widths).tolist()
    return tuple((end - width, end) for end, width in zip(ends, widths, strict=True))


def _instance(
    config: MdpConfig, layers: tuple[tuple[int, int], ...], seed: int
) -> tuple[Ints, Floats, Floats, Floats, Ints]:
    made = _tree(config, layers, seed) if config.sizes.places is None else _layered(config, layers, seed)
    n, actions = made.next_NA.shape
    successors, chances = _transitions(config, made, layers[-1][0], _stream(seed, NOISE))
    reward_NA = made.reward_NA + config.offset * (made.next_NA == n)
    shuffled_NA = _stream(seed, COVERAGE).permuted(np.tile(np.arange(actions), (n, 1)), axis=1)
    order_NA = np.tile(np.arange(actions), (n, 1)) if config.arm_rewards else shuffled_NA
    return successors, chances, reward_NA, _reference(config, n, seed), np.sort(order_NA[:, : config.shown], axis=1)


def _stream(seed: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, purpose])


def _tree(config: MdpConfig, layers: tuple[tuple[int, int], ...], seed: int) -> _Places:
    """Build a tree: every prefix of tokens is a separate state, as in text."""
    actions, horizon, _ = config.sizes
    n = layers[-1][1]
    next_NA = np.minimum(1 + np.arange(n * actions).reshape(n, actions), n)  # breadth first
    last_N = np.arange(n) >= layers[-1][0]
    reward_NA = _stream(seed, REWARDS).standard_normal((n, actions))
    scale_N = np.full(n, horizon**-0.5) if config.reward == "dense" else last_N
    return _Places(next_NA, reward_NA * scale_N[:, None], np.arange(n))


def _layered(config: MdpConfig, layers: tuple[tuple[int, int], ...], seed: int) -> _Places:
    """Build an instance with the same places at every step."""
    actions, horizon, places = config.sizes
    assert places is not None
    move_XA, goal_X = _moves(config, places, actions, seed)
    n = layers[-1][1]
    place_N, step_N = np.tile(np.arange(places), horizon), np.repeat(np.arange(horizon), places)
    last_N = step_N == horizon - 1
    next_NA = np.where((last_N | goal_X[place_N])[:, None], n, (step_N[:, None] + 1) * places + move_XA[place_N])
    if config.mdp == "grid":
        return _Places(next_NA, np.tile(_grid_reward(config, goal_X)[place_N], (actions, 1)).T, place_N)
    reward_XA = _stream(seed, REWARDS).standard_normal((places, actions))
    if config.arm_rewards:
        reward_XA = np.asarray([config.arm_rewards])
    scale_N = np.full(n, horizon**-0.5) if config.reward == "dense" else last_N
    return _Places(next_NA, reward_XA[place_N] * scale_N[:, None], place_N)


def _moves(config: MdpConfig, places: int, actions: int, seed: int) -> tuple[Ints, NDArray[np.bool_]]:
    """Where each action leads from each place, and the places where any action ends the episode."""
    at_X, goal_X = np.arange(places), np.zeros(places, dtype=bool)
    rng = _stream(seed, STRUCTURE)
    if config.mdp == "grid":  # up, down, left, right; a wall stops the agent
        row, column = np.divmod(at_X, GRID)
        steps = [(-1, 0), (1, 0), (0, -1), (0, 1)]
        moved = [np.clip(row + i, 0, GRID - 1) * GRID + np.clip(column + j, 0, GRID - 1) for i, j in steps]
        goal_X[rng.integers(1, places)] = True
        return np.stack(moved, axis=1), goal_X
    if config.mdp == "chain":  # action 0 moves forward, the others lead back to the start
        return np.stack([np.minimum(at_X + 1, places - 1), *[at_X * 0] * (actions - 1)], axis=1), goal_X
    return rng.integers(places, size=(places, actions)), goal_X


def _grid_reward(config: MdpConfig, goal_X: NDArray[np.bool_]) -> Floats:
    """1 for any action at the goal, which ends the episode; elsewhere 0, or if dense, a cost by distance."""
    row, column = np.divmod(np.arange(len(goal_X)), GRID)
    goal = int(goal_X.argmax())
    distance_X = np.abs(row - goal // GRID) + np.abs(column - goal % GRID)
    return np.where(goal_X, 1.0, -GRID_STEP_COST * distance_X if config.reward == "dense" else 0.0)


def _transitions(config: MdpConfig, made: _Places, last: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """Branches of every action: the intended successor, or with noise the successors of all the state's actions."""
    n, actions = made.next_NA.shape
    if not config.noise:
        return made.next_NA[..., None], np.ones((n, actions, 1))
    places = int(made.place_N.max()) + 1
    drawn = rng.dirichlet(np.ones(actions), size=(places, actions))[made.place_N]
    chances = (1 - config.noise) * np.eye(actions)[None] + config.noise * drawn
    chances[last:] = np.eye(actions)[0]  # every branch of the last step ends the episode, so one branch is enough
    return np.repeat(made.next_NA[:, None, :], actions, axis=1), chances


def _reference(config: MdpConfig, n: int, seed: int) -> Floats:
    actions = config.sizes.actions
    rng = _stream(seed, REFERENCE)
    if config.reference == "random":
        logit_NA = rng.standard_normal((n, actions))
    elif config.reference == "peaked":
        logit_NA = PEAK * np.eye(actions)[rng.integers(actions, size=n)]
    else:
        logit_NA = np.zeros((n, actions))
    return logit_NA + config.logit_offset * _stream(seed, OFFSETS).standard_normal((n, 1))
