"""Source bytes go on where nothing was changed; a codec named at the sink is applied to all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from kafka_etl import DROP, Record, operator
from kafka_etl.codecs import BYTES
from kafka_etl.config.build import build
from kafka_etl.config.load import load
from kafka_etl.contracts import Codec
from kafka_etl.expression import Expression
from kafka_etl.invocation import Condition
from kafka_etl.plugins import PluginRegistry
from kafka_etl.testing import StoredRecord
from kafka_etl_operators.filter import filter_records
from tests.unit.engine.kit import chain_of, json, run

ODD = b'{"id": 1, "id": 2, "price": 12345678901234567.89}'
"""What JSON's own way back would write in other bytes."""
ANEW = orjson.dumps(orjson.loads(ODD))


def upper(name: str) -> Codec:
    """Text; written in upper case."""
    return Codec(name, decode=bytes.decode, encode=lambda text: text.upper().encode())


@operator(reads_only=True)
def reads(value: dict) -> dict:
    return value


@operator(reads_only=True)
def reads_record(record: Record) -> Record:
    return record


@operator(reads_only=True)
def keeps_two(value: dict) -> Any:
    return value if value["id"] == 2 else DROP


@operator(reads_only=True)
def makes_another(value: dict) -> dict:
    return {**value, "more": 1} if "more" not in value else value


def changes_in_place(value: dict) -> dict:
    value["seen"] = True
    return value


@pytest.mark.parametrize(
    "op", [reads, reads_record, filter_records(where=Expression("value.id == 2"))]
)
def test_values_that_operators_only_read_keep_their_bytes(op: Any) -> None:
    assert run(chain_of(op, reads), ODD).outputs.values == [ODD]


def test_they_do_among_others() -> None:
    ran = run(chain_of(keeps_two, makes_another), b'{"id": 1}', ODD, None, b'{"id":2, "more":0}')
    assert ran.outputs.values[0] == orjson.dumps({**orjson.loads(ODD), "more": 1})
    assert ran.outputs.values[1:] == [None, b'{"id":2, "more":0}']
    assert ran.outputs.size == sum(len(value or b"") for value in ran.outputs.values)


def test_a_decoded_null_keeps_its_bytes_and_a_tombstone_is_one() -> None:
    assert run(reads_record, b" null", None, b" 1").outputs.values == [b" null", None, b" 1"]


def test_a_value_that_is_changed_in_place_is_written_as_it_is() -> None:
    assert run(changes_in_place, b'{"id": 1}').values == [{"id": 1, "seen": True}]
    assert run(chain_of(reads, changes_in_place), b'{"id": 1}').values == [{"id": 1, "seen": True}]


@pytest.mark.parametrize("operators", [[], [reads]])
def test_the_sinks_own_codec_is_applied_to_all_values(operators: list[Any]) -> None:
    ran = run(chain_of(*operators, converts=True), ODD, b'{"broken', b"\xff", None)
    assert ran.outputs.values == [ANEW, None]
    assert ran.conditions == {1: Condition.DECODE_ERROR, 2: Condition.DECODE_ERROR}


# Keys


def keyed(key: bytes | None, offset: int = 0) -> StoredRecord:
    return StoredRecord(b'{"id":2}', key, offset=offset)


def touch_key(record: Record) -> Record:
    record.key = record.key
    return record


def same_in_batch(records: list[Record]) -> list[Record]:
    return list(records)


@operator(mixes=True)
def mixing(records: list[Record]) -> list[Record]:
    return list(records)


@pytest.mark.parametrize("op", [None, reads, touch_key, same_in_batch, mixing])
def test_the_sinks_own_codec_is_applied_to_all_keys(op: Any) -> None:
    chain = chain_of(*([op] if op else []), key=upper("text"), converts_keys=True)
    keys = [b"a", None, b"b", b""]
    ran = run(chain, *[keyed(key, n) for n, key in enumerate(keys)])
    assert ran.outputs.keys == [b"A", None, b"B", b""]


@pytest.mark.parametrize("op", [None, reads, touch_key, same_in_batch, mixing])
def test_without_one_keys_stay_as_they_are(op: Any) -> None:
    chain = chain_of(*([op] if op else []), key=upper("text"))
    assert run(chain, keyed(b"a"), keyed(None, 1)).outputs.keys == [b"a", None]


def test_keys_that_cannot_be_read_cost_their_records_where_they_are_converted() -> None:
    ran = run(
        chain_of(key=upper("text"), converts_keys=True),
        keyed(b"a"),
        keyed(b"\xff", 1),
        keyed(b"b", 2),
    )
    assert ran.outputs.keys == [b"A", b"B"]
    assert ran.conditions == {1: Condition.DECODE_ERROR}


def test_bytes_are_no_keys_to_encode() -> None:
    assert run(chain_of(key=BYTES, converts_keys=True), keyed(b"a")).outputs.keys == [b"a"]


@pytest.mark.parametrize("mix", [False, True])
def test_a_decoded_key_that_is_changed_in_place_is_written(mix: bool) -> None:
    def change(record: Record) -> Record:
        if record.key["id"] == 1:
            record.key["tenant"] = "t"
        return record

    def change_all(records: list[Record]) -> list[Record]:
        return [change(record) for record in records]

    op = operator(mixes=True)(change_all) if mix else change
    ran = run(chain_of(op, key=json()), keyed(b'{"id": 1}'), keyed(b'{"id": 2}', 1))
    assert ran.outputs.keys == [b'{"id":1,"tenant":"t"}', b'{"id": 2}']


# Settings


def codecs_of(tmp_path: Path, source: str, sink: str) -> Any:
    path = tmp_path / "p.yaml"
    path.write_text(
        "name: p\nkafka: {bootstrap.servers: x}\n"
        f"source: {{use: kafka, with: {{topics: [in], {source}}}}}\n"
        f"sink: {{use: kafka, with: {{topic: out{sink}}}}}\n"
    )
    (document,) = load([path], env={}).documents
    return build(document, PluginRegistry.installed()).codecs


@pytest.mark.parametrize(
    ("source", "sink", "expected"),
    [
        ("value: json", "", (False, False)),
        ("value: json", ", value: json", (True, False)),
        ("value: json, key: text", ", value: text", (True, False)),
        ("value: json, key: text", ", key: json", (False, True)),
        ("value: json, key: json", ", value: json, key: json", (True, True)),
    ],
)
def test_what_the_sink_names_is_applied(
    tmp_path: Path, source: str, sink: str, expected: tuple[bool, bool]
) -> None:
    codecs = codecs_of(tmp_path, source, sink)
    assert (codecs.converts, codecs.converts_keys) == expected
