"""Reads calls as the leaderboard's text decoder and executor do, but evaluates no text.

The decoder parses a message and writes every call as Python text again; the executor passes that text to ``eval``. Both
steps are repeated here, quirks included: positional arguments are lost, every sign before a constant is a minus, a word
without quotes is a text, a dict of dicts is a call, ``1e999`` is the undefined name ``inf``. So the same messages end a
turn, and the same calls are made. ``docs/bfcl_v3.md`` lists what differs.
"""

from __future__ import annotations

import ast
import operator
import warnings
from typing import TYPE_CHECKING, Any

from shiqbench_tasks.bfcl_v3.calls import Call, Outcome, Parsed, is_attempt

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_CHARACTERS = 100_000
MAX_ITEMS = 1_000  # length of a text or list that arithmetic makes
MAX_BITS = 15_000  # of a number that arithmetic makes; more than 4,300 digits cannot be written
_FORBIDDEN = ("kill", "exit", "quit", "remove", "unlink", "popen", "Popen", "run")
_UNWRITABLE = (SyntaxError, ValueError, TypeError, AttributeError, ArithmeticError, LookupError, RecursionError)
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.BitAnd: operator.and_,
}


class _NoToolError(Exception):
    """A call that the executor cannot make; its text is the executor's error."""


def read_officially(text: str, version: str) -> Parsed:
    """Calls as the leaderboard finds them; text that it cannot decode ends the turn.

    Args:
        text: The message.
        version: ``v3`` or ``v4``; their decoders differ in what they strip.
    """
    try:
        with warnings.catch_warnings():  # warnings about the model's text are not for the user
            warnings.simplefilter("ignore")
            calls = tuple(_executable(_written(node)) for node in _call_nodes(text, version))
    except (*_UNWRITABLE, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        problem = f"not a list of calls: {reason}"
        return Parsed(Outcome.MALFORMED, problem=problem) if is_attempt(text) else Parsed(Outcome.NO_CALLS)
    return Parsed(Outcome.CALLS if calls else Outcome.NO_CALLS, calls)


def _call_nodes(text: str, version: str) -> list[ast.Call]:
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"longer than {MAX_CHARACTERS} characters")
    text = text.strip("`\n ")
    text = ("" if text.startswith("[") else "[") + text
    text += "" if text.endswith("]") else "]"
    text = text.strip("[]'") if version == "v3" else text.strip().strip("'")
    body = ast.parse(text, mode="eval").body
    nodes = body.elts if isinstance(body, (ast.List, ast.Tuple, ast.Set)) else [body]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    if len(calls) < len(nodes):
        raise ValueError("every item must be a call")
    return calls


def _written(node: ast.Call) -> str:
    """The text that the executor receives for a call."""
    return _call_text(*_parts(node))


def _parts(node: ast.Call) -> tuple[str, dict[str | None, Any]]:
    """Dotted name and named arguments. Positional arguments are lost, and what is no name before the bracket."""
    return _dotted(node.func)[0], {word.arg: _value(word.value) for word in node.keywords}


def _dotted(function: ast.expr) -> tuple[str, bool]:
    """The dotted name before a bracket, and whether there is nothing else."""
    names = []
    while isinstance(function, ast.Attribute):
        names.append(function.attr)
        function = function.value
    if isinstance(function, ast.Name):
        names.append(function.id)
    return ".".join(reversed(names)), isinstance(function, ast.Name)


def _value(node: ast.expr | None) -> Any:
    """An argument as the decoder sees it. A call inside an argument is a dict of its name and arguments."""
    match node:
        case ast.Constant():
            return "..." if node.value is ... else node.value
        case ast.UnaryOp(operand=ast.Constant(value=value)):
            return -value  # type: ignore[operator]  # a TypeError ends the turn
        case ast.List():
            return [_value(item) for item in node.elts]
        case ast.Tuple():
            return tuple(_value(item) for item in node.elts)
        case ast.Dict():
            return {_value(k): _value(v) for k, v in zip(node.keys, node.values, strict=True)}
        case ast.BinOp():
            return _arithmetic(node)
        case ast.Name():
            return node.id
        case ast.Call():
            if not node.keywords:
                return ast.unparse(node)
            name, arguments = _parts(node)
            return {name: arguments}
        case ast.Subscript():
            return f"{ast.unparse(node.value)}[{ast.unparse(node.slice)}]"
    raise ValueError(f"{type(node).__name__} is no argument")


def _call_text(name: str, arguments: dict[Any, Any]) -> str:
    return f"{name}({', '.join(f'{key}={_value_text(value)}' for key, value in arguments.items())})"


def _value_text(value: Any) -> str:
    """A dict whose values are all dicts becomes a call of its first key; other keys lose their type."""
    if not isinstance(value, dict):
        return repr(value)
    if all(isinstance(inner, dict) for inner in value.values()):
        name = list(value)[0]  # noqa: RUF015 - an empty dict is an IndexError, which ends the turn
        return _call_text(name, value[name])
    return "{" + ", ".join(f"'{key}': {_value_text(inner)}" for key, inner in value.items()) + "}"


def _arithmetic(node: ast.expr) -> Any:
    """The value of operators on literals, within limits. Names and calls are refused."""
    match node:
        case ast.Constant():
            return node.value
        case ast.List():
            return [_arithmetic(item) for item in node.elts]
        case ast.Tuple():
            return tuple(_arithmetic(item) for item in node.elts)
        case ast.UnaryOp():
            return _UNARY[type(node.op)](_arithmetic(node.operand))
        case ast.BinOp():
            left, right = _arithmetic(node.left), _arithmetic(node.right)
            _check_size(node.op, left, right)
            return _BINARY[type(node.op)](left, right)
    raise ValueError(f"{type(node).__name__} is no arithmetic")


def _check_size(op: ast.operator, left: Any, right: Any) -> None:
    """Refuse results that are too large, and the formatting of texts."""
    bits = [value.bit_length() if isinstance(value, int) else 0 for value in (left, right)]
    items = [len(value) if hasattr(value, "__len__") else 0 for value in (left, right)]
    match op:
        case ast.Mod() if isinstance(left, (str, bytes)):
            raise ValueError("texts are not formatted")
        case ast.Pow() if all(bits) and right > 0:
            too_large = bits[0] * right > MAX_BITS
        case ast.LShift() if bits[0]:
            too_large = isinstance(right, int) and right > MAX_BITS
        case ast.Mult() if any(items):
            too_large = any(isinstance(n, int) and n * max(items) > MAX_ITEMS for n in (left, right))
        case _:
            too_large = sum(bits) > MAX_BITS or sum(items) > MAX_ITEMS
    if too_large:
        raise ValueError("the result is too large")


def _executable(text: str) -> Call:
    """What the executor would do with a text."""
    name = text.partition("(")[0].split(".")
    try:
        if name[min(1, len(name) - 1)] in _FORBIDDEN:
            raise _NoToolError(f"Function call {name[min(1, len(name) - 1)]} is not allowed.")
        body = ast.parse(text, "<string>", "eval").body
        if isinstance(body, ast.Tuple) and not body.elts:  # a call of something that has no name
            return Call(text, answer="()")
        return _call(body)
    except (*_UNWRITABLE, MemoryError, _NoToolError) as error:
        return Call(text, answer=f"Error during execution: {error}")


def _call(node: ast.expr) -> Call:
    if isinstance(node, ast.Call) and not node.args:
        name, whole = _dotted(node.func)
        if whole:
            return Call(name, kwargs={str(word.arg): _argument(word.value) for word in node.keywords})
    raise _NoToolError("only tools can be called")


def _argument(node: ast.expr | None) -> Any:
    match node:
        case ast.Constant():
            return _constant(node.value)
        case ast.UnaryOp(op=ast.USub()):
            value = _argument(node.operand)
            if isinstance(value, (int, float)):
                return -value
        case ast.List():
            return [_argument(item) for item in node.elts]
        case ast.Tuple():
            return tuple(_argument(item) for item in node.elts)
        case ast.Dict() if all(isinstance(_argument(key), (str, int, float, type(None))) for key in node.keys):
            return {_argument(k): _argument(v) for k, v in zip(node.keys, node.values, strict=True)}
        case ast.Name(id="inf" | "nan"):
            return float(node.id)  # not a literal: the executor finds an undefined name, and so do our guards
        case ast.Name():
            raise _NoToolError(f"name '{node.id}' is not defined")
        case ast.Call():
            return _call(node)
    raise _NoToolError("arguments must be texts, numbers, True, False, None, lists, tuples or dicts")


def _constant(value: object) -> Any:
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        raise _NoToolError("a text holds half a character")  # it cannot be encoded or stored
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise _NoToolError("arguments must be texts, numbers, True, False, None, lists, tuples or dicts")
