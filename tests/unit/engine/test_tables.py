"""Operators on tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from kafka_etl import DROP, Record, RecordErrors, operator
from kafka_etl.codecs import JSON, TEXT
from kafka_etl.codecs.json.codec import PLUGIN, JsonSettings
from kafka_etl.contracts import Codec, CodecContext
from kafka_etl.invocation import SHARED, Condition
from kafka_etl.testing import StoredRecord
from tests.unit.engine.kit import chain_of, run


def orders(count: int) -> list[dict[str, Any]]:
    return [
        {"id": n, "amount": n * 1.5, "currency": "EUR" if n % 2 else "USD"} for n in range(count)
    ]


def double(table: pa.Table) -> pa.Table:
    return table.set_column(1, "amount", pc.multiply(table["amount"], 2))


def large(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("amount") > 3)


def same(table: pa.Table) -> pa.Table:
    return table


def test_a_table_goes_in_and_comes_out() -> None:
    ran = run(double, *orders(4))
    assert ran.values == [o | {"amount": o["amount"] * 2} for o in orders(4)]
    assert ran.origins == [0, 1, 2, 3]
    assert ran.outputs.keys == [b"k0", b"k1", b"k2", b"k3"]
    assert ran.outputs.headers is None


def test_rows_that_are_filtered_are_dropped_and_counted() -> None:
    ran = run(large, *orders(5))
    assert [v["id"] for v in ran.values] == [3, 4]
    assert ran.origins == [3, 4]
    assert ran.outputs.keys == [b"k3", b"k4"]
    assert ran.outcome.dropped == 3


def test_one_row_may_become_several() -> None:
    def explode(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.explode("lines")

    ran = run(explode, {"lines": [1, 2]}, {"lines": [3]})
    assert ran.values == [{"lines": 1}, {"lines": 2}, {"lines": 3}]
    assert ran.origins == [0, 0, 1]


def test_operators_on_tables_values_and_records_mix() -> None:
    def tag(record: Record) -> Record:
        return record.replace(headers=[("seen", b"1")])

    def add(value: dict[str, Any]) -> dict[str, Any]:
        return value | {"more": True}

    ran = run(chain_of(tag, large, add, double), *orders(5))
    assert ran.values == [o | {"amount": o["amount"] * 2, "more": True} for o in orders(5)[3:]]
    assert ran.origins == [3, 4]
    assert ran.outputs.headers == [[("seen", b"1")]] * 2


def test_a_tombstone_keeps_its_place() -> None:
    ran = run(same, {"a": 1}, None, {"a": 2}, None)
    assert ran.values == [{"a": 1}, None, {"a": 2}, None]
    assert ran.origins == [0, 1, 2, 3]
    assert ran.outputs.keys == [b"k0", b"k1", b"k2", b"k3"]


def test_tombstones_alone_call_nobody() -> None:
    def never(_table: pa.Table) -> pa.Table:
        raise AssertionError

    assert run(never, None, None).values == [None, None]


def test_a_bad_record_costs_one_dead_letter() -> None:
    ran = run(same, {"a": 1}, b'{"a": ', {"a": 3}, b"[1]", b"null", b" ", {"a": 7})
    assert ran.values == [{"a": 1}, {"a": 3}, {"a": 7}]
    assert ran.origins == [0, 2, 6]
    assert set(ran.conditions) == {1, 3, 4, 5}
    assert set(ran.conditions.values()) == {Condition.DECODE_ERROR}


def test_a_value_of_another_type_is_found_by_halving() -> None:
    ran = run(same, *[{"a": n} for n in range(9)], {"a": "text"}, {"a": 10})
    assert set(ran.conditions) == {9}
    assert len(ran.values) == 10


def test_two_objects_in_one_value_do_not_pass_for_two_records() -> None:
    ran = run(same, b'{"a":1}{"a":2}', b" ", {"a": 3}, b'{"a":\n4}', b'{"s":"x\n{"}')
    assert ran.values == [{"a": 3}, {"a": 4}]
    assert set(ran.conditions) == {0, 1, 4}


def test_parts_of_an_object_do_not_pass_for_records() -> None:
    ran = run(same, b'{"a":', b'{"b":2}}', b"{}{}", {"a": 3})
    assert ran.values == [{"a": 3}]
    assert set(ran.conditions) == {0, 1, 2}


def test_a_field_has_the_type_of_most() -> None:
    ran = run(same, {"a": "n/a"}, *[{"a": n} for n in range(9)], {"a": 0.5})
    assert set(ran.conditions) == {0}
    assert [v["a"] for v in ran.values] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 0.5]


def test_a_whole_number_does_not_become_another() -> None:
    ran = run(same, {"a": 0.5}, {"a": 2**53}, {"a": 2**53 + 1}, {"a": 1e300}, {"a": 10**19 + 1})
    assert set(ran.conditions) == {2, 4}
    assert "9007199254740993 does not fit" in ran.failed[2]
    assert [v["a"] for v in ran.values] == [0.5, 2**53, 1e300]


def test_nor_within_others() -> None:
    ran = run(same, {"a": {"b": [0.5]}}, {"a": {"b": [2**53 + 1]}}, {"a": {"b": [2**53]}})
    assert set(ran.conditions) == {1}
    assert "a.b[]: 9007199254740993 does not fit" in ran.failed[1]


@pytest.mark.parametrize("text", [b'{"a":NaN}', b'{"a":-Infinity}', b'{"b":{"c":[1.5,NaN]}}'])
def test_what_json_has_no_numbers_for_is_refused(text: bytes) -> None:
    ran = run(same, {"a": 0.5}, text, {"a": 1.5})
    assert set(ran.conditions) == {1}


def test_so_are_they_where_the_type_is_given() -> None:
    settings = JsonSettings.model_validate({"schema": {"a": "float32"}})
    codec = PLUGIN.build(settings, CodecContext("source", "value"))
    ran = run(chain_of(same, value=codec), {"a": 0.5}, b'{"a":NaN}', b'{"z":NaN}', {"a": 1.5})
    assert ran.conditions == {1: Condition.DECODE_ERROR}
    assert [v["a"] for v in ran.values] == [0.5, None, 1.5]


@pytest.mark.parametrize("with_schema", [False, True])
@pytest.mark.parametrize("text", [b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
@pytest.mark.parametrize("value", [b'{"s":"?"}', b'{"s":["?"]}', b'{"s":"a","?":1}', b'{"z":"?"}'])
def test_what_is_no_utf_8_costs_one_record(value: bytes, text: bytes, *, with_schema: bool) -> None:
    settings = JsonSettings.model_validate({"schema": {"s": "string"}} if with_schema else {})
    codec = PLUGIN.build(settings, CodecContext("source", "value"))

    def upper(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.col("s").str.to_uppercase())

    good = '{"s":"grün"}'.encode()
    ran = run(chain_of(upper, value=codec), good, value.replace(b"?", text), good)
    assert ran.values == [{"s": "GRÜN"}] * 2
    assert ran.conditions == {1: Condition.DECODE_ERROR}
    assert ran.failed[1].startswith("UnicodeDecodeError: 'utf-8' codec can't decode byte")


@pytest.mark.parametrize("levels", [100, 2_000, 100_000])
@pytest.mark.parametrize("begin", [b'{"a":', b"["])
def test_what_is_nested_too_deep_costs_one_record(begin: bytes, levels: int) -> None:
    end = b"}" if begin[:1] == b"{" else b"]"
    deep = b'{"a":' + begin * levels + b"1" + end * levels + b"}"
    chain = chain_of(same, same_frame)
    assert set(run(chain, {"n": 1}, deep, {"n": 2}).conditions) == {1}
    assert run(chain, {"n": 3}).values[0]["n"] == 3


def same_frame(frame: pl.DataFrame) -> pl.DataFrame:
    return frame


def test_a_field_may_have_no_name() -> None:
    assert run(chain_of(same, same_frame), {"": 1, "a": 2}).values == [{"": 1, "a": 2}]


def test_a_row_that_raises_is_found_by_halving() -> None:
    def check(table: pa.Table) -> pa.Table:
        if pc.any(pc.equal(table["a"], 5)).as_py():
            raise ValueError("five")
        return table

    ran = run(check, *[{"a": n} for n in range(10)])
    assert ran.failed == {5: "ValueError: five"}
    assert [v["a"] for v in ran.values] == [0, 1, 2, 3, 4, 6, 7, 8, 9]


def test_an_operator_names_its_bad_rows() -> None:
    def check(frame: pl.DataFrame) -> pl.DataFrame:
        bad = frame.with_row_index("at").filter(pl.col("a") < 0)["at"].to_list()
        if bad:
            raise RecordErrors({row: ValueError("negative") for row in bad})
        return frame

    ran = run(chain_of(same, check), {"a": 1}, None, {"a": -1}, {"a": 2})
    assert ran.failed == {2: "ValueError: negative"}
    assert ran.values == [{"a": 1}, None, {"a": 2}]


def test_what_a_record_has_besides_its_value() -> None:
    seen: list[dict[str, Any]] = []

    def look(table: pa.Table) -> pa.Table:
        seen.extend(table.to_pylist())
        return table

    record = StoredRecord(b'{"a":1}', b"key", [("h", b"1"), ("h", None)], timestamp_ms=5, offset=7)
    ran = run(look, record)
    assert seen == [
        {
            "a": 1,
            "_row": 0,
            "_key": b"key",
            "_timestamp": 5,
            "_partition": 0,
            "_offset": 7,
            "_headers": [{"name": "h", "value": b"1"}, {"name": "h", "value": None}],
        }
    ]
    assert ran.values == [{"a": 1}]
    assert ran.outputs.headers == [[("h", b"1"), ("h", None)]]


def test_it_has_only_what_it_asks_for() -> None:
    @operator(columns=["_offset"])
    def look(table: pa.Table) -> pa.Table:
        assert table.column_names == ["a", "_row", "_offset"]
        return table

    assert run(look, {"a": 1}).values == [{"a": 1}]


@pytest.mark.parametrize("library", ["pyarrow", "polars"])
def test_what_it_sets_is_set(library: str) -> None:
    def with_pyarrow(table: pa.Table) -> pa.Table:
        at = table.column_names.index("_key")
        table = table.set_column(at, "_key", pa.array([b"new", b"k1"]))
        return table.append_column("_to", pa.array([None, "other"]))

    def with_polars(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(_key=pl.Series([b"new", b"k1"]), _to=pl.Series([None, "other"]))

    function = with_pyarrow if library == "pyarrow" else with_polars
    ran = run(chain_of(function, routes=frozenset({"other"})), {"a": 1}, {"a": 2})
    assert ran.outputs.keys == [b"new", b"k1"]
    assert ran.outputs.topics == [None, "other"]
    assert ran.outputs.headers is None


def test_headers_and_timestamps_are_set() -> None:
    def stamp(frame: pl.DataFrame) -> pl.DataFrame:
        header = pl.struct(name=pl.lit("n"), value=pl.lit(b"v"))
        return frame.with_columns(_timestamp=pl.lit(99), _headers=pl.concat_list(header))

    ran = run(stamp, {"a": 1}, {"a": 2})
    assert ran.outputs.headers == [[("n", b"v")]] * 2
    assert ran.outputs.timestamps == [99, 99]


def test_a_route_that_is_none_fails_its_record() -> None:
    def route(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(_to=pl.Series(["nowhere", None]))

    ran = run(route, {"a": 1}, {"a": 2})
    assert set(ran.failed) == {0}
    assert ran.values == [{"a": 2}]


def test_outputs_of_an_operator_that_mixes_rows_belong_to_all() -> None:
    @operator(mixes=True)
    def total(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.group_by("currency", maintain_order=True).agg(pl.col("amount").sum())

    ran = run(total, *orders(4))
    assert ran.values == [{"currency": "USD", "amount": 3.0}, {"currency": "EUR", "amount": 6.0}]
    assert ran.origins == [SHARED, SHARED]
    assert ran.outputs.keys == [None, None]


def test_without_rows_it_is_told_by_place_or_belongs_to_all() -> None:
    def place(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.select("a")

    def lost(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.select("a").head(1)

    assert run(place, {"a": 1}, {"a": 2}).origins == [0, 1]
    assert run(lost, {"a": 1}, {"a": 2}).origins == [SHARED]


def test_all_may_be_dropped() -> None:
    def nothing(_table: pa.Table) -> Any:
        return DROP

    ran = run(nothing, {"a": 1}, {"a": 2})
    assert (ran.values, ran.outcome.dropped) == ([], 2)


def test_something_else_than_a_table_is_refused() -> None:
    def wrong(_table: pa.Table) -> Any:
        return [1]

    ran = run(wrong, {"a": 1})
    assert "returned list; an operator on tables returns" in ran.failed[0]


def test_rows_that_it_was_not_given_are_refused() -> None:
    def wrong(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(_row=pl.lit(9))

    assert "`_row` names rows" in run(wrong, {"a": 1}).failed[0]


def test_a_row_that_does_not_encode_costs_one_dead_letter() -> None:
    def odd(table: pa.Table) -> pa.Table:
        return table.append_column("b", pa.array([5, None], pa.duration("us")))

    ran = run(odd, {"a": 1}, {"a": 2})
    assert ran.conditions == {0: Condition.ENCODE_ERROR}
    assert ran.failed[0].endswith("Type is not JSON serializable: datetime.timedelta, at b")
    assert ran.values == [{"a": 2, "b": None}]


@pytest.mark.parametrize("library", [pa.Table, pl.DataFrame])
@pytest.mark.parametrize("number", [float("nan"), float("-inf")])
@pytest.mark.parametrize("shape", ["plain", "list", "struct", "array", "deep", "with bytes"])
def test_a_number_that_json_does_not_have_costs_one_dead_letter(
    shape: str, number: float, library: type
) -> None:
    wrap: dict[str, Callable[[float], Any]] = {
        "list": lambda n: [n],
        "struct": lambda n: {"x": n},
        "deep": lambda n: [{"x": [n]}, None],
    }
    values = [None, *map(wrap.get(shape, lambda n: n), [0.5, number, 1e308, 1e308])]

    def odd(table: pa.Table) -> Any:
        frame = pl.DataFrame(table).with_columns(b=pl.Series(values, strict=False))
        if shape == "array":
            frame = frame.with_columns(b=pl.concat_list("b").list.to_array(1))
        if shape == "with bytes":
            frame = frame.with_columns(c=pl.lit(None, pl.Binary))
        return frame if library is pl.DataFrame else frame.to_arrow()

    ran = run(odd, *({"a": n} for n in range(5)))
    assert ran.conditions == {2: Condition.ENCODE_ERROR}
    assert ran.failed == {2: "ValueError: b: JSON has no NaN and no Infinity"}
    assert [v["a"] for v in ran.values] == [0, 1, 3, 4]


def test_a_field_called_like_a_column_of_ours_fails_its_record() -> None:
    ran = run(same, {"a": 1}, {"a": 2, "_row": 5})
    assert set(ran.failed) == {1}
    assert ran.values == [{"a": 1}]


@pytest.mark.parametrize("library", [pa.Table, pl.DataFrame])
@pytest.mark.parametrize("then_values", [False, True])
def test_a_map_is_an_object_behind_columns(library: type, *, then_values: bool) -> None:
    maps = pa.map_(pa.string(), pa.int64())
    columns = {
        "m": pa.array([[("a", 1), ("b", 2)], []], maps),
        "l": pa.array([[[("c", 3)]], None], pa.list_(maps)),
    }

    def op(table):  # type: ignore[no-untyped-def]
        made = pa.table(columns)
        return made if library is pa.Table else pl.from_arrow(made)

    def on_values(value: dict[str, Any]) -> dict[str, Any]:
        return value

    op.__annotations__ = {"table": library, "return": library}
    operators = [op, on_values] if then_values else [op]
    ran = run(chain_of(*operators), {}, {})
    values = list(map(orjson.loads, ran.outputs.values))
    assert values == [{"m": {"a": 1, "b": 2}, "l": [{"c": 3}]}, {"m": {}, "l": None}]


def test_any_codec_can_be_a_table() -> None:
    plain = Codec("plain", orjson.loads, orjson.dumps)
    ran = run(chain_of(large, value=plain, sink=plain), *orders(5))
    assert [v["id"] for v in ran.values] == [3, 4]


def test_text_is_no_row() -> None:
    ran = run(chain_of(same, value=TEXT, sink=JSON), b"a", b"b")
    assert set(ran.conditions.values()) == {Condition.DECODE_ERROR}


def test_a_panic_is_its_records() -> None:
    def panic(frame: pl.DataFrame) -> pl.DataFrame:
        frame.with_columns(b=pl.lit(b"")).select(pl.struct("b").struct.json_encode())
        return frame

    assert set(run(panic, {"a": 1}).conditions.values()) == {Condition.OPERATOR_ERROR}


def test_a_table_of_values_has_the_fields_of_all_of_them() -> None:
    """Not only those of the first record: the others would lose theirs without a word."""

    def same(value: dict) -> dict:
        return value

    def op(rows: pa.Table) -> pa.Table:
        return rows

    ran = run(chain_of(same, op), {"a": 1}, {"b": 2})
    assert ran.values == [{"a": 1, "b": None}, {"a": None, "b": 2}]


def test_a_column_of_python_objects_is_refused() -> None:
    """Arrow would have the addresses of the objects, and JSON those in base64."""

    def op(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(pl.Series("thing", [object()] * len(rows), dtype=pl.Object))

    ran = run(chain_of(op), {"a": 1})
    assert "a column of Python objects cannot be written: thing" in ran.failed[0]
