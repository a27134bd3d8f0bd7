"""Any text gives an expression or an ExpressionError; an expression means what Python means."""

from __future__ import annotations

import operator
import pickle
from collections.abc import Callable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from kafka_etl import DROP, Record
from kafka_etl.expression import NAMES, Expression, ExpressionError

Value = dict[str, Any]
Term = tuple[str, Callable[[Value], Any]]
"""An expression as text, and what it means, computed the slow way."""

FRAGMENTS = (
    *NAMES,
    *("value.a", "value['b']", ".c", "[0]", "[", "]", "(", ")", "{", "}", ",", ":", ";", "#"),
    *("and", "or", "not", "in", "is", "if", "else", "lambda", "for", "await", "yield", "from"),
    *("==", "!=", "<", "<=", "+", "-", "*", "**", "/", "//", "%", "&", "|", "~", "@", ":=", "="),
    *("len", "has", "get", "matches", "lower", "min", "round", "print", "__import__", "DROP"),
    *("true", "None", "1", "2.5", "1e999", "1j", "''", "r'\\d'", "'\\d'", "'('", "f'{value}'"),
    *("b'x'", "'''", '"', "\\", "\n", "\r", "\t", "\f", "\0", "é", "\u2028", "\ud800"),
)

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, -1.25]), st.text("aB ")
)
objects = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3)
    ),
    max_leaves=6,
)
values = st.dictionaries(st.sampled_from(["a", "b", "c", "d e"]), objects, max_size=4)


def literal(constant: Any) -> Term:
    text = {None: "null", True: "true", False: "false"}[constant] if is_word(constant) else None
    return text or repr(constant), lambda _: constant


def is_word(constant: Any) -> bool:
    return constant is None or isinstance(constant, bool)


paths = st.lists(st.sampled_from(["a", "b", "c", "d e", 0, -1]), min_size=1, max_size=3)


def as_text(path: list[str | int]) -> str:
    parts = (f".{p}" if isinstance(p, str) and p.isidentifier() else f"[{p!r}]" for p in path)
    return "value" + "".join(parts)


def follow(value: Any, path: list[str | int]) -> Any:
    for part in path:
        value = value[part]
    return value


def field(path: list[str | int]) -> Term:
    return as_text(path), lambda value: follow(value, path)


def found(path: list[str | int]) -> Term:
    return f"has({as_text(path)})", lambda value: found_or(value, path, None) is not None


def found_or(value: Value, path: list[str | int], default: Any) -> Any:
    try:
        result = follow(value, path)
    except (LookupError, TypeError):
        return default
    return default if result is None else result


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda left, right: operator.contains(right, left),
    "not in": lambda left, right: not operator.contains(right, left),
}
UNARY: dict[str, Callable[[Any], Any]] = {
    "-": operator.neg,
    "not ": operator.not_,
    "abs": abs,
    "bool": bool,
    "int": int,
    "float": float,
    "len": len,
    "lower": str.lower,
    "round": round,
    "str": str,
    "strip": str.strip,
}


def binary(symbol: str, left: Term, right: Term) -> Term:
    apply = BINARY[symbol]
    return f"({left[0]} {symbol} {right[0]})", lambda v: apply(left[1](v), right[1](v))


def unary(symbol: str, term: Term) -> Term:
    apply = UNARY[symbol]
    return f"({symbol}({term[0]}))", lambda v: apply(term[1](v))


def both(left: Term, right: Term) -> Term:
    return f"({left[0]} and {right[0]})", lambda v: left[1](v) and right[1](v)


def either(left: Term, right: Term) -> Term:
    return f"({left[0]} or {right[0]})", lambda v: left[1](v) or right[1](v)


def between(low: Term, term: Term, high: Term) -> Term:
    def meaning(value: Value) -> Any:
        first, middle = low[1](value), term[1](value)
        below = first <= middle
        return below and middle < high[1](value)

    return f"({low[0]} <= {term[0]} < {high[0]})", meaning


def choice(then: Term, test: Term, other: Term) -> Term:
    text = f"({then[0]} if {test[0]} else {other[0]})"
    return text, lambda v: then[1](v) if test[1](v) else other[1](v)


def default(path: list[str | int], term: Term) -> Term:
    def meaning(value: Value) -> Any:
        fallback = term[1](value)
        return found_or(value, path, fallback)

    return f"get({as_text(path)}, {term[0]})", meaning


leaves = st.one_of(
    st.builds(literal, scalars), st.builds(field, paths), st.builds(field, paths),
    st.builds(found, paths),
)  # fmt: skip
terms = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(binary, st.sampled_from(list(BINARY)), inner, inner),
        st.builds(unary, st.sampled_from(list(UNARY)), inner),
        st.builds(both, inner, inner),
        st.builds(either, inner, inner),
        st.builds(between, inner, inner, inner),
        st.builds(choice, inner, inner, inner),
        st.builds(default, paths, inner),
    ),
    max_leaves=8,
)


def outcome(function: Callable[[Any], Any], argument: Any) -> tuple[type, Any]:
    """The result with its type, or the class of what was raised."""
    try:
        result = function(argument)
    except Exception as error:  # noqa: BLE001 - the class is what is compared
        return type(error), None
    return type(result), result


@given(terms, values)
def test_an_expression_means_what_python_means(term: Term, value: Value) -> None:
    text, meaning = term
    expected = outcome(meaning, value)
    expression = Expression(text)
    assert outcome(expression.on_value(), value) == expected
    assert outcome(expression.on_record(), Record(value)) == expected


@given(terms, values)
def test_filters_keep_what_is_true(term: Term, value: Value) -> None:
    text, meaning = term
    expression = Expression(text)

    def keep(value: Value) -> Any:
        return value if meaning(value) else DROP

    assert outcome(expression.value_filter(), value) == outcome(keep, value)
    record = Record(value)
    by_record = outcome(expression.record_filter(), record)[1]
    assert (by_record is record) == (outcome(keep, value)[1] is value)


@given(terms)
def test_an_expression_survives_pickling(term: Term) -> None:
    expression = Expression(term[0])
    copy = pickle.loads(pickle.dumps(expression))  # noqa: S301 - made here
    assert (copy, copy.names) == (expression, expression.names)


def expression_or_error(text: str) -> Expression | ExpressionError:
    try:
        return Expression(text)
    except ExpressionError as error:
        return error


def check_any_text(text: str) -> None:
    expression = expression_or_error(text)
    if isinstance(expression, ExpressionError):
        assert 1 <= expression.column <= len(text) + 1
        assert expression.message
        return
    assert expression.names <= set(NAMES)
    expression.on_record()
    expression.record_filter()
    if expression.value_only:
        expression.on_value()
        expression.value_filter()


@given(st.text())
@example("(" * 300)
@example("value[1:2, 3]")
@example("has(value[1:2, 3])")
def test_any_text_is_an_expression_or_an_expression_error(text: str) -> None:
    check_any_text(text)


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25), st.sampled_from(["", " "]))
def test_any_row_of_fragments_is_an_expression_or_an_expression_error(
    fragments: list[str], between: str
) -> None:
    check_any_text(between.join(fragments))


@given(terms, st.data())
def test_a_damaged_expression_is_an_expression_or_an_expression_error(
    term: Term, data: st.DataObject
) -> None:
    text = term[0]
    at = data.draw(st.integers(0, len(text)))
    gone = data.draw(st.integers(0, 3))
    put = data.draw(st.sampled_from(("", *FRAGMENTS)))
    check_any_text(text[:at] + put + text[at + gone :])
