"""Errors of expressions that an operator consists of, in the words of the expression."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import FunctionType
from typing import Any, Final

from kafka_etl.engine.rows.mapping import Explain

_FIELD: Final = re.compile(r"\['(\w+)'\]")
_KINDS: Final[Mapping[type, str]] = {
    list: "a list",
    str: "text",
    bool: "a truth value",
    int: "a number",
} | {
    float: "a number",
    type(None): "null",
}


def explain_of(call: Callable[[Any], Any]) -> Explain | None:
    """The explanation of errors of a compiled expression; None: the call is no expression."""
    code: object = getattr(call, "expression", None)
    if not isinstance(code, ast.expr) or not isinstance(call, FunctionType):
        return None
    return partial(_explained, call, code)


def _explained(
    call: FunctionType, code: ast.expr, argument: Any, error: BaseException
) -> BaseException:
    """Say of which part a field was wanted that has no fields; other errors stay as they are."""
    if type(error) is not TypeError:
        return error
    for wanted, owner, field in _fields(code):
        with suppress(Exception):
            found: object = _part(call, owner, argument)
            # Of two parts that fail, the error tells which one was asked for.
            if not hasattr(found, "keys") and _error_of(call, wanted, argument) == str(error):
                kind = _KINDS.get(type(found), f"of type {type(found).__name__}")
                said = f"{_written(owner)} is {kind}, so it has no field `{field}`"
                return TypeError(said).with_traceback(error.__traceback__)
    return error


def _fields(code: ast.expr) -> Iterator[tuple[ast.expr, ast.expr, str]]:
    """Yield each field that an expression wants, of which part, and its name; innermost first."""
    for node in reversed(list(ast.walk(code))):
        match node:
            case ast.Subscript(value=owner, slice=ast.Constant(value=str() as field)):
                yield node, owner, field
            case _:
                pass


def _error_of(call: FunctionType, part: ast.expr, argument: Any) -> str | None:
    """The text of the TypeError that a part raises; None: it raises none."""
    try:
        _part(call, part, argument)
    except TypeError as error:
        return str(error)
    return None


def _part(call: FunctionType, part: ast.expr, argument: Any) -> Any:
    """The value of a part of a compiled expression for an argument; raises anything."""
    parameter = call.__code__.co_varnames[0]
    made = compile(f"lambda {parameter}: {ast.unparse(part)}", "<part>", "eval")
    return eval(made, call.__globals__)(argument)  # noqa: S307 - of an expression that was checked


def _written(part: ast.expr) -> str:
    """The part as a user writes it: `value.a` for `record.value['a']`."""
    return _FIELD.sub(r".\1", ast.unparse(part)).removeprefix("record.")
