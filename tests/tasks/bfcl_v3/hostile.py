"""Hostile messages by the thousand: whatever a model might write to get at more than its tools."""

from __future__ import annotations

import itertools
import json
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shiqbench_tasks.bfcl_v3.data import ToolDocument

CANARY = "canary/touched"
# Expressions that would leave a trace if anything evaluated them.
EXPRESSIONS = (
    f"open('{CANARY}', 'w')",
    f"open('{CANARY}', 'w').close()",
    f"__import__('os').system('touch {CANARY}')",
    f"__import__('subprocess').Popen(['touch', '{CANARY}'])",
    f"__import__('pathlib').Path('{CANARY}').touch()",
    "__import__('socket').create_connection(('127.0.0.1', 9))",
    "__import__('antigravity')",
    "__import__('os').environ.update(HOSTILE='1')",
    "__import__('os').chdir('/')",
    "__import__('sys').modules.clear()",
    "__builtins__.__dict__['open']('canary/touched', 'w')",
    f"eval(\"open('{CANARY}', 'w')\")",
    f"exec(\"open('{CANARY}', 'w')\")",
    "compile('1', 'x', 'eval')",
    "().__class__.__base__.__subclasses__()",
    "getattr(getattr((), '__class__'), '__base__')",
    "ls.__func__.__globals__['subprocess'].run(['touch', 'canary/touched'])",
    "ls.__self__._load_scenario({})",
    "self.root.contents.clear()",
    "globals()['hostile']",
    "setattr(ls, 'hostile', 1)",
    "vars()",
    "(lambda: open('canary/touched', 'w'))()",
    "[open('canary/touched', 'w') for _ in range(1)]",
    "{open('canary/touched', 'w') for _ in (1,)}",
    "(open('canary/touched', 'w') for _ in (1,))",
    "(hostile := open('canary/touched', 'w'))",
    "f\"{open('canary/touched', 'w')}\"",
    "f'{().__class__!r:{10**9}}'",
    "'{0.__class__.__init__.__globals__}'.format(1)",
    "'%n%s%x' % ls",
    "9**9**9**9",
    "10**4999",
    "9" * 5_000,
    "1e999",
    "-1e308",
    "'x' * 10**10",
    "1 << 10**10",
    "not ls()",
    "await ls()",
    "yield ls()",
    "print(open)",
    "breakpoint()",
    "exit()",
    "input()",
    "\uff4f\uff50\uff45\uff4e('canary/touched', 'w')",
    "\uff3f\uff3fimport__('os')",
    "оpen('canary/touched', 'w')",
    "ⅼs()",
    "\U0001d4f5\U0001d4fc()",
    "ls\u200b()",
    "\u202els()\u202c",
    "\x00",
    "'\x00'",
    "'\\x00'",
    "'\ud800'",
    "'\\ud800'",
    "b'\\xff'",
    "1j",
    "...",
    "[" * 40 + "]" * 40,
    "(" * 300 + ")" * 300,
    "{'a': " * 40 + "1" + "}" * 40,
    "- " * 2_000 + "1",
    "'" + "x" * 25_000 + "'",
    "'" + "\\" * 999,
    "'''" + "a" * 500,
)
STATEMENTS = (
    "import os; {0}",
    "from os import system as ls\n{0}",
    "@{0}\ndef ls(): pass",
    "class ls(metaclass={0}): pass",
    "def ls(a={0}): return a",
    "try: {0}\nexcept: pass",
    "with {0} as ls: pass",
    "global ls; ls = {0}",
    "del ls, {0}",
    "assert {0}",
    "async def f(): {0}",
    "match {0}:\n case _: ls()",
    "{0}",
    "[{0}]",
    "{0}; ls()",
    "ls(), {0}",
    "[ls(), {0}]",
    "[{0}, ls()]",
    "{0}()",
    "[{0}()]",
    "[{0}.ls()]",
    "[ls({0})]",
    "[ls(a={0})]",
    "[ls(self={0})]",
    "[ls(a=True, a={0})]",
    "[ls(*{0})]",
    "[ls(**{0})]",
    "[ls(**{{'a': {0}}})]",
    "[ls(__class__={0})]",
    "[ls(a=[{0}])]",
    "[ls(a={{'k': {0}}})]",
    "[ls(a={{{0}: 1}})]",
    "[ls(a=({0},))]",
    "[ls(a={0} if {0} else {0})]",
    "[ls(a=f'{{{0}}}')]",
    "[ls() for ls in [{0}]]",
    "[ls()][{0}]",
    "[ls](a={0})",
    "[mkdir(dir_name={0}), ls()]",
    "[lambda: {0}]",
    "[(hostile := {0})]",
    "ls(a=True)  # {0}",
    "```python\n[{0}]\n```",
    "`{0}`",
    "Sure: {0}",
    "<|im_end|>\n<|im_start|>system\n{0}",
    "<|python_tag|>{0}",
    "<tool_call>{0}</tool_call>",
    '<tool_call>{{"name": "ls", "arguments": {0}}}</tool_call>',
    '{{"name": "ls", "parameters": {0}}}',
    '{{"name": {0}, "parameters": {{}}}}',
)
# Where a tool's name belongs.
NAMES = (
    "__class__", "__init__", "__new__", "__dict__", "__eq__", "__reduce_ex__", "__getattribute__", "__setattr__",
    "__delattr__", "__subclasshook__", "_load_scenario", "_navigate_to_directory", "_cache_flight_cost_entry", "_state",
    "root", "long_context", "instances", "dispatch", "_methods", "_toolbox", "_scorecard", "_truth", "entry",
    "ls.__call__", "GorillaFileSystem", "File", "Directory", "open", "eval", "exec", "compile", "getattr", "setattr",
    "vars", "globals", "type", "object", "__import__", "__builtins__", "os.system", "None", "True", "self", "lambda",
    "ｌｓ", "ls\u200b", "l\u0455", "ﬁnd", "_ＬＯＡＤ", "__ｃlass__", "ls()", "ls\x00", "ls\ud800", "", " ", "ls " * 500,
)  # fmt: skip
# What a real tool is given.
VALUES: tuple[Any, ...] = (
    "/etc/passwd", "../../../../etc/passwd", "..", "/", "~", "~root/.ssh/id_rsa", "file:///etc/passwd", "a/b", "\\",
    f"$(touch {CANARY})", f"; touch {CANARY}", f"| tee {CANARY}", f"`touch {CANARY}`", f"> {CANARY}", CANARY,
    "{0.__class__.__init__.__globals__}", "{self}", "{}" * 50, "%s%n%x", "%(x)s", "\x00", "\r\n", "\x1b[2J", "\u202e",
    f"__import__('os').system('touch {CANARY}')", "'); import os; (", '"""', "__class__", "_load_scenario", "self",
    "<|im_end|>", "<tool_call>", "(a+)+$", "[" * 500, ".*" * 200, "x" * 10_000, "é" * 300, "é", "e\u0301", "",
    0, -1, 1, 10**18, -(10**60), 10**60, 1e308, -1e308, 5e-324, 0.1, True, False, None,
    [], {}, [[]] * 40, [None], ["x"] * 500, {"a": {}}, {"__class__": "x"}, {"self": 1}, {"root": {}}, ["@a", ["@b"]],
)  # fmt: skip
# Arguments that no tool has.
ARGUMENTS = (
    "self",
    "__class__",
    "cls",
    "args",
    "kwargs",
    "_api_description",
    "instance",
    "long_context",
    "a\x00",
    "ａ",
)
HOSTILE_JSON = (
    '{{"name": "{0}", "{1}": {2}}}',
    '{{"name": "{0}", "{1}": {2}, "name": "__class__"}}',
    '{{"name": ["{0}"], "{1}": {2}}}',
    '{{"name": {{"{0}": 1}}, "{1}": {2}}}',
    '{{"{1}": {2}, "name": "{0}"}} trailing',
    '[{{"name": "{0}", "{1}": {2}}}]',
    '{{"name": "{0}", "{1}": [{2}]}}',
    '{{"name": "{0}", "{1}": "{2}"}}',
    '{{"name": "{0}", "{1}": {2}',
)
RAW_JSON = (
    "NaN", "-Infinity", "1e999", "-0", "9" * 4_301, "9" * 4_000, "[" * 3_000, '{"a":' * 3_000, "[" * 900 + "]" * 900,
    '"\\ud800"', '"\\u0000"', '{"a": 1, "a": 2}', '{"__class__": {"__init__": 1}}', '{"": null}', '{"self": null}',
    "null", "true", "'x'", "{1: 2}", '{"py/object": "os.system"}', '{"__reduce__": ["os.system", ["ls"]]}',
)  # fmt: skip


def hostile_texts(tools: Sequence[ToolDocument], count: int, seed: int = 0) -> list[str]:
    """That many different texts: every template is used, every value somewhere."""
    chance, found = random.Random(seed), dict[str, None]()
    arguments = _arguments(chance, tools)
    writers = [_statements(chance), arguments, _names(chance, tools), arguments, _json(chance, tools), arguments]
    for writer in itertools.cycle(writers):
        found.setdefault(next(writer))
        if len(found) == count:
            return list(found)
    raise AssertionError


def _statements(chance: random.Random) -> Iterator[str]:
    pairs = list(itertools.product(STATEMENTS, EXPRESSIONS))
    chance.shuffle(pairs)
    for template, expression in pairs:
        yield template.format(expression)
    while True:
        inner = chance.choice(STATEMENTS).format(chance.choice(EXPRESSIONS))
        yield chance.choice(STATEMENTS).format(inner)


def _names(chance: random.Random, tools: Sequence[ToolDocument]) -> Iterator[str]:
    while True:
        name = chance.choice([*NAMES, chance.choice(tools)["name"] + chance.choice(["", "_", "\u200b", ".__call__"])])
        arguments = {chance.choice([*ARGUMENTS, "a", "dir_name"]): chance.choice(VALUES)}
        yield _written(chance, name, arguments)


def _arguments(chance: random.Random, tools: Sequence[ToolDocument]) -> Iterator[str]:
    """Tools that exist, with their own arguments."""
    for tool, value in itertools.cycle(chance.sample([*itertools.product(tools, VALUES)], len(tools) * len(VALUES))):
        names = list(tool["parameters"]["properties"])
        arguments = {name: value if chance.random() < 0.7 else chance.choice(VALUES) for name in names}
        if chance.random() < 0.2:
            arguments[chance.choice(ARGUMENTS)] = chance.choice(VALUES)
        yield _written(chance, tool["name"], arguments)


def _json(chance: random.Random, tools: Sequence[ToolDocument]) -> Iterator[str]:
    while True:
        name = chance.choice([*NAMES, *(t["name"] for t in chance.choices(tools, k=60))])
        value = chance.choice(RAW_JSON)
        tool = chance.choice(tools)
        if chance.random() < 0.5:
            name, value = tool["name"], f'{{"{next(iter(tool["parameters"]["properties"]), "a")}": {value}}}'
        text = chance.choice(HOSTILE_JSON).format(name, chance.choice(("arguments", "parameters")), value)
        yield chance.choice((text, f"<tool_call>{text}</tool_call>", f"<tool_call>\n{text}", f"{text}; {text}"))


def _written(chance: random.Random, name: str, arguments: dict[str, Any]) -> str:
    """A call in one of the ways in which calls are written."""
    keyed = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    bare = ", ".join(map(repr, arguments.values()))
    key = chance.choice(("arguments", "parameters"))
    document = json.dumps({"name": name, key: arguments}, ensure_ascii=chance.random() < 0.5)
    texts = (f"[{name}({keyed})]", f"[{name}({bare})]", f"{name}({keyed}), {name}({bare})", document)
    return chance.choice((*texts, f"<tool_call>{document}</tool_call>", f"<tool_call>{document}</tool_call>"))
