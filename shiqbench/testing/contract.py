"""The promises that the kit checks, in words, and the report of what it finds."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")


class AlgorithmContract(StrEnum):
    """The promises of every algorithm."""

    LIGHT = "listing and configuring it imports neither torch nor numpy nor pandas"
    CONFIG = "its configuration survives JSON, is frozen, and refuses unknown keys"
    STATEMENTS = "its statements about itself are well-formed"
    LOSS = "the loss takes a batch of its unit that has only the fields it needs"
    SHAPES = "numerators, denominators and metrics are one value per unit, and finite"
    DTYPE = "numerators and denominators have the batch's floating dtype"
    DEVICE = "every tensor that the loss makes is on the batch's device"
    DENOMINATORS = "denominators carry no gradient, none is negative, and their sum is not 0"
    METRICS = "metrics carry no gradient; their names are the same in every batch, and none is the trainer's"
    MASKED = "the gradient is 0 at masked positions"
    REACHED = "every action token gets a gradient"
    NEEDED = "every field that it needs changes the loss"
    REFERENCE = "the loss reads the reference's statistics if and only if uses_reference is True"
    PADDING = "padding changes nothing"
    ORDER = "the order of a batch, and of a group, changes nothing"
    SPLIT = "a unit's loss does not depend on the other units of the batch"
    WEIGHT = "numerators and denominators are proportional to the unit's weight"
    FINITE = "loss and gradient are finite at extreme log-ratios"
    PURE = "the loss is deterministic, keeps no state, and changes neither its input nor any random state"
    AT_REFERENCE = "at the reference the loss equals loss_at_reference"
    SELECT = "it selects some of the offered episodes, the same ones every time"
    RESUME = "interrupted and resumed training gives the same weights as undisturbed training, bit for bit"
    OPTIMUM = "trained on exact MDPs, it reaches the optimum of the temperature that it claims"


class TaskContract(StrEnum):
    """The promises of every task."""

    LIGHT = "listing and configuring it imports neither torch nor numpy nor pandas"
    CONFIG = "its configuration survives JSON, is frozen, and refuses unknown keys"
    STATEMENTS = "its statements about itself are well-formed"
    PRESETS = "the presets smoke, cpu and full exist and contain valid settings"
    IDENTITY = "data_identity and prompt_identity are stable text"
    EPISODES = "episodes have unique ids, a group, a behaviour and an action message"
    REPEATABLE = "episodes are the same in every instance"
    OFFERS = "episodes contain the data that the task offers to algorithms"
    REWARDS = "every reward is finite and belongs to an action message"
    SPLITS = "the splits share no group"
    RENDERING = "rendered action tokens are the action messages and their ends of turn, with their rewards"
    RECORDS = "evaluation returns records that JSON and parquet can store"
    PROGRESS = "evaluation reports progress up to its total"
    SETTINGS = "evaluation honours split, examples and repeats"
    CONTEXT = "evaluation accepts prompts that do not fit the context, or refuses them with a ConfigError"
    SERVED = "evaluation works with a served model, which gives only text, or the task says what else it needs"
    DETERMINISTIC = "evaluation and metrics are the same every time"
    METRICS = (
        "metrics are finite and include the primary and every column; the primary lies in its interval, if it has one"
    )
    RESUME = "interrupted and resumed training gives the same weights as undisturbed training, bit for bit"
    OWN_POLICY = "its own policy can be scored untrained and trained"


class EngineContract(StrEnum):
    """The promises of every engine."""

    LIGHT = "listing and configuring it imports neither torch nor numpy nor pandas"
    CONFIG = "its configuration survives JSON, is frozen, and refuses unknown keys"
    STATEMENTS = "its statements about itself are well-formed"
    COMPLETIONS = "every prompt gets a completion, in order, of at most max_tokens ids; no prompts get none"
    STOPS = "a completion ends at its first stop id, which it keeps"
    GREEDY = "at temperature 0 every id is the model's most probable one, and with a nucleus of one id too"
    LOGPROBS = "log-probabilities are the model's own, at every temperature"
    SCORES = "scores are the model's own log-probabilities, and 0 for the first token"
    SEEDS = "the same seed gives the same completions, and another seed gives others"
    LOAD = "after load it computes what the new weights compute, also for a prompt that it has seen"
    FINITE = "log-probabilities that are not finite raise a DivergedError"
    CLOSE = "it can be closed twice, and then made again"
    IDENTITY = "the identity and version of a served model are JSON, and the same in every instance"
    REPLIES = "every conversation gets one reply of a served model, with a text, counts of tokens, and no ids"


class ContractReport:
    """The findings about one component.

    Args:
        kind: ``algorithm``, ``task`` or ``engine``.
        name: Name of the component.

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
            holds: Whether the promise is kept.
            line: The contract line.
            found: The finding, with numbers; the message shows it if the promise is broken.

        Raises:
            AssertionError: The promise is broken; the message names component, contract line and finding.
        """
        if not holds:
            raise AssertionError(f"{self.kind} {self.name} breaks its contract: {line}; found: {found}")
        if str(line) not in self.held:
            self.held.append(str(line))

    def attempt(self, line: StrEnum, what: str, call: Callable[[], T]) -> T:
        """Call a function that must not fail; a failure is a finding."""
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
