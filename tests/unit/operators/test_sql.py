"""The operators `sql` and `polars`."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_etl.functions.bind import BoundOperator
from kafka_etl.invocation import SHARED
from kafka_etl_operators.sql import polars_expressions, sql
from tests.unit.engine.kit import bound, chain_of, run

ORDERS = [
    {"id": 1, "amount": 10.0, "currency": "EUR"},
    {"id": 2, "amount": 20.0, "currency": "USD"},
    {"id": 3, "amount": 30.0, "currency": "EUR"},
]


def made(factory: Any, **settings: Any) -> BoundOperator:
    return bound(factory, **settings)


def test_a_query_filters_and_computes() -> None:
    query = "SELECT *, amount * 2 AS twice FROM batch WHERE currency = 'EUR'"
    ran = run(chain_of(made(sql, query=query)), *ORDERS)
    assert ran.values == [ORDERS[0] | {"twice": 20.0}, ORDERS[2] | {"twice": 60.0}]
    assert ran.origins == [0, 2]
    assert ran.outputs.keys == [b"k0", b"k2"]
    assert ran.outcome.dropped == 1


def test_a_field_without_a_name_keeps_none() -> None:
    for operator in (
        made(sql, query="SELECT * FROM batch"),
        made(polars_expressions, filter="a > 0"),
    ):
        assert run(chain_of(operator), {"": 1, "a": 2}).values == [{"": 1, "a": 2}]


def test_it_need_not_select_where_a_row_comes_from() -> None:
    chain = chain_of(made(sql, query="select id from batch where amount > 10"))
    for _ in range(2):
        ran = run(chain, *ORDERS)
        assert ran.values == [{"id": 2}, {"id": 3}]
        assert ran.origins == [1, 2]


def test_what_a_record_has_besides_its_value_can_be_asked_for() -> None:
    ran = run(chain_of(made(sql, query="SELECT id, _offset AS at FROM batch")), *ORDERS)
    assert ran.values == [{"id": n + 1, "at": n} for n in range(3)]


def test_a_query_that_mixes_rows_says_so() -> None:
    query = "SELECT currency, SUM(amount) AS total FROM batch GROUP BY currency ORDER BY currency"
    with pytest.raises(ValueError, match="SUM looks at several records: say `mixes: true`"):
        made(sql, query=query)
    ran = run(chain_of(made(sql, query=query, mixes=True)), *ORDERS)
    assert ran.values == [{"currency": "EUR", "total": 40.0}, {"currency": "USD", "total": 20.0}]
    assert ran.origins == [SHARED, SHARED]


@pytest.mark.parametrize(
    "query",
    [
        "-- the big ones\nselect id, amount from batch where amount > 10",
        "/* the\nbig ones */ SELECT id, amount FROM batch WHERE amount > 10 -- select",
        "with big as (select * from batch where amount > 10) select _row, id, amount from big",
        "select _row, id, amount from (select _row, id, amount from batch) as b where amount > 10",
    ],
)
def test_rows_keep_their_records_however_it_is_written(query: str) -> None:
    ran = run(chain_of(made(sql, query=query)), *ORDERS)
    assert ran.values == [{"id": 2, "amount": 20.0}, {"id": 3, "amount": 30.0}]
    assert ran.origins == [1, 2]
    assert ran.outputs.keys == [b"k1", b"k2"]


@pytest.mark.parametrize(
    "query",
    [
        "with big as (select * from batch) select id from big where id > 1",
        "select id from (select id from batch) as b",
        "select id from batch where id in (select id from batch)",
    ],
)
def test_a_query_within_a_query_says_whose_its_rows_are(query: str) -> None:
    with pytest.raises(ValueError, match="selects `_row` in both, or says `mixes: true`"):
        made(sql, query=query)
    assert run(chain_of(made(sql, query=query, mixes=True)), *ORDERS).origins == [SHARED] * (
        2 if "> 1" in query else 3
    )


def test_a_query_that_loses_the_rows_it_knew_of_fails() -> None:
    query = "with known as (select _row, id from batch) select id from known where id > 1"
    ran = run(chain_of(made(sql, query=query)), *ORDERS)
    assert {f.error.message for f in ran.outcome.failed} == {
        "the query does not select `_row` in its outermost part"
    }


@pytest.mark.parametrize(
    "query",
    ["SELEC", "SELECT 1; SELECT 2", "", "TRUNCATE TABLE batch", "drop table batch", "SHOW TABLES"],
)
def test_what_is_no_query_is_refused(query: str) -> None:
    with pytest.raises(ValueError):
        made(sql, query=query)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (
            "SELECT id FROM orders",
            "relation 'orders' was not found; the records are the table `batch`",
        ),
        ("SELECT *, nope(id) AS n FROM batch", "unsupported function 'nope'"),
        ("SELECT CAST(id AS NOTHING) FROM batch", 'datatype "NOTHING" is not currently supported'),
    ],
)
def test_what_there_is_not_is_refused_with_the_pipeline(query: str, said: str) -> None:
    with pytest.raises(ValueError) as raised:
        made(sql, query=query)
    assert str(raised.value) == said


@pytest.mark.parametrize(
    "name", ["read_parquet", "READ_CSV", '"read_ndjson"', "`read_ipc` ", "read_json/* */"]
)
@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM {}('/etc/passwd')",
        "SELECT * FROM batch, {}('/etc/passwd')",
        "SELECT * FROM batch WHERE id IN (SELECT id FROM {}('/etc/passwd'))",
    ],
)
def test_a_query_opens_no_files(query: str, name: str) -> None:
    with pytest.raises(ValueError, match="opens a file; the only table is `batch`"):
        made(sql, query=query.format(name), mixes=True)


def test_nor_does_an_expression() -> None:
    with pytest.raises(ValueError, match="READ_CSV opens a file"):
        made(polars_expressions, filter="id IN (SELECT id FROM read_csv('/etc/passwd'))")
    made(polars_expressions, select={"a": "CONCAT('read_csv(', read_at)"})


@pytest.mark.parametrize("kind", ["decimal(99,1)", "NUMERIC(5, 6)", "DEC( 0 )"])
def test_decimals_that_there_are_not_are_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=r"it has 1 to 38 digits"):
        made(sql, query="SELECT id, CAST(amount AS KIND) FROM batch".replace("KIND", kind))
    with pytest.raises(ValueError, match=r"it has 1 to 38 digits"):
        made(polars_expressions, with_columns={"a": f"amount::{kind}"})
    made(sql, query="SELECT amount::DECIMAL(38, 1), 'KIND' AS b FROM batch".replace("KIND", kind))


def test_a_panic_is_an_error_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka_etl_operators.sql._DIGITS", 99)
    with pytest.raises(RuntimeError, match="polars gave up: assertion failed"):
        made(sql, query="SELECT CAST(1 AS DECIMAL(99, 1)) AS a FROM batch")
    queried = made(sql, query="SELECT CAST(amount AS DECIMAL(99, 1)) AS a FROM batch")
    assert run(chain_of(queried), ORDERS[0]).failed[0].startswith("RuntimeError: polars gave up")
    computed = made(polars_expressions, with_columns={"a": "amount::DECIMAL(99, 1)"})
    assert run(chain_of(computed), ORDERS[0]).failed[0].startswith("RuntimeError: polars gave up")


@pytest.mark.parametrize("query", ["SELECT batch.id FROM batch", "SELECT b.id FROM batch AS b"])
def test_columns_show_with_the_first_records(query: str) -> None:
    assert run(chain_of(made(sql, query=query)), *ORDERS[:1]).values == [{"id": 1}]


def test_what_polars_says_comes_without_its_plan() -> None:
    ran = run(chain_of(made(sql, query="SELECT nothing FROM batch")), *ORDERS[:1])
    (failed,) = ran.outcome.failed
    assert failed.error.message.startswith('unable to find column "nothing"')
    assert "\n" not in failed.error.message


def test_words_in_texts_do_not_count() -> None:
    made(sql, query="SELECT 'GROUP BY' AS a, \"sum(b)\" FROM batch -- ORDER BY")


def test_expressions_filter_set_choose_and_drop() -> None:
    operator = made(
        polars_expressions,
        filter="amount > 10",
        with_columns={"total": "amount * 2", "amount": "0"},
        drop=["currency"],
    )
    ran = run(chain_of(operator), *ORDERS)
    assert ran.values == [
        {"id": 2, "amount": 0, "total": 40.0},
        {"id": 3, "amount": 0, "total": 60.0},
    ]
    assert ran.origins == [1, 2]
    chosen = made(polars_expressions, select={"n": "id", "key": "CAST(_key AS VARCHAR)"})
    assert run(chain_of(chosen), *ORDERS[:1]).values == [{"n": 1, "key": "k0"}]


@pytest.mark.parametrize("text", ["amount +", "SUM(amount)", "amount OVER"])
def test_expressions_are_checked_when_they_are_read(text: str) -> None:
    with pytest.raises(ValueError, match="amount"):
        made(polars_expressions, filter=text)
