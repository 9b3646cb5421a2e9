"""Parses the calls in a model's text. The text is never evaluated.

A message is one of three things:

* ``CALLS``: exactly ``[f(a=1), g()]``, ``f(a=1)`` or ``f(a=1), g()``, whose arguments are literals
  (string, number, ``True``, ``False``, ``None``, and lists, tuples and dicts of them);
* ``NO_CALLS``: the turn is over. Empty text, ``[]``, or prose, also prose with brackets;
* ``MALFORMED``: an attempt at a call that is not one (see :func:`is_attempt`).

A lexer with a short list of tokens runs first, so the parser receives only short text with little nesting,
without operators, attributes, f-strings, comprehensions or keywords.
"""

from __future__ import annotations

import ast
import keyword
import math
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Words = Callable[[str], Any]

MAX_CHARACTERS = 20_000
MAX_NESTING = 32
MAX_CALLS = 64
MAX_NUMBER = 64  # characters of one number

_MAY_CALL = re.compile(r"\w\(")
_NAME = r"(?<![\w.])[^\W\d][\w.]*"
_ATTEMPT = re.compile(
    rf"""
      {_NAME}\(\s*(?:[^\W\d]\w*\s*=(?!=)|['"\[{{]|\Z)  # f(a=  f('  f([  and f( at the end
    | {_NAME}\(\s*\)[\s\]),;`]*$                     # f() at the end of a line
    | \[\s*{_NAME}\(                                 # [f(
    | \A[(\[{{\s]*{_NAME}\(\s*\W                     # f() at the start
    | \A{_NAME}\([^()]*\Z                            # f(word, never closed
    """,
    re.VERBOSE | re.MULTILINE,
)
_WORDS_IN_BRACKETS = re.compile(r"\[[^\[\]]*\]\s*\S")
_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<prefix>[A-Za-z]{1,3}(?=['"]))
    | (?P<string>'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"
                |'(?:\\.|[^'\\\n])*+'|"(?:\\.|[^"\\\n])*+")
    | (?P<number>(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?(?![\w.]))
    | (?P<name>[^\W\d]\w*)
    | (?P<open>[(\[{])
    | (?P<close>[)\]}])
    | (?P<minus>-(?=\s*[\d.]))
    | (?P<mark>[,:=])
    """,
    re.VERBOSE | re.DOTALL,
)
_LITERAL_NAMES = ("True", "False", "None")


class Outcome(StrEnum):
    """Kind of a message."""

    CALLS = "calls"  # one call or more
    NO_CALLS = "no_calls"  # the turn is over
    MALFORMED = "malformed"  # an attempt that cannot be parsed; the reason goes back to the model


@dataclass(frozen=True, repr=False)
class Call:
    """One call of a tool.

    Attributes:
        name: Name of the tool, which may not exist; the whole text if there is an answer.
        args: Positional arguments.
        kwargs: Named arguments. A value may be a call that is made first, as the leaderboard's executor does.
        answer: The response if the call runs no tool whatever the scenario is; None otherwise.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    answer: str | None = None

    def __repr__(self) -> str:
        return self.text()

    def text(self) -> str:
        """The call as a model writes it."""
        if self.answer is not None:
            return self.name
        parts = [repr(a) for a in self.args] + [f"{k}={v!r}" for k, v in self.kwargs.items()]
        return f"{self.name}({', '.join(parts)})"


@dataclass(frozen=True)
class Parsed:
    """Result of :func:`parse`.

    Attributes:
        outcome: Kind of the message.
        calls: The calls, in order; empty unless ``CALLS``.
        problem: Why it is malformed; empty unless ``MALFORMED``.
    """

    outcome: Outcome
    calls: tuple[Call, ...] = ()
    problem: str = ""


class _MalformedError(Exception):
    """Raised only inside this module; its text is the reason."""


def write(calls: list[Call] | tuple[Call, ...]) -> str:
    """Write a message that makes these calls; ``[]`` if there are none."""
    return f"[{', '.join(c.text() for c in calls)}]"


def parse(text: str, *, words: Words | None = None) -> Parsed:
    """Parse a message. Every text has a result, and no text is evaluated.

    Args:
        text: The message.
        words: Function from a word without quotes to its value, or KeyError; None refuses all such words.
    """
    if len(text) > MAX_CHARACTERS:
        return Parsed(Outcome.MALFORMED, problem=f"longer than {MAX_CHARACTERS} characters")
    text = text.strip()
    if not text.startswith("[") and not _MAY_CALL.search(text):
        return Parsed(Outcome.NO_CALLS)
    nodes: list[ast.expr] = []
    try:
        _scan(text)
        nodes = _call_nodes(text)
        calls = tuple(_call(node, words) for node in nodes)
    except _MalformedError as problem:
        if any(isinstance(node, ast.Call) for node in nodes) or is_attempt(text):
            return Parsed(Outcome.MALFORMED, problem=str(problem))
        return Parsed(Outcome.NO_CALLS)
    return Parsed(Outcome.CALLS if calls else Outcome.NO_CALLS, calls)


def is_attempt(text: str) -> bool:
    """Whether text that cannot be read is an attempt at calls, and not prose in which brackets occur.

    ``Which file(s)?``, ``f(x)``, ``the amount (in USD)`` and ``[Note] Done.`` are prose, as is every question that does
    not start with ``[``.
    """
    text = text.strip("`\n ")
    if not text.startswith("["):
        return not text.endswith("?") and _ATTEMPT.search(text) is not None
    return _ATTEMPT.search(text) is not None or _WORDS_IN_BRACKETS.match(text) is None


def _scan(text: str) -> None:
    """Refuse tokens that never occur in a call, and nesting that could exhaust the parser."""
    at = depth = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise _MalformedError(f"unexpected {text[at]!r} at character {at}")
        kind, value = token.lastgroup, token.group()
        if kind == "prefix" and value not in ("r", "R"):
            raise _MalformedError(f"a string cannot start with {value}")
        if kind == "number" and len(value) > MAX_NUMBER:
            raise _MalformedError(f"a number has more than {MAX_NUMBER} characters")
        if kind == "name" and keyword.iskeyword(value) and value not in _LITERAL_NAMES:
            raise _MalformedError(f"{value} is not allowed")
        depth += (kind == "open") - (kind == "close")
        if depth > MAX_NESTING:
            raise _MalformedError(f"nested deeper than {MAX_NESTING}")
        at = token.end()


def _call_nodes(text: str) -> list[ast.expr]:
    """The expressions that should be calls."""
    try:
        with warnings.catch_warnings():  # warnings about the model's text are not for the user
            warnings.simplefilter("ignore")
            body = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        raise _MalformedError(f"not a list of calls: {reason}") from None
    nodes = body.elts if isinstance(body, (ast.List, ast.Tuple)) else [body]
    if len(nodes) > MAX_CALLS:
        raise _MalformedError(f"more than {MAX_CALLS} calls")
    return nodes


def _call(node: ast.expr, words: Words | None) -> Call:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise _MalformedError("every item must be a call, name(argument=value)")
    kwargs: dict[str, Any] = {}
    for word in node.keywords:
        if word.arg is None or word.arg in kwargs:
            raise _MalformedError(f"argument {word.arg} is given twice")
        kwargs[word.arg] = _literal(word.value, words)
    return Call(node.func.id, tuple(_literal(a, words) for a in node.args), kwargs)


def _literal(node: ast.expr, words: Words | None = None) -> Any:
    """Return the value of a literal; refuse everything else."""
    if isinstance(node, ast.Constant):
        return _constant(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _literal(node.operand)
        if type(value) in (int, float):
            return -value
    if isinstance(node, ast.List):
        return [_literal(item, words) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_literal(item, words) for item in node.elts)
    if isinstance(node, ast.Dict):
        return {_key(k): _literal(v, words) for k, v in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.Name):
        if words is not None:
            with suppress(KeyError):
                return words(node.id)
        raise _MalformedError(f"{node.id} is no literal; strings need quotes")
    raise _MalformedError("arguments must be literals")


def _constant(value: object) -> Any:
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise _MalformedError("a string holds half a character")  # it cannot be encoded or stored
        return value
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise _MalformedError("arguments must be strings, finite numbers, True, False, None, lists or dicts")


def _key(node: ast.expr | None) -> Any:
    if not isinstance(node, ast.Constant):
        raise _MalformedError("keys of a dict must be strings or numbers")
    return _constant(node.value)
