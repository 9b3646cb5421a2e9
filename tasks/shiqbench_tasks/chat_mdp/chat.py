"""The conversations: what the user says in each state, and that a model's template and tokens can hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiqbench.plugin import ConfigError, Episode, Message, TokenSequence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.plugin import Renderer
    from shiqbench_tasks.chat_mdp.config import ChatMdpConfig
    from shiqbench_tasks.chat_mdp.instances import Instance

NAMES = ("fox", "owl", "bee", "cow", "rat", "pig", "ant", "cat", "dog", "bat", "hen", "bear", "wolf", "duck", "fish")
SYSTEM = "Answer with one word: {words}."
ASKED = "Map {name}, at {place}."
START = "start"


def name_of(number: int, validation: bool) -> str:
    """Name of an instance in its set."""
    again, which = divmod(number, len(NAMES))
    return ("new " if validation else "") + NAMES[which] + (f" {again + 1}" if again else "")


def asked(instance: Instance, state: int, config: ChatMdpConfig) -> tuple[Message, ...]:
    """The conversation up to the question in a state."""
    of_path = {path: n for n, path in enumerate(instance.paths)}
    path = instance.paths[state]
    messages = [Message("system", SYSTEM.format(words=", ".join(config.words)))]
    for turn in range(len(path) + 1):
        place = _place(instance, of_path[path[:turn]], config)
        messages.append(Message("user", ASKED.format(name=instance.name, place=place)))
        if turn < len(path):
            messages.append(Message("assistant", config.words[path[turn]]))
    return tuple(messages)


def _place(instance: Instance, state: int, config: ChatMdpConfig) -> str:
    if config.mdp == "grid":
        return instance.cell(state)
    return " ".join(config.words[a] for a in instance.paths[state]) or START


def answers(instance: Instance, state: int, config: ChatMdpConfig, renderer: Renderer) -> list[TokenSequence]:
    """The conversation of a state with each word as the answer; the tokens of the word and its end are actions."""
    before = asked(instance, state, config)
    found = []
    for word in config.words:
        episode = Episode(instance.id, instance.id, "word", (*before, Message("assistant", word, action=True)))
        found.append(renderer.render(episode).sequences[-1])
    return found


def check(instances: Sequence[Instance], config: ChatMdpConfig, renderer: Renderer) -> None:
    """Refuse a model whose template cannot hold the conversations, or whose tokens do not tell the words apart.

    The end of the turn is a token of the answer, so a word may begin another one: "red" and "redder" are told apart.

    Raises:
        ConfigError: The template refuses or changes a conversation, or two words are the same tokens.
    """
    longest = instances[0]
    for state in (0, len(longest.paths) - 1):
        turns = len(longest.paths[state]) + 1
        try:
            answers(longest, state, config, renderer)
        except ConfigError as error:
            raise ConfigError(
                f"the model's chat template cannot hold a conversation of {turns} turn{'s' * (turns > 1)}: "
                f"{error.what}",
                where="task.horizon" if turns > 1 else "--model",
                do="use a model whose template can" + ", or a shorter horizon" * (turns > 1),
            ) from error
    written = []
    for word, sequence in zip(config.words, answers(longest, 0, config, renderer), strict=True):
        written.append((word, tuple(sequence.ids[p] for p in sequence.actions)))
    for one, ids in written:
        for two, others in written:
            if one != two and others[: len(ids)] == ids:
                raise ConfigError(
                    f"the words {one!r} and {two!r} are not distinct in the model's tokens",
                    where="task.words",
                    do="give other words",
                )
