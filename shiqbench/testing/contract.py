"""What the kit checks, in words, and how it says that something does not hold."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")


class AlgorithmContract(StrEnum):
    """What every algorithm promises."""

    LIGHT = "listing and configuring it imports neither torch nor numpy nor pandas"
    CONFIG = "its configuration survives JSON, is frozen, and refuses unknown keys"
    STATEMENTS = "what it states of itself is well-formed"
    LOSS = "the loss takes a batch of its unit with what it needs, and nothing else"
    SHAPES = "numerators, denominators and metrics are one value per unit, and finite"
    DTYPE = "numerators and denominators have the batch's floating dtype"
    DEVICE = "every tensor that the loss makes is on the batch's device"
    DENOMINATORS = "denominators carry no gradient, none is negative, and their sum is not 0"
    METRICS = "metrics carry no gradient and have the same names, none of the trainer's, in every batch"
    MASKED = "the gradient is 0 at masked positions"
    REACHED = "every action token gets a gradient"
    NEEDED = "what it needs changes the loss"
    REFERENCE = "the loss reads the reference's statistics exactly if uses_reference says so"
    PADDING = "padding changes nothing"
    ORDER = "the order of a batch, and of a group, changes nothing"
    SPLIT = "a unit's loss does not depend on what else is in the batch"
    WEIGHT = "numerators and denominators are proportional to the unit's weight"
    FINITE = "loss and gradient are finite at extreme log-ratios"
    PURE = "the loss is deterministic, keeps no state, and changes neither its input nor any random state"
    AT_REFERENCE = "at the reference the loss is what loss_at_reference states"
    SELECT = "the episodes it selects are some of those offered, the same ones every time"
    RESUME = "interrupted training, resumed, gives the weights of undisturbed training bit for bit"
    OPTIMUM = "trained on exact MDPs it reaches the optimum of the temperature it claims"


class TaskContract(StrEnum):
    """What every task promises."""

    LIGHT = "listing and configuring it imports neither torch nor numpy nor pandas"
    CONFIG = "its configuration survives JSON, is frozen, and refuses unknown keys"
    STATEMENTS = "what it states of itself is well-formed"
    PRESETS = "the presets smoke, cpu and full are there and hold valid settings"
    IDENTITY = "data_identity and prompt_identity are stable text"
    EPISODES = "episodes have unique ids, a group, a behaviour and an action message"
    REPEATABLE = "episodes are the same in every instance"
    OFFERS = "episodes carry what the task offers to algorithms"
    REWARDS = "every reward is finite and sits on an action message"
    SPLITS = "the splits share no group"
    RENDERING = "rendered action tokens are the action messages and their ends of turn, with their rewards"
    RECORDS = "evaluation gives records that JSON and parquet can hold"
    PROGRESS = "evaluation reports progress up to its total"
    SETTINGS = "evaluation honours split, examples and repeats"
    CONTEXT = "evaluation survives prompts that do not fit the context, or refuses them with a ConfigError"
    DETERMINISTIC = "evaluation and metrics are the same every time"
    METRICS = "metrics are finite, hold the primary and every column, and the primary lies in its interval"
    RESUME = "interrupted training, resumed, gives the weights of undisturbed training bit for bit"
    OWN_POLICY = "its own policy can be scored untrained and trained"


class ContractReport:
    """What was found about one component.

    Args:
        kind: ``algorithm`` or ``task``.
        name: Its name.

    Attributes:
        held: Contract lines that were checked and hold.
        skipped: Contract lines that do not apply, with the reason.
    """

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        self.held: list[str] = []
        self.skipped: dict[str, str] = {}

    def require(self, holds: bool, line: StrEnum, found: str) -> None:
        """State one finding about one contract line.

        Args:
            holds: Whether it is as promised.
            line: The contract line.
            found: What was found, with numbers, for the case that it is not.

        Raises:
            AssertionError: It is not as promised; the message names component, contract line and finding.
        """
        if not holds:
            raise AssertionError(f"{self.kind} {self.name} breaks its contract: {line}; found: {found}")
        if str(line) not in self.held:
            self.held.append(str(line))

    def attempt(self, line: StrEnum, what: str, call: Callable[[], T]) -> T:
        """Call something that may not fail; a failure is a finding."""
        try:
            found = call()
        except AssertionError:
            raise
        except Exception as error:
            text = f"{what} fails with {type(error).__name__}: {error}"
            raise AssertionError(f"{self.kind} {self.name} breaks its contract: {line}; found: {text}") from error
        self.require(True, line, "")
        return found

    def skip(self, line: StrEnum, why: str) -> None:
        """Note that a contract line does not apply."""
        self.skipped[str(line)] = why

    def __str__(self) -> str:
        lines = [f"{self.kind} {self.name}", *(f"  holds: {x}" for x in self.held)]
        return "\n".join([*lines, *(f"  not applicable: {x} ({why})" for x, why in self.skipped.items())])
