"""The episode: one recorded interaction as messages, independent of any model."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

REFERENCE_RETURNS = "reference_returns"  # key in an episode's `meta`


class StopReason(StrEnum):
    """Why an episode ended. All reasons except ERROR depend only on steps and tokens, so they are reproducible."""

    FINISHED = "finished"  # every user turn was played
    STEP_LIMIT = "step_limit"  # one turn took more model steps than allowed; this ends the episode
    TOKEN_LIMIT = "token_limit"  # noqa: S105 - the episode generated more tokens than allowed
    CONTEXT_LIMIT = "context_limit"  # the prompt no longer fits the context; nothing is truncated
    ERROR = "error"  # the machine failed; such episodes are counted and retried, and never scored


@dataclass(frozen=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``tool``.
        content: The text, without role markers.
        action: True if the trained model produces the message.
        reward: Reward on the last action token of the message; None if the message has no reward.
        token_ids: Ids that a model sampled, with the end-of-turn token; they are kept where the template writes
            their text unchanged.
        behaviour_logp: Log-probability of each of ``token_ids`` under the model that sampled them.
        tools: Tool documents that are offered from this message on; None keeps the previous ones.
        extra: Other keys of the message that chat templates read: ``tool_calls``, ``tool_call_id``, ``name``,
            ``reasoning_content``.
    """

    role: str
    content: str
    action: bool = False
    reward: float | None = None
    token_ids: tuple[int, ...] | None = None
    behaviour_logp: tuple[float, ...] | None = None
    tools: tuple[dict[str, Any], ...] | None = field(default=None, hash=False)
    extra: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Episode:
    """One recorded interaction.

    Attributes:
        id: Unique id in the data set.
        group: Prompt or scenario; pairs and groups are drawn within it.
        behaviour: The source of the episode, such as ``ground_truth`` or ``perturbed:call_dropped``.
        messages: Messages in order of time.
        tools: Tool documents, for chat templates that take them.
        meta: Facts for tables. ``reference_returns``, if present, is a list of the returns of completions of the same
            prompt that the reference sampled, centred like the episode's own return. Algorithms may need this list
            and read no other key. ``shiqbench show TASK --data`` shows ``calls``, ``centre`` and ``centre_value``, if
            present.
    """

    id: str
    group: str
    behaviour: str
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def total_reward(self) -> float:
        """The undiscounted return of the whole episode."""
        return sum(m.reward for m in self.messages if m.reward is not None)
