"""The episode: one recorded interaction, in messages, independent of any model."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

REFERENCE_RETURNS = "reference_returns"  # where an episode's `meta` holds them


class StopReason(StrEnum):
    """Why an episode ended. All but ERROR are decided in steps and tokens, hence reproducible."""

    FINISHED = "finished"  # every user turn was played
    STEP_LIMIT = "step_limit"  # one turn took more model steps than allowed; ends the episode
    TOKEN_LIMIT = "token_limit"  # noqa: S105 - the episode generated more tokens than allowed
    CONTEXT_LIMIT = "context_limit"  # the prompt no longer fits the context; nothing is truncated
    ERROR = "error"  # the machine failed: counted, retried, never scored


@dataclass(frozen=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``tool``.
        content: The text, without any role marker.
        action: True if the trained model produces it.
        reward: Reward on its last action token, None if it carries none.
        token_ids: The ids that a model sampled, end-of-turn token included; kept, never re-tokenised.
        behaviour_logp: Log-probability of each of ``token_ids`` under the model that sampled them.
        tools: Tool documents that are offered from this message on, where they change; None keeps those before.
    """

    role: str
    content: str
    action: bool = False
    reward: float | None = None
    token_ids: tuple[int, ...] | None = None
    behaviour_logp: tuple[float, ...] | None = None
    tools: tuple[dict[str, Any], ...] | None = None


@dataclass(frozen=True)
class Episode:
    """One recorded interaction.

    Attributes:
        id: Unique in its data set.
        group: Prompt or scenario; pairs and groups are drawn inside it.
        behaviour: Who produced it, such as ``ground_truth`` or ``perturbed:call_dropped``.
        messages: In order of time.
        tools: Tool documents, for chat templates that take them.
        meta: Facts for tables. ``reference_returns``, if there, is a list of the returns of completions of the same
            prompt that the reference sampled, centred like the episode's own return; algorithms may need it. They
            read nothing else of it. ``calls``, ``centre`` and ``centre_value``, if there, are shown by
            ``shiqbench show TASK --data``.
    """

    id: str
    group: str
    behaviour: str
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def total_reward(self) -> float:
        """Undiscounted return of the whole episode."""
        return sum(m.reward for m in self.messages if m.reward is not None)
