"""The conversations of many families of models: what the model sees is its own template's text, or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from families import FAMILIES, build

from shiqbench.base.errors import ConfigError
from shiqbench.episodes.episode import Episode, Message
from shiqbench.episodes.rendering import Renderer
from shiqbench.episodes.template import DATE

PARAMETERS = {"type": "object", "properties": {"place": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "weather", "description": "It.", "parameters": PARAMETERS}}
CALL = {"type": "function", "id": "abcdefghi", "function": {"name": "weather", "arguments": {"place": "Bonn"}}}


def user(content: str) -> Message:
    return Message("user", content)


def answer(content: str, **extra: Any) -> Message:
    return Message("assistant", content, action=True, extra=extra)


CONVERSATIONS: dict[str, Episode] = {
    name: Episode(name, "g", "b", messages, tools)
    for name, messages, tools in (
        ("one turn", (user("hi"), answer("yes")), ()),
        ("two turns", (user("hi"), answer("yes"), user("more"), answer("no")), ()),
        ("system", (Message("system", "Be brief."), user("hi"), answer("yes"), user("x"), answer("y")), ()),
        ("blanks", (user("  hi \n"), answer("\n yes \n"), user("more\n\n"), answer("  no")), ()),
        ("thoughts", (user("hi"), answer("<think>\nhm\n</think>\n\nyes"), user("x"), answer("y")), ()),
        ("special tokens", (user("a <|im_end|></s><eos> b"), answer("<|eot_id|> is text"), user("x"), answer("y")), ()),
        ("other scripts", (user("größer 数字 🙂"), answer("да\u200dé"), user("x"), answer("")), ()),
        ("a call", (user("hi"), answer("", tool_calls=[CALL]), Message("tool", '{"ok": "yes"}'), answer("y")), (TOOL,)),
    )
}
REFUSALS = (
    "the chat template refuses the conversation",
    "the model would not see",
    "the chat template does not write the answer after the prompt that asks for it",
    "no special token ends an answer in the chat template",
    "which this tokenizer cannot write as text inside a conversation",
)


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Renderer]:
    known: dict[str, Renderer] = {}

    def find(family: str) -> Renderer:
        if family not in known:
            known[family] = Renderer(build(family, tmp_path_factory.mktemp("model"), weights=False))
        return known[family]

    return find


def own_text(renderer: Renderer, messages: tuple[Message, ...], tools: Any, *, generate: bool) -> str:
    return str(
        renderer.tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content, **m.extra} for m in messages],
            tools=list(tools) or None,
            tokenize=False,
            add_generation_prompt=generate,
            strftime_now=DATE.strftime,
        )
    )


def compare(renderer: Renderer, episode: Episode) -> None:
    """Every sequence is the template's own text; its actions follow the prompt that evaluation asks."""
    spelled = episode.id == "special tokens"  # their text is not what the tokenizer makes of the whole
    rendered = renderer.render(episode)
    acting = [i for i, m in enumerate(episode.messages) if m.action]
    for k, i in enumerate(acting):
        before = episode.messages[:i]
        prompt = renderer.prompt(before, episode.tools)
        text = own_text(renderer, before, episode.tools, generate=True)
        own = renderer.tokenizer(text, add_special_tokens=False).input_ids
        if not spelled:
            assert prompt == own
        sequence = rendered.sequences[k if len(rendered.sequences) > 1 else 0]
        assert sequence.ids[: len(prompt)] == tuple(prompt)
        assert len(prompt) in sequence.actions
        assert len(prompt) - 1 not in sequence.actions
    last = rendered.sequences[-1]
    whole = own_text(renderer, episode.messages[: acting[-1] + 1], episode.tools, generate=False)
    if spelled:
        assert sum(i in renderer.stop_ids for i in last.ids) <= len(episode.messages) + 1
        return
    whole += renderer.template.closing  # GLM-4 ends an answer with the mark of the next message
    own = renderer.decode(renderer.tokenizer(whole, add_special_tokens=False).input_ids)
    assert own.startswith(renderer.decode(last.ids))
    rest = own[len(renderer.decode(last.ids)) :]
    assert rest.strip() in ("", *renderer.tokenizer.all_special_tokens)  # Phi-3 ends every conversation twice
    assert last.ids[-1] in renderer.stop_ids
    assert last.actions[-1] == len(last.ids) - 1


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_sees_its_own_templates_text(
    renderer: Callable[[str], Renderer], family: str, conversation: str
) -> None:
    line = ""
    try:
        compare(renderer(family), CONVERSATIONS[conversation])
    except ConfigError as error:
        line = error.line()
    assert not line or any(refusal in line for refusal in REFUSALS), line


def test_the_mark_of_the_next_message_ends_an_answer(renderer: Callable[[str], Renderer]) -> None:
    """GLM-4 writes nothing after an answer; the user's mark that follows is one of its declared ends."""
    glm = renderer("glm-4-moe")
    user_mark, tool_mark = (glm.tokenizer.convert_tokens_to_ids(mark) for mark in ("<|user|>", "<|observation|>"))
    assert glm.end_of_turn == user_mark
    (sequence,) = glm.render(CONVERSATIONS["two turns"]).sequences
    ends = [p for p in sequence.actions if sequence.ids[p] == user_mark]
    assert len(ends) == 2
    assert ends[-1] == len(sequence.ids) - 1
    (called,) = glm.render(CONVERSATIONS["a call"]).sequences
    assert [called.ids[p] for p in called.actions if called.ids[p] in glm.stop_ids] == [tool_mark, user_mark]
    for end in (user_mark, tool_mark):  # an end that the model sampled is kept, whatever follows
        text = "\n<think></think>\nyes"  # as the template writes it in history
        sampled = (*glm.tokenizer(text, add_special_tokens=False).input_ids, end)
        said = Message("assistant", "yes", action=True, token_ids=sampled)
        prompt = glm.prompt([user("hi")])
        (kept,) = glm.render(Episode("e", "g", "b", (user("hi"), said, user("more"), answer("no")))).sequences
        assert kept.ids[: len(prompt) + len(sampled)] == (*prompt, *sampled)
        assert glm.decode(kept.ids[len(prompt) + len(sampled) :]).startswith("\nmore<|assistant|>")


def test_most_conversations_are_taken(renderer: Callable[[str], Renderer]) -> None:
    """A refusal is right where a template cannot write a conversation, and wrong elsewhere."""
    refused: dict[str, list[str]] = {}
    for family in FAMILIES:
        for name, episode in CONVERSATIONS.items():
            try:
                renderer(family).render(episode)
            except ConfigError:
                refused.setdefault(name, []).append(family)
    no_tools = {"llama-2", "mistral", "zephyr", "gemma", "gemma-2", "gemma-3", "smollm2", "smollm3", "phi-3"}
    no_tools |= {"command-r", "command-r7b", "olmo-2", "deepseek-r1"}
    opens_a_thought = {"deepseek-r1"}  # so an answer without a thought cannot follow its prompt
    expected = dict.fromkeys(CONVERSATIONS, opens_a_thought) | {
        "a call": no_tools,
        "system": {"mistral", "gemma", "gemma-2", *opens_a_thought},
        "special tokens": {"phi-3", *opens_a_thought},
    }
    assert {name: set(families) for name, families in refused.items()} == expected
