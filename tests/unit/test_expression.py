from __future__ import annotations

import pickle
import re
import sys
import threading
import timeit
import typing
import warnings
from typing import Any

import pytest
from pydantic import ValidationError

from kafka_etl import DROP, Record
from kafka_etl.contracts import Settings
from kafka_etl.expression import (
    _FUNCTIONS,
    MAX_DEPTH,
    MAX_LENGTH,
    NAMES,
    Expression,
    ExpressionError,
)
from tests.kit.pages import ROOT

ORDER = {
    "id": 7,
    "currency": "USD",
    "amount": 12.5,
    "note": None,
    "paid": True,
    "name": "  Ada Lovelace ",
    "a b": "blank",
    "from": "web",
    "items": [{"sku": "x-1", "count": 2}, {"sku": "y-2", "count": 3}],
    "customer": {"address": {"city": "Oslo"}, "tags": ["new", "vip"]},
}


class Stored:
    """A source record with what the client would give."""

    def __init__(self, key: bytes | None, headers: list[tuple[str, bytes | None]] | None) -> None:
        self._key = key
        self._headers = headers

    def topic(self) -> str:
        return "orders"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 41

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return b""

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_000


HEADERS: list[tuple[str, bytes | None]] = [
    ("kind", b"draft"),
    ("content-type", b"text/plain"),
    ("kind", b"order"),
    ("empty", None),
    ("raw", b"\xff\xfe"),
]
RECORD = Record.of(Stored(b"eu-7", HEADERS), ORDER)

GOOD = [
    # fields
    ("value.currency", "USD"),
    ("value['currency']", "USD"),
    ('value["a b"]', "blank"),
    ("value['from'] == 'web'", True),
    ("value.items[0].sku", "x-1"),
    ("value.items[-1]['count']", 3),
    ("value.customer.address.city == 'Oslo'", True),
    ("value.customer.tags[:1] == ['new']", True),
    ("value.currency[:2]", "US"),
    # comparisons
    ("value.currency == 'USD' and value.amount > 10", True),
    ("value.currency == 'EUR' or value.amount > 10", True),
    ("value.currency == 'EUR' and value.missing > 10", False),
    ("not value.paid", False),
    ("10 < value.amount <= 12.5", True),
    ("10 < value.amount < 12.5", False),
    ("value.id != 8", True),
    ("value.id == '7'", False),
    ("value.currency in ('USD', 'EUR')", True),
    ("value.currency in {'CHF', 'EUR'}", False),
    ("value.currency not in ['CHF']", True),
    ("'vip' in value.customer.tags", True),
    ("'Love' in value.name", True),
    ("value.note == null", True),
    ("value.note is None", True),
    ("value.note is not null", False),
    ("value.paid == true", True),
    ("value.paid == false", False),
    ("value.paid == True", True),
    # arithmetic
    ("value.id + 1", 8),
    ("value.id - 8", -1),
    ("-value.id", -7),
    ("value.amount * 2 == 25.0", True),
    ("value.id / 2", 3.5),
    ("value.id // 2", 3),
    ("value.id % 2 == 1", True),
    ("(value.id + 1) * 2", 16),
    ("value.currency + '!'", "USD!"),
    ("'big' if value.amount > 10 else 'small'", "big"),
    # functions
    ("has(value.currency)", True),
    ("has(value.note)", False),
    ("has(value.missing)", False),
    ("has(value.missing.deeper)", False),
    ("has(value.currency.deeper)", False),
    ("has(value.items[1].sku)", True),
    ("has(value.items[2].sku)", False),
    ("has(value[value.currency])", False),
    ("has(value)", True),
    ("get(value.amount)", 12.5),
    ("get(value.missing)", None),
    ("get(value.missing, 0) == 0", True),
    ("get(value.note, 'none')", "none"),
    ("get(value.customer.address.street, value.id)", 7),
    ("get(value.id).x if false else 1", 1),
    ("len(value.items)", 2),
    ("lower(value.currency)", "usd"),
    ("upper('ab')", "AB"),
    ("strip(value.name)", "Ada Lovelace"),
    ("startswith(value.currency, 'U')", True),
    ("startswith(value.currency, ('X', 'U'))", True),
    ("endswith(value.currency, 'U')", False),
    ("matches(value.name, 'love')", False),
    ("matches(value.name, '(?i)LOVE')", True),
    (r"matches(value.items[0].sku, r'^[a-z]-\d$')", True),
    ("matches(value.currency, '^U') and matches(value.currency, 'D$')", True),
    ("int('12')", 12),
    ("float(value.id)", 7.0),
    ("str(value.id)", "7"),
    ("bool(value.note)", False),
    ("abs(-3)", 3),
    ("min(value.id, 3)", 3),
    ("max([1, 5, 2])", 5),
    ("round(value.amount)", 12),
    ("round(1.256, 2)", 1.26),
    # the rest of the record
    ("key", "eu-7"),
    ("key == 'eu-7'", True),
    ("startswith(key, 'eu-')", True),
    ("headers['kind']", "order"),
    ("headers.kind == 'order'", True),
    ("headers['content-type']", "text/plain"),
    ("headers['absent']", None),
    ("headers.empty", None),
    ("headers['raw'] == 'x'", False),
    ("has(headers.kind)", True),
    ("has(headers.absent)", False),
    ("get(headers.absent, 'none')", "none"),
    ("get(key, 'none')", "eu-7"),
    ("'kind' in headers", True),
    ("len(headers)", 4),
    ("topic", "orders"),
    ("topic == 'orders' and partition == 3 and offset == 41", True),
    ("timestamp >= 1700000000000", True),
    # form
    ("  value.id == 7\n", True),
    ("value.id == 7\n  and value.paid", True),
    ("'#' in value.currency", False),
    ("18446744073709551615", 2**64 - 1),
]

BAD = [
    ("", 1, "ends too early"),
    ("value.a ==", 11, "ends too early"),
    ("value.a[", 8, "never closed"),
    ("value.a == 'x", 12, "unterminated"),
    ("value.a == 1;", 13, "this is not how an expression goes on"),
    ("value.a = 1", 9, "write `==`"),
    ("value.a && value.b", 10, "write `and`"),
    ("value.a || value.b", 10, "write `or`"),
    ("!value.a", 1, "write `not`"),
    ("value.a AND value.b", 9, "write `and`"),
    ("value.a <> 1", 9, "write `!=`"),
    ("value.a & value.b", 1, "write `and`"),
    ("~value.a", 1, "write `not`"),
    ("value.from == 'web'", 7, "write the field as ['from']"),
    ("value.a == 1 # always", 14, "a comment would hide"),
    ("value.a == 1, value.b == 2", 1, "join them with `and`"),
    ("currency == 'USD'", 1, "did you mean `value.currency`?"),
    ("valeu.a == 1", 1, "did you mean `value`?"),
    ("value.a == 1 and header['x']", 18, "did you mean `headers`?"),
    ("'é€😀' == valeu", 10, "unknown name `valeu`"),
    ("value.a == 1\nand valeu", 18, "unknown name `valeu`"),
    ("value.order-id == 1", 13, "unknown name `id`"),
    ("lowre(value.a)", 1, "did you mean `lower`?"),
    ("contains(value.a, 'x')", 1, "Functions: abs, bool, "),
    ("value.a.startswith('x')", 1, "write `startswith(value.a, 'x')`"),
    ("value.get('a')", 1, "write `get(value.a.b)`"),
    ("value.a.title()", 1, "`value.a.title` is not a function"),
    ("lower()", 1, "wants 1 argument(s), has 0"),
    ("round(1, 2, 3)", 1, "wants 1 to 2 argument(s), has 3"),
    ("round(value.a, ndigits=2)", 16, "`ndigits=2` cannot stand here"),
    ("max(*value.a)", 5, "`*value.a` cannot stand here"),
    ("has(3)", 5, "`has` takes a field"),
    ("has(lower(value.a))", 5, "`has` takes a field"),
    ("get(value.a[1:], 1)", 5, "`get` takes a field"),
    ("get(value, 'a')", 5, "`get` takes a field, then"),
    ("get(value, 'a', 1)", 1, "wants 1 to 2 argument(s), has 3"),
    ("matches(value.a, value.b)", 18, "must be a constant text"),
    ("matches(value.a, '(')", 18, "not a regular expression"),
    ("matches(value.a, '[[a-z]')", 18, "not a regular expression"),
    ("matches(value.a, 'a{99999999999}')", 18, "not a regular expression"),
    (r"matches(value.a, '\d')", 18, "write the text as r'...'"),
    (r"matches(value.a, '\bfoo')", 18, "write the text as r'...'"),
    ("value.a is 3", 1, "write `==`"),
    ("'x' is null", 1, "literal"),
    ("'abc'['x']", 1, "indices"),
    ("value.a ** 2", 1, "`value.a ** 2` cannot stand here"),
    ("value.a << 2", 1, "cannot stand here"),
    ("value.a @ 2", 1, "cannot stand here"),
    ("+value.a", 1, "cannot stand here"),
    ("{'a': 1}", 1, "cannot stand here"),
    ("lambda: 1", 1, "cannot stand here"),
    ("f'{value}'", 1, "cannot stand here"),
    ("(x := 1)", 2, "cannot stand here"),
    ("[x for x in value]", 1, "cannot stand here"),
    ("any([value])", 1, "is not a function"),
    ("any(x for x in value)", 4, "cannot stand here"),
    ("len(x for x in value)", 4, "cannot stand here"),
    ("await value", 1, "cannot stand here"),
    ("value[lambda: 1]", 7, "cannot stand here"),
    ("True or __import__('os')", 9, "`__import__` is not a function"),
    ("__builtins__", 1, "unknown name"),
    ("isinstance(value, 1)", 1, "is not a function"),
    ("DROP", 1, "unknown name"),
    ("record", 1, "unknown name"),
    ("len", 1, "unknown name"),
    ("1e999", 1, "too large"),
    ("18446744073709551616", 1, "too large"),
    ("b'x'", 1, "constants are"),
    ("1j", 1, "constants are"),
    ("...", 1, "constants are"),
    ("value\0", 1, "null bytes"),
    ("'\ud800'", 1, "surrogates"),
    ("x" * (MAX_LENGTH + 1), MAX_LENGTH + 1, "longer than 4,096"),
]


def shown(text: object) -> str:
    return str(text)[:40].encode("unicode_escape").decode()


@pytest.mark.parametrize(("source", "expected"), GOOD, ids=shown)
def test_a_good_expression_gives_its_result(source: str, expected: Any) -> None:
    expression = Expression(source)
    result = expression.on_record()(RECORD)
    assert result == expected
    assert type(result) is type(expected)
    if expression.value_only:
        assert expression.on_value()(ORDER) == expected


@pytest.mark.parametrize(("source", "column", "message"), BAD, ids=shown)
def test_a_bad_expression_says_where_and_what(source: str, column: int, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        Expression(source)
    assert caught.value.column == column
    assert message in caught.value.message
    assert str(caught.value) == f"column {column}: {caught.value.message}"


def test_no_message_is_as_long_as_the_expression() -> None:
    with pytest.raises(ExpressionError) as caught:
        Expression(f"[x for x in '{'y' * 3000}']")
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "source",
    [
        "(" * 2000 + "1" + ")" * 2000,
        "[" * 190 + "]" * 190,
        "-" * 4000 + "1",
        "not " * 1000 + "1",
        "value" + ".b" * 2000,
        "value" + "[0]" * 1300,
        "1" + "+1" * 2000,
        "1 if 1 else " * 300 + "1",
        "abs(" * 150 + "1" + ")" * 150,
    ],
    ids=shown,
)
def test_nesting_without_end_is_refused_in_any_thread(source: str) -> None:
    caught: list[BaseException] = []

    def build() -> None:
        try:
            Expression(source)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test looks at it
            caught.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    thread.join()
    assert [type(error) for error in caught] == [ExpressionError]


def test_long_flat_expressions_are_fine() -> None:
    terms = 150
    test = Expression(" or ".join(f"value.id == {n + 100}" for n in range(terms)))
    assert test.on_value()(ORDER) is False
    assert len(str(test)) > MAX_LENGTH / 2


def test_depth_is_counted_in_terms_of_the_expression() -> None:
    Expression("value" + ".b" * (MAX_DEPTH - 3))
    with pytest.raises(ExpressionError, match="deep"):
        Expression("value" + ".b" * (MAX_DEPTH + 1))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("true", set()),
        ("value.a == 1", {"value"}),
        ("has(headers.a)", {"headers"}),
        ("key == 'a' and value.key == value.topic", {"key", "value"}),
        (" or ".join(NAMES), set(NAMES)),
    ],
)
def test_it_knows_the_names_it_uses(source: str, names: set[str]) -> None:
    expression = Expression(source)
    assert expression.names == names
    assert expression.value_only == (names <= {"value"})


@pytest.mark.parametrize(
    ("source", "nullable"),
    [
        ("value.a == 1", False),
        ("value.a == null", False),
        ("has(value.a)", False),
        ("get(value.a, 0) == 0 and key == 'x'", False),
        ("value != null", True),
        ("null == value or value.a == 1", True),
        ("value is not None and value.a > 1", True),
        ("has(value)", True),
        ("key == 'x'", True),
        ("true", True),
    ],
)
def test_it_knows_whether_a_tombstone_can_answer_it(source: str, nullable: bool) -> None:
    assert Expression(source).nullable is nullable


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("value.missing == 1", KeyError),
        ("value.items[5]", IndexError),
        ("value.id.deeper", TypeError),
        ("value.currency.deeper", TypeError),
        ("value.amount > '10'", TypeError),
        ("value.id / 0", ZeroDivisionError),
        ("int(value.currency)", ValueError),
        ("lower(value.id)", TypeError),
        ("matches(value.id, 'x')", TypeError),
    ],
)
def test_what_a_record_cannot_answer_is_an_error(source: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        Expression(source).on_value()(ORDER)


@pytest.mark.parametrize(
    ("key", "expected"),
    [(b"abc", "abc"), ("ключ".encode(), "ключ"), (b"\xff", b"\xff"), (None, None), (b"", "")],
)
def test_the_key_is_text_where_it_can_be(key: bytes | None, expected: str | bytes | None) -> None:
    record = Record.of(Stored(key, None), None)
    assert Expression("key").on_record()(record) == expected


def test_a_decoded_key_stays_what_it_is() -> None:
    assert Expression("key.id == 7").on_record()(Record(1, key={"id": 7})) is True


def test_str_reads_bytes_as_text() -> None:
    assert Expression("str(value) == 'abc'").on_value()(b"abc") is True


def test_a_record_without_headers_has_none() -> None:
    record = Record.of(Stored(None, None), ORDER)
    assert Expression("headers.kind == null and len(headers) == 0").on_record()(record) is True


def test_asking_does_not_change_the_record() -> None:
    record = Record.of(Stored(None, HEADERS), {"a": {}})
    Expression("has(headers.absent) or headers.none == 1 or has(value.a.b)").on_record()(record)
    assert record.headers == HEADERS
    assert record.value == {"a": {}}


def test_value_functions_are_refused_to_what_needs_the_record() -> None:
    expression = Expression("value.a == key and offset > 3")
    with pytest.raises(ValueError, match="looks at more than the value: key, offset"):
        expression.on_value()
    with pytest.raises(ValueError, match="looks at more than the value"):
        expression.value_filter()


def test_the_value_filter_gives_the_value_itself_or_drops() -> None:
    keep = Expression("value.id == 7").value_filter()
    assert keep(ORDER) is ORDER
    assert keep({"id": 8}) is DROP


def test_the_value_filter_keeps_a_list_as_one_value() -> None:
    keep = Expression("len(value) == 2").value_filter()
    assert keep([1, 2]) == [[1, 2]]
    assert keep([1]) is DROP


def test_the_record_filter_gives_the_record_itself_or_drops() -> None:
    keep = Expression("value.id == 7 and offset == 41").record_filter()
    assert keep(RECORD) is RECORD
    assert keep(RECORD.replace(value={"id": 8})) is DROP


def test_the_functions_say_what_they_take() -> None:
    expression = Expression("value.a == 1")
    of_value = {"value": Any, "return": Any}
    of_record = {"record": Record, "return": Any}
    assert typing.get_type_hints(expression.on_value()) == of_value
    assert typing.get_type_hints(expression.value_filter()) == of_value
    assert typing.get_type_hints(expression.on_record()) == of_record
    assert typing.get_type_hints(expression.record_filter()) == of_record


def test_nothing_is_called_but_one_function() -> None:
    calls: list[str] = []
    test = Expression("value.currency == 'USD' and value.amount > 10").value_filter()
    sys.setprofile(lambda frame, event, _: calls.append(f"{event} {frame.f_code.co_name}"))
    try:
        test(ORDER)
    finally:
        sys.setprofile(None)
    assert [call for call in calls if call.startswith("call")] == ["call <lambda>"]


def test_two_terms_cost_what_they_cost_written_by_hand() -> None:
    def by_hand(value: dict[str, Any]) -> bool:
        return value["currency"] == "USD" and value["amount"] > 10

    compiled = Expression("value.currency == 'USD' and value.amount > 10").on_value()
    seconds = {
        function: min(timeit.repeat(lambda f=function: f(ORDER), number=2000, repeat=20))
        for function in (by_hand, compiled)
    }
    assert seconds[compiled] < 2 * seconds[by_hand]


def test_no_builtin_is_in_reach() -> None:
    assert Expression("value.a").on_value().__globals__["__builtins__"] == {}


def test_a_traceback_names_the_expression() -> None:
    code = Expression("value.a > 1").on_value().__code__
    assert code.co_filename == "<expression value.a > 1>"


def test_equal_sources_make_equal_expressions() -> None:
    assert Expression("value.a") == Expression(" value.a\n")
    assert hash(Expression("value.a")) == hash(Expression("value.a"))
    assert Expression("value.a") != Expression("value.b")
    assert repr(Expression("value.a == 'x'")) == "Expression(\"value.a == 'x'\")"
    assert str(Expression(" value.a ")) == "value.a"


def test_it_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Expression("value.a").source = "value.b"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue] - the point


def in_another_process(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))  # noqa: S301 - made here


def test_it_crosses_processes() -> None:
    expression = Expression("value.a == 1 and matches(key, '^x')")
    copy = in_another_process(expression)
    assert copy == expression
    assert (copy.names, copy.nullable) == (expression.names, expression.nullable)
    error = in_another_process(ExpressionError("wrong", 3))
    assert (str(error), error.column) == ("column 3: wrong", 3)


def test_building_leaves_the_warning_filters_alone() -> None:
    before = list(warnings.filters)
    Expression("matches(value.a, 'x')")
    with pytest.raises(ExpressionError):
        Expression("'\\d'")
    assert list(warnings.filters) == before


class Where(Settings):
    where: Expression


def test_a_setting_takes_text_or_an_expression() -> None:
    expression = Expression("value.a == 1")
    assert Where.model_validate({"where": "value.a == 1"}).where == expression
    assert Where(where=expression).where is expression
    assert Where.model_validate_json('{"where": "value.a == 1"}').where == expression


def test_a_bad_setting_is_a_validation_error_with_the_column() -> None:
    with pytest.raises(ValidationError) as caught:
        Where.model_validate({"where": "value.a = 1"})
    (error,) = caught.value.errors()
    assert error["loc"] == ("where",)
    assert error["msg"] == "Value error, column 9: `=` is not known here; write `==`"


@pytest.mark.parametrize("given", [True, 5, None, ["value.a"], b"value.a"])
def test_a_setting_that_is_not_text_is_a_validation_error(given: object) -> None:
    with pytest.raises(ValidationError, match="valid string"):
        Where.model_validate({"where": given}, strict=True)


def test_its_schema_is_a_string_both_ways() -> None:
    for mode in ("validation", "serialization"):
        schema = Where.model_json_schema(mode=mode)
        assert schema["properties"]["where"] == {"title": "expression", "type": "string"}
    model = Where(where=Expression("value.a == 1"))
    assert model.model_dump_json() == '{"where":"value.a == 1"}'


def test_the_page_lists_what_expressions_may_hold() -> None:
    page = (ROOT / "docs/reference/expressions.md").read_text()
    functions = page.split("| function | result |\n")[1].split("\n\n")[0]
    assert set(re.findall(r"\b(\w+)\(", functions)) == set(_FUNCTIONS)
    rows = page.split("\n| to | write |\n")[1].split("\n\n")[0].splitlines()[1:]
    of_row = {row.split(" | ")[0].strip("| "): re.findall(r"`([^`]+)`", row) for row in rows}
    for sign in (*of_row["compare"], *of_row["compute"][:-1]):
        right = "" if "null" in sign else "[1, 2]" if "in" in sign else "2"
        Expression(f"value.a {sign} {right}".strip())
    for whole in of_row["give a constant"]:
        Expression(whole)
