"""The filter of dead letters: the language of expressions over other names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kafka_etl.dead_letters.decode import decode_letter
from kafka_etl.dlq.rows import Group, LetterRow, Own, Payload
from kafka_etl.dlq.where import Where
from kafka_etl.expression import ExpressionError
from tests.unit.dead_letters.test_dead_letters import in_topic
from tests.unit.dead_letters.test_envelope import encode, letter

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
AT_TEN = int(datetime(2026, 11, 28, 10, tzinfo=UTC).timestamp() * 1000)
GROUP = Group(
    "8a1f0c2b3d4e5f60",
    "OperatorError",
    "to_eur",
    "9f",
    "shop.NoRate",
    "shop",
    "orders",
    "kafka_etl",
)
OWN = Own(2, 17, AT_TEN, 3, 42, 3, 12, "no rate for XAU")
ROW = LetterRow(*OWN, *GROUP, status="open")
VALUE = b'{"id": 1, "amount": 12.5, "note": null}'


def payload(value: bytes | None = VALUE, key: bytes | None = b"k1") -> Payload:
    read = decode_letter(in_topic(encode(letter(value, key, [("kind", b"order")]))))
    assert read is not None
    return Payload(read)


def selects(text: str, has: Payload | None = None) -> bool:
    where = Where(text, NOW)
    return (
        where.takes_group(GROUP)
        and where.takes_row(ROW)
        and where.takes_payload(ROW, has or payload())
    )


@pytest.mark.parametrize(
    "text",
    [
        "error.type == 'shop.NoRate'",
        "error['type'] == 'shop.NoRate'",
        "error.type == 'NoRate' and 'NoRate' == error['type']",
        "error.type != 'Rate' and error.type != 'shop' and error.type != 'other.NoRate'",
        "error.type in ('KeyError', 'NoRate')",
        "error.type in ['shop.NoRate', 'KeyError']",
        "error.type not in {'Rate', 'other.NoRate'}",
        "'XAU' in error.message",
        "error == 'shop.NoRate: no rate for XAU'",
        "startswith(error.type, 'shop.') and endswith(lower(error.message), 'xau')",
        "matches(error, 'for [A-Z]{3}$')",
        "condition in ('OperatorError', 'Timeout')",
        "'Operator' in condition",
        "time >= '2026-11-28T10:00'",
        "time < '2026-11-28T10:00:00.001Z'",
        "time == 1795860000000",
        "'2026-11-28' <= time < '2026-11-29'",
        "time > '3h ago'",
        "time > '-3h'",
        "'1h ago' > time",
        "key == 'k1'",
        "value.amount > 3",
        "has(value.amount) and not has(value.note) and not has(value.missing)",
        "headers.kind == 'order'",
        "source.topic == 'orders' and source.partition == 3 and source.offset >= 42",
        "source == 'orders/3/42'",
        "source in ['orders/3/41', 'orders/3/42']",
        "attempts > 2",
        "operator == 'to_eur'",
        "operator.name == 'to_eur' and operator.version == '9f'",
        "has(operator.version) and get(operator.version) == '9f'",
        "pipeline == 'shop' and family == 'kafka_etl'",
        "fingerprint == '8a1f0c2b3d4e5f60'",
        "status == 'open'",
        "at == '2/17' and at.partition == 2 and at.offset == 17",
        "condition == 'Timeout' or value.amount > 3",
        "true",
    ],
)
def test_a_filter_selects(text: str) -> None:
    assert selects(text)
    assert not selects(f"not ({text})")


@pytest.mark.parametrize(
    "text",
    [
        "value.missing > 3",
        "value.id.deeper == 1",
        "value.amount > 'a'",
        "value.note > 3",
        "headers.missing > 'a'",
        "error.type > 3",
        "int(error.message) == 3",
        "1 / (attempts - 3) > 0",
        "value.missing > 3 or true",
    ],
)
def test_a_letter_to_which_a_term_cannot_be_applied_is_not_selected(text: str) -> None:
    assert not selects(text)


@pytest.mark.parametrize(
    ("value", "found"),
    [(b'{"a": 1}', {"a": 1}), (b"plain", "plain"), (b"\xff", b"\xff"), (b"7", 7), (None, None)],
)
def test_a_value_is_decoded_as_far_as_it_can_be(value: bytes | None, found: Any) -> None:
    assert payload(value).value == found


def test_a_letter_without_a_value_is_selected_only_by_tests_of_null() -> None:
    assert selects("value == null", payload(None))
    assert not selects("value.amount > 3", payload(None))
    assert not selects("not value.amount > 3", payload(None))


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("eror.type == 'a'", 1, "unknown name `eror`; did you mean `error`?"),
        ("attempts > 1 and typ == 'a'", 18, "unknown name `typ`"),
        ("version == '9f'", 1, "did you mean `operator.version`?"),
        ("message == 'a'", 1, "did you mean `error.message`?"),
        ("offset > 3", 1, "did you mean `source.offset`?"),
        ("amount > 3", 1, "did you mean `value.amount`?"),
        ("error.typ == 'a'", 1, "`error` has no field `typ`; did you mean `type`?"),
        ("true and operator['nme'] == 'a'", 10, "Fields: operator.name, operator.version"),
        ("has(source.topc)", 5, "`source` has no field `topc`; did you mean `topic`?"),
        (
            "condition == 'DecodeErorr'",
            14,
            "is no condition; did you mean `DecodeError`? There are",
        ),
        ("'a' != condition", 1, "`a` is no condition. There are: DecodeError, OperatorError"),
        ("condition in ('Timeout', 'timeout')", 26, "did you mean `Timeout`?"),
        ("status == 'opne'", 11, "did you mean `open`?"),
        ("condition.name == 'a'", 1, "`condition` has no field `name`"),
        ("time > 'yesterday'", 8, "`yesterday` is no time; write 2026-11-28"),
        ("time > '2h'", 8, "did you mean `2h ago`?"),
        ("time > '2 parsecs ago'", 8, "is no time"),
        ("time > '2026-13-01'", 8, "is no time"),
        ("time > '99999999d ago'", 8, "is no time"),
        ("time == '2026-11-28'", 9, "compare `time` with <, <=, > or >="),
        ("time in ('2026-11-28',)", 9, "compare `time` with <, <=, > or >="),
        ("error.type = 'a'", 12, "write `==`"),
        ("value.strip() == 'a'", 1, "values have no methods"),
        ("open('/etc/passwd')", 1, "`open` is not a function"),
        ("[x for x in value]", 1, "cannot stand here"),
        ("row.status == 'open'", 1, "unknown name `row`"),
        ("payload", 1, "unknown name `payload`"),
        ("", 1, ""),
        ("value.a, value.b", 1, "join them with `and`"),
    ],
)
def test_a_bad_filter_says_where_and_what(text: str, column: int, said: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        Where(text, NOW)
    assert raised.value.column == column
    assert said in raised.value.message


@pytest.mark.parametrize(
    ("text", "rows", "payloads"),
    [
        ("condition == 'Timeout' and operator.version == '9f'", False, False),
        ("time > '2h ago'", True, False),
        ("error == 'a'", True, False),
        ("condition == 'Timeout' and value.a > 3", False, True),
        ("condition == 'Timeout' or key == 'a'", False, True),
        ("attempts > 3 and headers.a == 'b' and pipeline == 'p'", True, True),
    ],
)
def test_it_knows_what_it_must_look_at(text: str, rows: bool, payloads: bool) -> None:
    where = Where(text, NOW)
    assert (where.needs_rows, where.needs_payload) == (rows, payloads)


def test_terms_on_groups_decide_without_the_rest() -> None:
    where = Where("value.a > 3 and condition == 'Timeout'", NOW)
    assert not where.takes_group(GROUP)
    assert where.takes_group(GROUP._replace(condition="Timeout"))


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("time > '2h ago'", [("written_ms", ">", AT_TEN)]),
        ("source.offset != 3 and value.a == 1", [("source_offset", "!=", 3)]),
        ("attempts == true", []),
        ("attempts > 3 or attempts < 1", []),
        ("attempts in (3, 4)", []),
        ("attempts in 3", []),
        ("error.message > 3", []),
    ],
)
def test_simple_comparisons_are_left_to_the_database(
    text: str, bounds: list[tuple[str, str, int]]
) -> None:
    assert Where(text, NOW).bounds == bounds


def test_a_duration_becomes_a_time_in_the_filter_in_words() -> None:
    where = Where("'é' in error.message and time > '2h ago' and value.a == '2h ago'", NOW)
    assert where.text == (
        "'é' in error.message and time > '2026-11-28T10:00:00.000Z' and value.a == '2h ago'"
    )
    assert Where(where.text).text == where.text


def test_a_chained_comparison_is_left_as_it_is_written() -> None:
    assert selects("error.type == 'NoRate'")
    assert not selects("error.type == 'NoRate' < 'A'")
