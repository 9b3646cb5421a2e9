"""Messages in spellings that models use, or might: the same episodes through the wheel's own code and through ours.

Each episode is the ground truth of a scenario, in which one message has another spelling. Most spellings still mean the
same calls, so a reader that takes or leaves one too many gets another verdict.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forms import ANY_VALUE, CALLS, EDITS, LISTED, MESSAGES, NUMBERS, TEXTS
from official import JUDGE, run_official
from shiqbench_tasks.bfcl_v3.calls import Call
from shiqbench_tasks.bfcl_v3.data import load_entries
from shiqbench_tasks.bfcl_v3.loop import Dialogue, Limits
from shiqbench_tasks.bfcl_v3.official_prompt import OfficialPrompt
from shiqbench_tasks.bfcl_v3.versions import CATEGORIES

from shiqbench.episodes.episode import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.versions import DataVersion

    Way = Callable[[random.Random, Sequence[Call]], str]

UNWINNABLE = "multi_turn_base_154"  # of v3; see versions.py


@dataclass(frozen=True)
class Spelling:
    """One episode.

    Attributes:
        entry: The scenario.
        replies: The model's messages.
        kind: What is odd in one of them.
        text: That message.
    """

    entry: Entry
    replies: tuple[str, ...]
    kind: str
    text: str


def spellings(root: Path, version: DataVersion, count: int, seed: int = 0) -> list[Spelling]:
    """That many episodes with different odd messages."""
    chance = random.Random(f"spellings {version.name} {seed}")
    entries = [e for c in CATEGORIES for e in load_entries(root, c, version)]
    if version.name == "v3":
        entries = [e for e in entries if e.id != UNWINNABLE]
    ways = _ways()
    found: list[Spelling] = []
    while len(found) < count:
        chance.shuffle(ways)
        for kind, write in ways:
            if len(found) < count:
                found.append(_episode(chance, chance.choice(entries), kind, write))
    return found


def _ways() -> list[tuple[str, Way]]:
    """Every spelling by its kind, and random edits."""
    tables: list[tuple[dict[str, list[str]], Callable[[str], Way]]] = [
        (MESSAGES, lambda form: lambda chance, calls: form.format(*[_joined(chance, calls)] * 2)),
        (CALLS, lambda form: lambda chance, calls: _one_call(chance, calls, form)),
        (ANY_VALUE, lambda form: lambda chance, calls: _one_value(chance, calls, form, (object,))),
        (TEXTS, lambda form: lambda chance, calls: _one_value(chance, calls, form, (str,))),
        (NUMBERS, lambda form: lambda chance, calls: _one_value(chance, calls, form, (int, float))),
    ]
    ways = [(kind, way(form)) for table, way in tables for kind, forms in table.items() for form in forms]
    for kind, write in (("argument given twice", _twice), ("positional argument", _positional), ("inner call", _inner)):
        ways += [(kind, write)] * 6
    return ways + [("random edit", _edited)] * 100


def _episode(chance: random.Random, entry: Entry, kind: str, write: Way) -> Spelling:
    odd = chance.choice([i for i, calls in enumerate(entry.ground_truth) if calls])
    replies, text = [], ""
    for turn, calls in enumerate(entry.ground_truth):
        split = chance.random() < 0.3 and len(calls) > 1
        parts = [calls[:1], calls[1:]] if split else [calls] if calls else []
        written = [f"[{_joined(None, part)}]" for part in parts]
        if turn == odd:
            which = chance.randrange(len(parts))
            written[which] = text = write(chance, parts[which])
        replies += [*written, chance.choice(["Done.", "[]", "I did it (all of it).", ""])]
    return Spelling(entry, tuple(replies), kind, text)


def _joined(chance: random.Random | None, calls: Sequence[Call]) -> str:
    comma = chance.choice([", ", ",", ",\n", ",\n    "]) if chance is not None and chance.random() < 0.3 else ", "
    return comma.join(call.text() for call in calls)


def _one_call(chance: random.Random, calls: Sequence[Call], form: str) -> str:
    chosen = chance.randrange(len(calls))
    texts = [call.text() for call in calls]
    texts[chosen] = form.format(calls[chosen].name, texts[chosen].partition("(")[2][:-1])
    return f"[{', '.join(texts)}]"


def _one_value(chance: random.Random, calls: Sequence[Call], form: str, of: tuple[type, ...]) -> str:
    """One argument in another spelling; if none has such a value, one more argument."""
    places = [
        (i, key) for i, call in enumerate(calls) for key, value in call.kwargs.items()
        if isinstance(value, of) and not (isinstance(value, bool) and of != (object,))
    ]  # fmt: skip
    place, key = chance.choice(places) if places else (0, "extra")
    texts = []
    for number, call in enumerate(calls):
        values = {name: repr(value) for name, value in call.kwargs.items()}
        if number == place:
            before = values.get(key, "'x'" if of == (str,) else "1")
            values[key] = form.format(before, before[1:-1])
        texts.append(f"{call.name}({', '.join(f'{name}={value}' for name, value in values.items())})")
    return f"[{', '.join(texts)}]"


def _twice(chance: random.Random, calls: Sequence[Call]) -> str:
    text = calls[0].text()
    given = ", ".join(f"{key}={chance.choice([value, 1, None])!r}" for key, value in calls[0].kwargs.items())
    more = chance.choice([f"({given}, ", "("]) + text.partition("(")[2][:-1]
    return f"[{calls[0].name}{more}{chance.choice([', ' + given, ''])})]" + "".join(f", {c.text()}" for c in calls[1:])


def _positional(chance: random.Random, calls: Sequence[Call]) -> str:
    values = list(calls[0].kwargs.items())
    cut = chance.randint(1, max(1, len(values)))
    parts = [*(repr(value) for _, value in values[:cut]), *(f"{key}={value!r}" for key, value in values[cut:])]
    texts = [f"{calls[0].name}({', '.join(parts)})", *(call.text() for call in calls[1:])]
    return f"[{', '.join(texts)}]"


def _inner(chance: random.Random, calls: Sequence[Call]) -> str:
    """A call as an argument of another: there it runs first."""
    inner, outer = chance.choice(calls), chance.choice(calls)
    name = next(iter(outer.kwargs), "extra")
    value = chance.choice(["{}", "{{'a': 1, 'b': {}}}", "[{}]", "({},)"]).format(inner.text())
    return f"[{outer.name}({name}={value})]"


def _edited(chance: random.Random, calls: Sequence[Call]) -> str:
    """One to three random edits."""
    text = f"[{_joined(chance, calls)}]"
    for _ in range(chance.choice([1, 1, 2, 3])):
        at, to = sorted(chance.choices(range(len(text) + 1), k=2))
        to = min(to, at + 3)
        replaced = chance.choice(["", chance.choice(EDITS), text[at:to] * 2, text[at:to][::-1]])
        text = text[:at] + replaced + text[to if chance.random() < 0.7 else at :]
    return text


@dataclass(frozen=True)
class Outcome:
    """Both results of one episode: type of error (None if valid), and the tools' answers."""

    spelling: Spelling
    theirs: str | None
    ours: str | None
    their_answers: tuple[str, ...]
    our_answers: tuple[str, ...]


def compared(found: Sequence[Spelling], root: Path, version: DataVersion, home: Path) -> list[Outcome]:
    """Play the episodes through the wheel's loop, decoder, executor and checker, and through ours."""
    jobs = [{"id": s.entry.id, "replies": s.replies} for s in found]
    theirs: list[dict[str, Any]] = run_official(JUDGE, root, version, jobs, home=home)
    setting = OfficialPrompt(root, version.name)
    outcomes = []
    for spelling, official in zip(found, theirs, strict=True):
        dialogue = Dialogue(spelling.entry, root, Limits(max_steps=20, scores_unfinished=True), setting)
        replies = iter(spelling.replies)
        while dialogue.stop is None:
            dialogue.answer(Message("assistant", next(replies, "Done."), action=True))
        error = dialogue.verdict().error_type
        answers = [m.content for m in dialogue.messages if m.role == "tool"]
        outcomes.append(
            Outcome(
                spelling,
                official["error"],
                error.value if error else None,
                tuple(map(_without_instance, official["tools"])),
                tuple(map(_without_instance, answers)),
            )
        )
    return outcomes


def _without_instance(text: str) -> str:
    """The executor's text without the name that it gives to an instance, which holds the model's name."""
    return re.sub(r"(?:s\d+_(?:eval_)?)?multi_turn_[a-z_]+_\d+_\w+\.(?=\w+\()", "", text)


def differing(outcomes: Sequence[Outcome]) -> tuple[list[Outcome], Counter[str], Counter[str]]:
    """Verdicts that differ outside the list, and those inside it and all episodes by kind."""
    differ = [o for o in outcomes if o.theirs != o.ours]
    return (
        [o for o in differ if o.spelling.kind not in LISTED],
        Counter(o.spelling.kind for o in differ if o.spelling.kind in LISTED),
        Counter(o.spelling.kind for o in outcomes),
    )
