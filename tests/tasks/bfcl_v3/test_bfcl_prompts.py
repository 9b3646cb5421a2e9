"""Prompt settings: the official loop's own messages, and tools through chat templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from official import LOOP, run_official
from shiqbench_tasks.bfcl_v3 import native, official_prompt
from shiqbench_tasks.bfcl_v3.calls import Call, write
from shiqbench_tasks.bfcl_v3.config import BfclConfig
from shiqbench_tasks.bfcl_v3.data import load_entries
from shiqbench_tasks.bfcl_v3.loop import Dialogue, Limits, play
from shiqbench_tasks.bfcl_v3.native import NativePrompt
from shiqbench_tasks.bfcl_v3.official_prompt import OfficialPrompt
from shiqbench_tasks.bfcl_v3.task import BfclTask
from shiqbench_tasks.bfcl_v3.versions import CATEGORIES, VERSIONS
from templates import HERMES, LLAMA3_JSON, PYTHONIC, UNKNOWN

from shiqbench.base.errors import ConfigError, ExitCode
from shiqbench.base.progress import Display
from shiqbench.base.wheels import fetch
from shiqbench.episodes.episode import Message
from shiqbench.episodes.generation import ChatGenerator, Completion
from shiqbench.episodes.rendering import Renderer
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.plugin.config import EvalConfig
from shiqbench.plugin.start_model import StartModel
from shiqbench.running.runner import run_plan
from shiqbench.testing.tiny_model import CHATML, make_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.versions import DataVersion


def _replies(entry: Entry) -> list[str]:
    """A little of everything: true calls in one message or several, text, nonsense, turns without end."""
    style = entry.scenario % 5
    found: list[str] = []
    for calls in entry.ground_truth:
        if style == 0:
            found += [write(calls), "I have done that."]
        elif style == 1:
            found += [*(f"```{c.text()}```" for c in calls), "[]"]
        elif style == 2:
            found += [write(calls), "Sure: [pwd(] done"]
        elif style == 3:
            found += [write(calls), ""]
        else:
            found += ["[pwd(), nothing(a=word)]"] * 25
    return found


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS.values(), ids=lambda v: v.name)
def test_the_official_loop_has_the_same_conversation(version: DataVersion, tmp_path: Path) -> None:
    """System prompt, withheld tools and their announcement, responses, ends of turns, 20 steps a turn."""
    root = fetch(version.wheel)
    setting = OfficialPrompt(root, version.name)
    entries = [e for c in CATEGORIES for e in load_entries(root, c, version)[:200:13]]
    jobs = [{"id": e.id, "replies": _replies(e)} for e in entries]
    theirs = run_official(LOOP, root, version, jobs, home=tmp_path)
    for entry, official, job in zip(entries, theirs, jobs, strict=True):
        dialogue = Dialogue(entry, root, Limits(max_steps=20, scores_unfinished=True), setting)
        replies = iter(job["replies"])
        while dialogue.stop is None:
            dialogue.answer(Message("assistant", next(replies, "Done."), action=True))
        ours = [[m.role, m.content] for m in dialogue.messages]
        assert ours == official["messages"], entry.id
        said = [content for turn in official["result"] for content in turn]
        assert [m.content for m in dialogue.messages if m.action] == said


def test_the_official_prompt_is_long_and_holds_every_document(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    setting = OfficialPrompt(bfcl_root, "v3")
    lengths = [len(setting.opening(e)[0].content) for e in entries]
    assert 20_000 < sum(lengths) / len(lengths) < 45_000
    assert all(f"'name': '{t['name']}'" in setting.opening(entries[0])[0].content for t in entries[0].tools)


def _renderer(folder: Path, template: str) -> Renderer:
    make_tokenizer(folder, template)
    return Renderer(folder)


@pytest.mark.parametrize(
    ("template", "name"), [(HERMES, "hermes"), (LLAMA3_JSON, "llama3_json"), (PYTHONIC, "pythonic")]
)
def test_the_format_is_found_in_the_template(tmp_path: Path, template: str, name: str) -> None:
    assert NativePrompt(_renderer(tmp_path, template)).parser == name


def test_a_template_that_ignores_tools_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ignores tools"):
        NativePrompt(_renderer(tmp_path, CHATML))


def test_a_run_is_refused_before_anything_is_written(tiny_model: Path, tmp_path: Path) -> None:
    request = Request(
        "base", "bfcl_v3", str(tiny_model), settings={"task.prompt": "native"}, engine="transformers",
        results=tmp_path / "results",
    )  # fmt: skip
    with pytest.raises(ConfigError, match="ignores tools") as refused:
        run_plan(make_plan(request), Display())
    assert refused.value.exit_code == ExitCode.USAGE
    assert not (tmp_path / "results").exists()


def test_an_unknown_format_is_refused_unless_it_is_named(tmp_path: Path) -> None:
    renderer = _renderer(tmp_path, UNKNOWN)
    with pytest.raises(ConfigError, match=r"not known here .*task.parser = hermes or llama3_json or pythonic"):
        NativePrompt(renderer)
    assert NativePrompt(renderer, "pythonic").parser == "pythonic"


def test_a_parser_without_native_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be honoured"):
        BfclConfig(parser="hermes")
    assert BfclConfig(prompt="native", parser="hermes").setting()["parser"] == "hermes"


@pytest.mark.slow
@pytest.mark.parametrize("template", [HERMES, LLAMA3_JSON, PYTHONIC], ids=["hermes", "llama3_json", "pythonic"])
@pytest.mark.parametrize("category", CATEGORIES)
def test_ground_truth_is_perfect_under_native(bfcl_root: Path, tmp_path: Path, template: str, category: str) -> None:
    setting = NativePrompt(_renderer(tmp_path, template))
    for entry in load_entries(bfcl_root, category):
        assert play(Dialogue(entry, bfcl_root, setting=setting), entry.ground_truth).verdict().valid


@pytest.mark.slow
@pytest.mark.parametrize("category", CATEGORIES)
def test_ground_truth_is_perfect_under_the_official_prompt(bfcl_root: Path, category: str) -> None:
    setting = OfficialPrompt(bfcl_root, "v3")
    for entry in load_entries(bfcl_root, category):
        assert play(Dialogue(entry, bfcl_root, setting=setting), entry.ground_truth).verdict().valid


def test_thoughts_are_passed_over(tmp_path: Path) -> None:
    setting = NativePrompt(_renderer(tmp_path, HERMES))
    text = '<think>Maybe <tool_call>{"name": "rm"</think>\n<tool_call>{"name": "ls", "arguments": {}}</tool_call>'
    assert setting.parse(text).calls == (Call("ls"),)


def test_schemas_have_the_types_of_json(bfcl_root: Path) -> None:
    allowed = {"string", "integer", "number", "boolean", "array", "object"}

    def types(value: dict[str, Any]) -> set[str]:
        inner = [*value.get("properties", {}).values(), *([value["items"]] if "items" in value else [])]
        return {value["type"]}.union(*map(types, inner))

    for category in CATEGORIES:
        for entry in load_entries(bfcl_root, category)[:40]:
            for tool in entry.tools:
                assert types(native.schema(tool)["function"]["parameters"]) <= allowed
                assert tool["parameters"]["type"] == "dict"  # the document itself stays as it was


def test_withheld_tools_join_the_template_later(bfcl_root: Path, tmp_path: Path, miss_func: tuple[Entry, ...]) -> None:
    """What the model reads before the announcement has no trace of them, in generation and in training alike."""
    renderer = _renderer(tmp_path, HERMES)
    entry = miss_func[1]
    task = BfclTask(BfclConfig(categories=("miss_func",), prompt="native", behaviours=("ground_truth",)))
    task.use_model(StartModel(tmp_path))
    (episode,) = [e for s in ("train", "validation", "test") for e in task.episodes(s) if e.group == entry.id]
    announced = next(i for i, m in enumerate(episode.messages) if m.tools is not None)
    assert (
        episode.messages[announced].content == "I have updated some more functions you can choose from. What about now?"
    )
    before = renderer.decode(renderer.prompt(episode.messages[:announced], episode.tools))
    after = renderer.decode(renderer.prompt(episode.messages[: announced + 1], episode.tools))
    assert '"name": "mv"' not in before
    assert '"name": "mv"' in after
    rendered = renderer.render(episode)
    texts = [renderer.decode(s.ids) for s in rendered.sequences]
    assert len(texts) == sum(m.action for m in episode.messages)  # history is rewritten: a sequence per message
    assert ['"name": "mv", "description"' in text for text in texts] == sorted(
        '"name": "mv", "description"' in text for text in texts
    )
    assert '"name": "mv", "description"' not in texts[0]
    assert sum(rendered.rewards) == pytest.approx(1)


def test_other_categories_keep_one_sequence_per_episode(bfcl_root: Path, tmp_path: Path) -> None:
    renderer = _renderer(tmp_path, HERMES)
    task = BfclTask(BfclConfig(prompt="native", behaviours=("ground_truth",), scenarios=2))
    task.use_model(StartModel(tmp_path))
    for episode in task.episodes("train"):
        (sequence,) = renderer.render(episode).sequences
        text = renderer.decode(sequence.ids)
        assert text.count('"type": "function"') == len(episode.tools)
        assert "<tool_response>" in text


class Fixed:
    """An engine that always answers the same."""

    name, version = "fixed", "1"

    def __init__(self, renderer: Renderer, text: str) -> None:
        self.ids = (*renderer.tokenizer(text)["input_ids"], renderer.end_of_turn)
        self.prompts: list[Sequence[int]] = []

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Any) -> list[Completion]:
        self.prompts += prompts
        return [Completion(self.ids, (0.0,) * len(self.ids), stopped=True) for _ in prompts]


def test_an_evaluation_under_native(tmp_path: Path) -> None:
    renderer = _renderer(tmp_path, HERMES)
    engine = Fixed(renderer, '<tool_call>\n{"name": "pwd", "arguments": {}}\n</tool_call>')
    chat = ChatGenerator(engine, renderer, 200_000)  # type: ignore[arg-type]
    task = BfclTask(BfclConfig(prompt="native", categories=("miss_func",)))
    config = EvalConfig(examples=2, max_steps=2, max_context=200_000)
    records = task.evaluate(chat, config, lambda done, total: None)
    assert [r["stop"] for r in records] == ["step_limit"] * 2
    assert all(r["calls"] == r["parseable_messages"] == 3 for r in records)
    assert '"type": "function"' in renderer.decode(engine.prompts[0])
    assert task.facts()["parser"] == "hermes"


def test_a_first_prompt_that_is_too_long_says_by_how_much(tmp_path: Path) -> None:
    renderer = _renderer(tmp_path, CHATML)
    chat = ChatGenerator(Fixed(renderer, "x"), renderer, 4096)  # type: ignore[arg-type]
    task = BfclTask(BfclConfig(prompt="official"))
    with pytest.raises(
        ConfigError, match=r"has (\d+) tokens: .* is \d+ more than max_context 4096.*raise max_context to"
    ):
        task.evaluate(chat, EvalConfig(examples=2, max_context=4096), lambda done, total: None)


def test_identities_differ_and_follow_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def identity(**config: Any) -> str:
        return BfclTask(BfclConfig(**config)).prompt_identity()

    found = [identity(prompt=p, data_version=v) for p in ("reduced", "official", "native") for v in ("v3", "v4")]
    assert len(set(found)) == 6
    monkeypatch.setattr(native, "_TYPES", {})
    monkeypatch.setattr(official_prompt, "LANGUAGE_HINT", "")
    assert identity(prompt="native") != found[4]
    assert identity(prompt="official") != found[2]
    assert identity() == found[0]


def test_the_setting_is_marked_reduced_only_where_it_is() -> None:
    assert [BfclConfig(prompt=p).reduced() for p in ("reduced", "official", "native")] == [True, False, False]
