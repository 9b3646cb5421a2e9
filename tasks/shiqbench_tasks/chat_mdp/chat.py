"""The conversations: what the user says in each state, and that a model's template and tokens can hold them."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

from shiqbench.plugin import ConfigError, Episode, Message, TokenSequence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.plugin import Renderer
    from shiqbench_tasks.chat_mdp.instances import Instance

SYSTEM = "Answer with one word: {words}."
ASKED = "You are in {place}."


def asked(instance: Instance, state: int) -> tuple[Message, ...]:
    """The conversation up to the question in a state."""
    path = instance.paths[state]
    messages = [Message("system", SYSTEM.format(words=", ".join(instance.words)))]
    for turn in range(len(path) + 1):
        here = instance.names[instance.state_of[path[:turn]]]
        messages.append(Message("user", ASKED.format(place=here)))
        if turn < len(path):
            messages.append(Message("assistant", instance.words[path[turn]]))
    return tuple(messages)


def answers(instance: Instance, state: int, renderer: Renderer) -> list[TokenSequence]:
    """The conversation of a state with each word as the answer; the tokens of the word and its end are actions."""
    before = asked(instance, state)
    found = []
    for word in instance.words:
        episode = Episode(instance.id, instance.id, "word", (*before, Message("assistant", word, action=True)))
        found.append(renderer.render(episode).sequences[-1])
    return found


def check(instances: Sequence[Instance], renderer: Renderer) -> None:
    """Refuse a model whose template cannot hold the conversations, or whose tokens do not tell the words apart.

    The end of the turn is a token of the answer, so a word may begin another one: "red" and "redder" are told apart.

    Raises:
        ConfigError: The template refuses or changes a conversation, or two words are the same tokens.
    """
    longest = instances[0]
    for state in (0, len(longest.paths) - 1):
        turns = len(longest.paths[state]) + 1
        try:
            answers(longest, state, renderer)
        except ConfigError as error:
            raise ConfigError(
                f"the model's chat template cannot hold a conversation of {turns} turn{'s' * (turns > 1)}: "
                f"{error.what}",
                where="task.horizon" if turns > 1 else "--model",
                do="use a model whose template can" + ", or a shorter horizon" * (turns > 1),
            ) from error
    for instance in {i.words: i for i in instances}.values():
        spoken = answers(instance, 0, renderer)
        written = [tuple(s.ids[p] for p in s.actions) for s in spoken]
        for (one, ids), (two, others) in permutations(zip(instance.words, written, strict=True), 2):
            if others[: len(ids)] == ids:
                raise ConfigError(
                    f"the words {one!r} and {two!r} are not distinct in the model's tokens",
                    where="task.words",
                    do="give other words",
                )
