"""Records of the source become submissions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.config.build import Pipeline, examine
from kafka_etl.config.load import load
from kafka_etl.config.report import Finding
from kafka_etl.config.task_documents import all_documents
from kafka_etl.expression import Expression
from kafka_etl.plugins import PluginRegistry
from kafka_etl.record import Record
from kafka_etl.runtime.tasks.accept import id_by_hand, submit
from kafka_etl.tasks.placing import partition_of
from kafka_etl.tasks.words import Submit, decode_word, own_parts
from kafka_etl.testing import StoredRecord

PARTITIONS = 16
FILE = """
name: shop
mode: task
kafka: {bootstrap.servers: "localhost:1"}
source: {use: kafka, with: {topics: [uploads], value: json, key: text}}
operator: "ops:work"
id: key
on_success: {use: kafka, with: {topic: done}}
on_failure: {topic: failed}
"""


def accepted(value: Any, id: str | None = None, **more: Any) -> tuple[str, Submit, Record]:  # noqa: A002
    operator = submit(partitions=PARTITIONS, id=None if id is None else Expression(id))
    source = StoredRecord(b"raw", topic="uploads", partition=1, offset=42, **more)
    made = operator(Record.of(source, value))
    word = decode_word(made.headers)
    assert isinstance(word, Submit)
    return made.key.decode(), word, made


def test_the_id_is_an_expression_a_header_or_the_place() -> None:
    assert accepted({"id": 7}, "value.id")[0] == "7"
    assert accepted({}, headers=[("task-id", b"t7")])[0] == "t7"
    assert accepted({})[0] == "uploads-1-42"


def test_the_record_travels_along_and_the_partition_is_that_of_the_id() -> None:
    value = {"id": "a"}
    task, word, made = accepted(
        value, "value.id", key=b"k", headers=[("own", b"\xff")], timestamp_ms=5
    )
    assert made.value is value
    assert own_parts(made.headers) == (b"k", [("own", b"\xff")])
    assert made.header("p") == str(partition_of(task, PARTITIONS)).encode()
    assert word.origin is not None
    assert (word.origin.topic, word.origin.offset, word.origin.timestamp) == ("uploads", 42, 5)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "Error"),
        ({"id": ""}, "empty"),
        ({"id": "x" * 300}, "longer than 256 bytes"),
        ({"id": "a\nb"}, "cannot be printed"),
    ],
)
def test_a_bad_id_makes_an_invalid_task_under_the_place(value: Any, said: str) -> None:
    task, word, _ = accepted(value, "value.id")
    assert task == "uploads-1-42"
    assert word.invalid is not None
    assert said in word.invalid.message


def test_keys_of_any_codec_make_ids(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(FILE)
    (tmp_path / "ops.py").write_text("def work(task: dict) -> dict:\n    return task\n")
    (document,) = load([tmp_path / "p.yaml"], env=os.environ).documents
    findings: list[Finding] = []
    documents = all_documents(document, findings)
    assert findings == []
    accept = examine(documents[0], PluginRegistry.installed())
    assert isinstance(accept, Pipeline), accept
    assert [document.data["name"] for document in documents] == [
        "shop",
        "shop.tasks",
        "shop.attempt",
    ]


SOURCE = {
    "name": "shop.attempt",
    "kafka": {"bootstrap.servers": "localhost:1"},
    "source": {"use": "kafka", "with": {"topics": ["uploads"], "value": "json", "key": "text"}},
    "sink": {"use": "kafka", "with": {"topic": "done"}},
}


def decoded(value: bytes | None, id: str, key: bytes | None = None) -> tuple[str, Submit, Record]:  # noqa: A002
    operator = submit(partitions=PARTITIONS, id=Expression(id), source=SOURCE)
    made = operator(Record.of(StoredRecord(value, key, topic="uploads", offset=42), value))
    word = decode_word(made.headers)
    assert isinstance(word, Submit)
    return made.key.decode(), word, made


def test_records_are_decoded_for_the_id_alone() -> None:
    task, word, made = decoded(b'{"id": 7}', "key + '-' + str(value.id)", b"k")
    assert (task, word.invalid, made.value) == ("k-7", None, b'{"id": 7}')


@pytest.mark.parametrize("value", [b"not json", b"\xff\xfe", b"", b'{"id": '])
def test_what_cannot_be_decoded_is_an_invalid_task(value: bytes) -> None:
    task, word, made = decoded(value, "value.id")
    assert (task, made.value) == ("uploads-0-42", value)
    assert word.invalid is not None
    assert word.invalid.type == "DecodeError"
    assert word.invalid.message.startswith("the value is no json: ")


@pytest.mark.parametrize("id", ["null", "true", "[1]", "{}"])
def test_what_names_no_task_is_no_id(id: str) -> None:  # noqa: A002
    _, word, _ = decoded(b'{"id": %s}' % id.encode(), "value.id")
    assert word.invalid is not None
    assert "a text or a number names a task" in word.invalid.message


def test_a_header_that_is_no_utf8_is_no_id() -> None:
    assert accepted({}, headers=[("task-id", b"\xff")])[1].invalid is not None
    assert accepted({}, headers=[("task-id", b"")])[1].invalid is not None


def test_an_input_by_hand_has_the_id_of_a_record_with_this_value(tmp_path: Path) -> None:
    body, id_ = b'{"object": "a.mov", "format": "mp4"}', "value.object + '#' + value.format"
    assert id_by_hand(Expression(id_), SOURCE, tmp_path, body) == "a.mov#mp4"
    assert decoded(body, id_)[0] == "a.mov#mp4"


@pytest.mark.parametrize(
    ("body", "id_", "said"),
    [
        (b"not json", "value.id", "the value is no json"),
        (b"{}", "value.id", "gives none"),
        (b'{"id": [1]}', "value.id", "names a task"),
        (b'{"id": 1}', "key", "asks for the key of a record"),
        (b'{"id": 1}', "str(offset) + topic", "asks for the offset and topic of a record"),
    ],
)
def test_an_input_that_has_no_id_is_no_task(
    tmp_path: Path, body: bytes, id_: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        id_by_hand(Expression(id_), SOURCE, tmp_path, body)
