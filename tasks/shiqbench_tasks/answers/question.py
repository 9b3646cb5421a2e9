"""What a model is asked, whichever task asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from shiqbench_tasks.rows.conversations import Conversation


class Question(Protocol):
    """A conversation that the model continues with one answer."""

    @property
    def id(self) -> str:
        """Unique id, the same in every cell."""

    @property
    def asked(self) -> Conversation:
        """The messages; none of them is an action."""

    @property
    def tools(self) -> tuple[dict[str, Any], ...]:
        """Tool documents that the model is offered."""
