"""What a chat template does to messages: a stated rule, or a refusal that names the message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shiqbench.base.errors import ConfigError
from shiqbench.episodes.episode import Episode, Message
from shiqbench.episodes.rendering import Renderer
from shiqbench.testing.tiny_model import CHATML, make_tokenizer

ASKS = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"


def turn(content: str = "m.content") -> str:
    return "{{ '<|im_start|>' + m.role + '\n' + " + content + " + '<|im_end|>\n' }}"


def loop(body: str) -> str:
    return "{% for m in messages %}" + body + "{% endfor %}" + ASKS


def renderer(folder: Path, template: str, **arguments: Any) -> Renderer:
    make_tokenizer(folder, template)
    return Renderer(folder, arguments)


CONVERSATION = (
    Message("system", "Be brief."),
    Message("user", "What is it?"),
    Message("assistant", "A pear.", action=True),
    Message("tool", 'It said "no".'),
)


def only(*roles: str) -> str:
    return loop("{% if m.role in " + repr(list(roles)) + " %}" + turn() + "{% endif %}")


@pytest.mark.parametrize(
    ("template", "named"),
    [
        (only("system", "user", "assistant"), r"message 3 \(tool\).*drops it \('It said"),
        (only("user", "assistant", "tool"), r"message 0 \(system\).*drops it \('Be brief"),
        (loop("{{ m.content if m.role == 'tool' else '' }}" + turn()), r"message 3 \(tool\).*repeats it"),
        (loop(turn("(m.content | upper if m.role == 'tool' else m.content)")), r"message 3 \(tool\).*rewrites it"),
        (loop(turn("m.content | replace('\"', '')")), r"message 3 \(tool\).*rewrites it"),
        (loop(turn("m.content[:8]")), r"message 0 \(system\).*cannot be followed"),
        (
            "{% for m in messages | reverse %}" + turn() + "{% endfor %}" + ASKS,
            r"message \d \(\w+\).*moves it",
        ),
    ],
)
def test_a_message_that_the_model_would_not_see_is_named(tmp_path: Path, template: str, named: str) -> None:
    with pytest.raises(ConfigError, match="the model would not see " + named):
        renderer(tmp_path, template).prompt(CONVERSATION)


@pytest.mark.parametrize(
    ("template", "rule", "text"),
    [
        (loop(turn("m.content | trim")), "contents are trimmed", "user\nhi<|im_end|>"),
        (
            loop(turn("(m.content | tojson if m.role == 'tool' else m.content)")),
            "contents are written as JSON strings",
            'tool\n"say \\"é\\""<|im_end|>',
        ),
        (
            "{% for m in messages if m.role != 'system' %}{{ '<|im_start|>' + m.role + '\n' }}"
            "{% if loop.last and messages[0].role == 'system' %}{{ messages[0].content + '\n' }}{% endif %}"
            "{{ m.content + '<|im_end|>\n' }}{% endfor %}" + ASKS,
            "the system message is moved",
            "tool\nBe brief.\nsay",
        ),
    ],
)
def test_what_a_template_does_by_a_rule_is_recorded(tmp_path: Path, template: str, rule: str, text: str) -> None:
    made = renderer(tmp_path, template)
    messages = [Message("system", "Be brief."), Message("user", " hi \n"), Message("tool", 'say "é"')]
    assert text in made.decode(made.prompt(messages))
    assert made.facts()["template_rules"] == [rule]


@pytest.mark.parametrize(
    "look",
    ["m.content.startswith('<a>')", "m.content.endswith('</a>')", "m.content[:3] == '<a>'", "'<a>' in m.content"],
)
def test_a_template_may_look_at_a_content(tmp_path: Path, look: str) -> None:
    made = renderer(tmp_path, loop("{{ '[seen]' if " + look + " else '' }}" + turn()))
    assert "[seen]<|im_start|>user\n<a>word</a>" in made.decode(made.prompt([Message("user", "<a>word</a>")]))
    assert "[seen]" not in made.decode(made.prompt([Message("user", "word")]))


@pytest.mark.parametrize("after", ["'\n'", "' '", "'<end>'", "''"])
def test_an_end_of_turn_that_ordinary_text_contains_is_refused(tmp_path: Path, after: str) -> None:
    template = "{% for m in messages %}{{ m.role + ': ' + m.content + " + after + " }}{% endfor %}"
    with pytest.raises(ConfigError, match="no special token ends an answer in the chat template"):
        renderer(tmp_path, template)


def test_the_end_of_turn_is_the_models_own_and_not_what_comes_first(tmp_path: Path) -> None:
    made = renderer(
        tmp_path,
        loop("{{ m.role + ': ' + m.content + ' \n<|im_end|>' }}").replace("<|im_start|>assistant\n", "assistant: "),
    )
    assert made.end_of_turn_text == "<|im_end|>"
    (sequence,) = made.render(Episode("e", "g", "b", CONVERSATION[:3])).sequences
    assert made.decode([sequence.ids[p] for p in sequence.actions]).endswith("A pear. \n<|im_end|>")


def test_the_date_is_fixed_and_recorded(tmp_path: Path) -> None:
    made = renderer(tmp_path, "{{ strftime_now('%d %b %Y') }}" + CHATML)
    assert made.decode(made.prompt([Message("user", "hi")])).startswith("26 Jul 2024<|im_start|>")
    assert made.facts()["template_date"] == "2024-07-26"


def test_a_template_without_a_date_records_none(tmp_path: Path) -> None:
    made = renderer(tmp_path, CHATML)
    made.prompt([Message("user", "hi")])
    assert {"template_date", "template_rules", "template_arguments"}.isdisjoint(made.facts())


THINKING = (
    CHATML.replace("{% if add", "{% set thinks = enable_thinking if enable_thinking is defined else true %}{% if add")
    .replace("assistant\n'", "assistant\n' + ('' if thinks else '<think>\n\n</think>\n\n')")
    .replace("m['content'] +", "(m['content'].split('</think>\n\n') | last if not loop.last else m['content']) +")
)


def test_keywords_of_the_template_change_prompt_and_identity(tmp_path: Path) -> None:
    plain, silent = renderer(tmp_path, THINKING), renderer(tmp_path, THINKING, enable_thinking=False)
    question = [Message("user", "hi")]
    assert silent.decode(silent.prompt(question)) == plain.decode(plain.prompt(question)) + "<think>\n\n</think>\n\n"
    assert silent.facts()["template_arguments"] == {"enable_thinking": False}
    assert plain.template_identity != silent.template_identity
    assert plain.template_sha256 == silent.template_sha256


@pytest.mark.parametrize("name", ["tools", "tokenize", "strftime_now"])
def test_a_keyword_that_is_ours_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} is set by shiqbench \(model\.template\.{name}\)"):
        renderer(tmp_path, CHATML, **{name: True})


@pytest.mark.parametrize(
    ("prompt", "said", "thought", "answer"),
    [
        ("", "<think>\nhm\n</think>\n\nyes", "<think>\nhm\n</think>", "yes"),
        ("", "yes", "", "yes"),
        ("", "<think>\nhm", "<think>\nhm", ""),
        ("<think>\n", "hm\n</think>\n\nyes", "hm\n</think>", "yes"),
        ("<think>\n", "hm, so", "hm, so", ""),
        ("<think>\n\n</think>\n\n", "yes", "", "yes"),
        ("", "<think>a</think>b<think>c</think>d", "<think>a</think>b<think>c</think>", "d"),
    ],
)
def test_a_thought_is_no_part_of_the_answer(tmp_path: Path, prompt: str, said: str, thought: str, answer: str) -> None:
    made = renderer(tmp_path, THINKING)
    ids = made.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert made.split_thought(ids, said) == (thought, answer)


def test_a_model_without_marks_has_no_thoughts(tmp_path: Path) -> None:
    assert renderer(tmp_path, CHATML).split_thought([], "<think>a</think>b") == ("", "<think>a</think>b")


@pytest.mark.parametrize(("begin", "end"), [("[THINK]", "[/THINK]"), ("<|START_THINKING|>", "<|END_THINKING|>")])
def test_the_marks_are_the_models_own(tmp_path: Path, begin: str, end: str) -> None:
    made = renderer(tmp_path, CHATML + "{# " + begin + " " + end + " #}")
    assert made.split_thought([], f"{begin}a{end}b") == (f"{begin}a{end}", "b")


def test_an_answer_follows_the_empty_thought_of_its_prompt(tmp_path: Path) -> None:
    made = renderer(tmp_path, THINKING, enable_thinking=False)
    episode = Episode("e", "g", "b", (Message("user", "hi"), Message("assistant", "yes", action=True)))
    (sequence,) = made.render(episode).sequences
    assert made.decode(sequence.ids).endswith("assistant\n<think>\n\n</think>\n\nyes<|im_end|>")
    assert made.decode([sequence.ids[p] for p in sequence.actions]) == "yes<|im_end|>"


CALL = {"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
CALLS = loop(
    "{{ '<|im_start|>' + m.role + '\n' + m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}({{ c.function.arguments | tojson }}){% endfor %}"
    "{{ '<|im_end|>\n' }}"
)


def calling(call: dict[str, Any]) -> Episode:
    said = Message("assistant", "", action=True, extra={"tool_calls": [call]})
    return Episode("e", "g", "b", (Message("user", "hi"), said))


@pytest.mark.parametrize("arguments", [{"a": 1}, '{"a": 1}'])
def test_tool_calls_are_part_of_the_answer(tmp_path: Path, arguments: Any) -> None:
    made = renderer(tmp_path, CALLS)
    episode = calling({"type": "function", "function": {"name": "f", "arguments": arguments}})
    (sequence,) = made.render(episode).sequences
    assert made.decode([sequence.ids[p] for p in sequence.actions]) == 'f({"a": 1})<|im_end|>'


def test_arguments_that_are_not_json_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the arguments of a tool call are not JSON: .*\(call of f\)"):
        renderer(tmp_path, CALLS).render(calling({"function": {"name": "f", "arguments": "{a"}}))


def test_tool_calls_that_the_template_does_not_show_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="would not see the tool calls of an assistant message"):
        renderer(tmp_path, CHATML).render(calling(CALL))


def test_tools_that_the_template_does_not_show_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="would not see the tools that the conversation offers"):
        renderer(tmp_path, CHATML).prompt([Message("user", "hi")], [{"type": "function"}])
