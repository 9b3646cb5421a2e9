"""A watched process in which episodes are given hostile messages; what it saw it prints as JSON.

    python watched.py ROOT COUNT [evaluating|sharing|patching]

The last argument breaks the loop on purpose, to show that the watch would see it. A process of its own, because an
audit hook cannot be taken out again.
"""

from __future__ import annotations

import _strptime  # type: ignore[import-not-found]  # noqa: F401 - Python imports these two at their first use
import ast
import builtins
import decimal
import json
import os
import random
import sys
import time
import unicodedata  # noqa: F401
from collections import Counter
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import mpmath
from hostile import CANARY, hostile_texts
from shiqbench_tasks.bfcl_v3 import calls, formats, guards, loop, native, official_prompt, prompt, scoring, simulator
from shiqbench_tasks.bfcl_v3.data import load_entries
from shiqbench_tasks.bfcl_v3.loop import Dialogue, Limits, play
from shiqbench_tasks.bfcl_v3.native import NativePrompt
from shiqbench_tasks.bfcl_v3.official_prompt import OfficialPrompt
from shiqbench_tasks.bfcl_v3.prompt import REDUCED
from shiqbench_tasks.bfcl_v3.simulator import ToolBox, official
from shiqbench_tasks.bfcl_v3.versions import CATEGORIES

from shiqbench.episodes.episode import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench_tasks.bfcl_v3.calls import Call
    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.prompt import PromptSetting

OURS = (calls, formats, guards, loop, native, official_prompt, prompt, scoring, simulator)
OFFICIAL = "bfcl_eval.eval_checker.multi_turn_eval"


class Watch:
    """Every audit event, other than parsing without compiling, while it is open."""

    def __init__(self) -> None:
        self.events: dict[str, str] = {}
        self._open = self._busy = False
        sys.addaudithook(self._hook)

    def __enter__(self) -> None:
        self._open = True

    def __exit__(self, *error: object) -> None:
        self._open = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._open or self._busy:
            return
        self._busy = True  # looking at the caller is an event, too
        try:
            caller = sys._getframe(1)
            parses = event == "compile" and _only_parses(caller)
            # Where it is imported, it looks at the caller of every Union[...]; the official tools write some.
            looks = event == "sys._getframe" and caller.f_globals["__name__"] == "typing_extensions"
            if not parses and not looks and event != "builtins.id":
                self.events.setdefault(event, ascii(arguments)[:200])
        finally:
            self._busy = False


def _only_parses(caller: Any) -> bool:
    """Whether the frame that asked for compilation is ``ast.parse``, and asked for the tree alone."""
    wants_a_tree = caller.f_locals.get("flags", 0) & ast.PyCF_ONLY_AST
    return caller.f_code is ast.parse.__code__ and bool(wants_a_tree)


class ToolTemplate:
    """As much of a renderer as a native prompt setting asks for."""

    def supports_tools(self) -> bool:
        return True


def fingerprint(value: Any, seen: set[int]) -> Any:
    """All that can be reached from a value and could be changed, as nested tuples."""
    if isinstance(value, (str, bytes, int, float, complex, type(None))):
        return value
    if isinstance(value, tuple):
        return tuple(fingerprint(part, seen) for part in value)
    if id(value) in seen or isinstance(value, (ModuleType, BuiltinFunctionType)):
        return id(value)
    seen.add(id(value))
    parts: tuple[Any, ...] = ()
    if isinstance(value, FunctionType):
        cells = tuple(cell.cell_contents for cell in value.__closure__ or ())
        parts = (value.__code__, value.__defaults__, value.__kwdefaults__, value.__dict__, cells)
    elif isinstance(value, dict):
        parts = tuple(value.items())
    elif isinstance(value, list):
        parts = tuple(value)
    elif isinstance(value, (set, frozenset)):
        parts = tuple(sorted(map(repr, value)))
    elif isinstance(value, random.Random):
        parts = value.getstate()
    elif hasattr(value, "__dict__"):
        parts = tuple(vars(value).items())
    return id(value), fingerprint(parts, seen)


def world(root: Path, entries: Sequence[Entry], bystanders: Sequence[Dialogue]) -> dict[str, Any]:
    """What no message may change, by name."""
    simulated = official(root)
    roots: list[Any] = [*simulated.classes.values(), simulated.state_checker, simulated.response_checker]
    official_globals = [f.__globals__ for k in roots for f in ([k] if isinstance(k, FunctionType) else _functions(k))]
    return {
        "modules": sorted(sys.modules),
        "module globals": fingerprint((*map(vars, OURS), *official_globals), set()),
        "classes": fingerprint(tuple(roots), set()),
        "builtins": fingerprint(vars(builtins), set()),
        "json, ast": fingerprint((vars(json), vars(ast)), set()),
        "entries": fingerprint(tuple(map(vars, entries)), set()),
        "bystanders": fingerprint(tuple(map(vars, bystanders)), set()),
        "environment": dict(os.environ),
        "folder": sorted(str(p) for p in Path.cwd().rglob("*")),
        "working folder": str(Path.cwd()),
        "search path": list(sys.path),
        "precision": (mpmath.mp.dps, mpmath.mp.prec, decimal.getcontext().prec),
        "chance": random.getstate(),
        "limits": (sys.getrecursionlimit(), sys.get_int_max_str_digits()),
    }


def _functions(kind: type) -> list[FunctionType]:
    return [f for f in vars(kind).values() if isinstance(f, FunctionType)]


def one_of_each_class(entries: Sequence[Entry]) -> list[Entry]:
    """The first entries that together involve every class."""
    found: list[Entry] = []
    for entry in entries:
        if set(entry.classes) - {name for e in found for name in e.classes}:
            found.append(entry)
    return found


def broken(kind: str) -> None:
    """Put one hole into the loop; what goes through it is harmless."""
    if kind == "evaluating":
        read, harmless = prompt.Reduced.parse, f"open({CANARY!r}, 'w').close()"
        prompt.Reduced.parse = lambda self, text: (eval(harmless), read(self, text))[1]  # type: ignore[method-assign]
    elif kind == "sharing":
        make, made = ToolBox.__init__, dict[str, ToolBox]()

        def share(self: ToolBox, entry: Entry, root: Path, *, rewrites: bool = False) -> None:
            make(self, entry, root)
            vars(self).update(vars(made.setdefault(entry.id, self)))

        ToolBox.__init__ = share  # type: ignore[method-assign]
    elif kind == "patching":
        dispatch = ToolBox.dispatch

        def spoil(self: ToolBox, call: Call) -> str:
            if call.name.startswith("_"):
                type(next(iter(self.instances.values()))).hostile = call.name
            return dispatch(self, call)

        ToolBox.dispatch = spoil  # type: ignore[method-assign]


def main() -> None:
    root, count, hole = Path(sys.argv[1]), int(sys.argv[2]), "".join(sys.argv[3:])
    everything = {category: load_entries(root, category) for category in CATEGORIES}
    victims = [*one_of_each_class(everything["base"]), *(es[1] for c, es in everything.items() if c != "base")]
    settings: list[PromptSetting] = [REDUCED, OfficialPrompt(root, "v3")]
    settings += [NativePrompt(ToolTemplate(), name) for name in formats.FORMATS]  # type: ignore[arg-type]
    tools = {tool["name"]: tool for entry in victims for tool in entry.tools}
    texts = hostile_texts(list(tools.values()), count)

    for entry in victims:  # what is imported or kept at first use is not the messages' doing
        play(Dialogue(entry, root), entry.ground_truth).verdict()
        for tool in entry.tools:
            ToolBox(entry, root).dispatch(calls.Call(tool["name"], kwargs={"time": "x"}))
    play(Dialogue(victims[0], root), [*victims[0].ground_truth[:-1], ()]).verdict()
    broken(hole)
    bystanders = [Dialogue(entry, root) for entry in victims]
    before, watch = world(root, victims, bystanders), Watch()
    outcomes = {setting.name + setting.parser: Counter[str]() for setting in settings}
    slowest, answered = (0.0, ""), 0
    for setting in settings:
        seen = outcomes[setting.name + setting.parser]
        live = [Dialogue(entry, root, Limits(max_steps=1000), setting) for entry in victims]
        for number, text in enumerate(texts):
            names = {call.name for call in setting.parse(text).calls}
            offering = [i for i, d in enumerate(live) if names & d._toolbox._methods.keys()]
            at = (offering or range(len(live)))[number % len(offering or live)]
            if live[at].stop is not None:
                live[at].verdict()
                live[at] = Dialogue(victims[at], root, Limits(max_steps=1000), setting)
            dialogue, message, started = live[at], Message("assistant", text, action=True), time.process_time()
            with watch:
                dialogue.answer(message)
            slowest = max(slowest, (time.process_time() - started, ascii(text)[:200]))
            answered += 1
            seen["calls"] += bool(names)
            seen["tools reached"] += bool(offering)
    after = world(root, victims, bystanders)
    won = [play(d, d.entry.ground_truth).verdict().valid for d in bystanders]
    report = {
        "texts": len(set(texts)),
        "answered": answered,
        "events": watch.events,
        "changed": [name for name, value in before.items() if after[name] != value],
        "bystanders": [len(won), sum(won)],
        "outcomes": outcomes,
        "slowest": slowest,
    }
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
