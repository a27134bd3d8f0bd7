"""The last stage of a table sink: values become rows, deletions, or faults of their records."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from kafka_etl import operator
from kafka_etl.codecs.json.codec import PLUGIN, JsonSettings
from kafka_etl.contracts import CodecContext, Column, Kind
from kafka_etl.engine.attempt.chain import Chain
from kafka_etl.engine.attempt.decode import decode_for
from kafka_etl.engine.attempt.operate import operate_all
from kafka_etl.engine.attempt.routing import Routing
from kafka_etl.engine.pools.pools import Pools
from kafka_etl.engine.shape.shape import Shape
from kafka_etl.errors import SinkFailed
from kafka_etl.invocation import Condition
from kafka_etl.record import Record
from kafka_etl.table_settings import SqlTableSettings, mapped_columns
from kafka_etl.testing import StoredRecord
from tests.unit.engine.kit import Operator, Ran, bound, json, run

ID = Column("id", Kind.INT, nullable=False, optional=False)
NAME = Column("name", Kind.TEXT, length=5)
REST = Column("rest", Kind.JSON)
COLUMNS = (ID, NAME)


def shaped(*operators: Operator, table: tuple[Column, ...] = COLUMNS, **settings: Any) -> Chain:
    ready = [bound(operator) for operator in operators]
    checked = SqlTableSettings.model_validate({"table": "t", **settings})
    keys = PLUGIN.build(JsonSettings(), CodecContext("source", "key"))
    return Chain(
        decode=decode_for(ready, json(), keys, converts=True, converts_keys=True),
        operators=operate_all(ready, Pools(ready, lambda: None)),
        encode=Shape(
            checked,
            mapped_columns(checked, table),
            ready[-1].name if ready else "",
            None if checked.set is None else Routing(checked.set.to),
        ),
        entering=lambda _stage: None,
    )


def rows(chain: Chain, *given: Any) -> tuple[list[Any], Ran]:
    records = [
        StoredRecord(
            v if isinstance(v, bytes | None) else msgspec.json.encode(v), b"%d" % n, offset=n
        )
        for n, v in enumerate(given)
    ]
    ran = run(chain, *records)
    return ran.outputs.values, ran


def test_fields_become_columns_by_their_names() -> None:
    made, _ = rows(shaped(), {"name": "a", "id": 1}, {"id": 2})
    assert made == [(1, "a"), (2, None)]


def test_what_does_not_fit_costs_its_record() -> None:
    made, ran = rows(
        shaped(), {"id": 1}, {"id": "2"}, {"name": "x"}, {"id": 4, "name": "toolong"}, 5, {"id": 6}
    )
    assert made == [(1, None), (6, None)]
    assert set(ran.failed) == {1, 2, 3, 4}
    assert set(ran.conditions.values()) == {Condition.ENCODE_ERROR}
    assert "column name (text) holds 5 characters" in ran.failed[3]
    assert "object with fields" in ran.failed[4]


def test_a_field_without_a_column_is_an_error_unless_said_otherwise() -> None:
    given = ({"id": 1}, {"id": 2, "zz": 3})
    made, ran = rows(shaped(), *given)
    assert (made, ran.failed) == ([(1, None)], {1: "ValueError: field zz has no column"})
    assert rows(shaped(extra="ignore"), *given)[0] == [(1, None), (2, None)]
    found, _ = rows(shaped(extra="rest", table=(*COLUMNS, REST)), *given)
    assert found == [(1, None, None), (2, None, '{"zz":3}')]


def test_a_field_called_like_the_column_of_the_others_is_refused() -> None:
    chain = shaped(extra="rest", table=(*COLUMNS, REST))
    assert set(rows(chain, {"id": 1, "rest": "mine"})[1].failed) == {0}


def test_columns_are_computed() -> None:
    chain = shaped(columns={"id": "value.n * 2", "name": "topic"})
    made, ran = rows(chain, {"n": 1}, {"m": 1}, {"n": 3})
    assert made == [(2, "in"), (6, "in")]
    assert "column id cannot be computed" in ran.failed[1]


def test_objects_of_operators_have_fields() -> None:
    class Order(msgspec.Struct):
        id: int
        name: str

    def op(value: dict) -> Any:
        return Order(value["id"], "o")

    assert rows(shaped(op), {"id": 1})[0] == [(1, "o")]


def test_a_tombstone_deletes_where_the_key_is_the_records() -> None:
    chain = shaped(mode="upsert", key={"id": "key"})
    made, ran = rows(chain, {"name": "a"}, None)
    assert made == [(0, "a"), None]
    assert ran.outputs.keys == [(0,), (1,)]


@pytest.mark.parametrize("mode", ["upsert", "replace"])
def test_a_key_is_never_null_whatever_the_table_takes(mode: str) -> None:
    loose = (Column("id", Kind.INT), NAME)
    chain = shaped(table=loose, mode=mode, key={"id": "value.id if value != null else null"})
    made, ran = rows(chain, {"id": 1}, {"id": None}, {"id": None, "name": "a"})
    assert made == [(1, None)]
    assert all("column id (int) takes no null: None" in ran.failed[at] for at in (1, 2))
    deleting = shaped(table=loose, mode=mode, key={"id": "get(key.id)"})
    assert "takes no null" in rows(deleting, None)[1].failed[0]
    assert rows(shaped(table=loose), {"id": None})[0] == [(None, None)]


@pytest.mark.parametrize(
    ("settings", "why"),
    [({}, "`mode: insert`"), ({"mode": "upsert", "key": ["id"]}, "key: {id: key.id}")],
)
def test_elsewhere_a_tombstone_is_a_dead_letter_that_says_why(settings: Any, why: str) -> None:
    made, ran = rows(shaped(**settings), {"id": 1}, None)
    assert made == [(1, None)]
    assert why in ran.failed[1]


def test_a_table_is_handed_over_as_it_is() -> None:
    def op(table: pa.Table) -> pa.Table:
        return table

    _, ran = rows(shaped(op), {"id": 1, "name": "a"}, {"id": 2, "name": "b"})
    assert ran.outputs.table.to_pylist() == [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    assert len(ran.outputs) == 2


def test_a_table_that_does_not_fit_costs_its_bad_rows_alone() -> None:
    def op(table: pa.Table) -> pa.Table:
        return table

    made, ran = rows(shaped(op), {"id": 1, "name": "a"}, {"id": 2, "name": "toolong"})
    assert (made, set(ran.failed)) == ([(1, "a")], {1})


def test_where_rows_go_is_kept() -> None:
    def op(record: Record) -> Record:
        return record.to("other")

    chain = shaped(op, routes=["other"])
    assert rows(chain, {"id": 1})[1].outputs.topics == ["other"]


def test_a_timestamp_that_an_operator_has_set_is_kept() -> None:
    """Sinks of files choose the folder of a row by the timestamp."""

    def op(record: Record) -> Record:
        at = record.value["id"]
        return record if at == 1 else record.replace(timestamp=at)

    made, ran = rows(shaped(op), {"id": 1}, {"id": 5}, {"id": -7})
    assert (made, set(ran.failed)) == ([(1, None), (5, None)], {2})
    assert ran.outputs.timestamps == [0, 5]


@pytest.mark.parametrize(("shift", "wanted"), [(0, None), (7, [6, 6])])
def test_a_table_keeps_the_timestamps_that_an_operator_has_set(
    shift: int, wanted: list[int] | None
) -> None:
    @operator(columns=["_timestamp"])
    def op(table: pa.Table) -> pa.Table:
        at: Any = pc.add(table["_timestamp"], shift)
        return table.set_column(table.column_names.index("_timestamp"), "_timestamp", at)

    _, ran = rows(shaped(op), {"id": 1, "name": "a"}, {"id": 2, "name": "b"})
    assert ran.outputs.table.num_rows == 2
    assert ran.outputs.timestamps == wanted


def test_a_row_for_an_unknown_table_costs_its_record() -> None:
    def op(record: Record) -> Record:
        return record.to("unknown") if record.value["id"] == 2 else record

    made, ran = rows(shaped(op), {"id": 1}, {"id": 2})
    assert (made, set(ran.failed)) == ([(1, None)], {1})
    assert "one of t" in ran.failed[1]


def test_an_expression_says_where_rows_go_unless_an_operator_has() -> None:
    def op(record: Record) -> Record:
        return record.to("t") if record.value["id"] == 3 else record

    chain = shaped(op, routes=["a", "b"], set={"to": "value.name"})
    given = [{"id": 1, "name": "a"}, {"id": 2, "name": None}, {"id": 3, "name": "b"}]
    _, ran = rows(chain, *given, {"id": 4, "name": "c"}, {"id": 5, "name": 6})
    assert ran.outputs.topics == ["a", None, "t"]
    assert set(ran.failed) == {3, 4}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"columns": {"idd": "1"}}, "no column idd"),
        ({"columns": {"name": "'x'"}}, "column id needs a value"),
        ({"columns": {"id": "1", "made": "2"}}, "column made is computed"),
        ({"mode": "upsert", "key": ["nix"]}, "no column nix"),
    ],
)
def test_columns_that_cannot_be_set_are_named(settings: Any, why: str) -> None:
    checked = SqlTableSettings.model_validate({"table": "t", **settings})
    with pytest.raises(SinkFailed, match=why):
        mapped_columns(checked, (*COLUMNS, Column("made", Kind.INT, writable=False)))
