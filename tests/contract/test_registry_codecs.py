"""Codecs with a schema registry, on a stand-in and on a real one."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import orjson
import pytest

from kafka_etl.codecs import JSON as JSON_CODEC
from kafka_etl.codecs import of_class
from kafka_etl.codecs.protobuf import codec as protobuf
from kafka_etl.contracts import Codec, CodecContext, Unavailable
from kafka_etl.errors import ConfigError, SchemaRefused
from kafka_etl.plugins import PluginRegistry
from kafka_etl.schema_registry import client as schema_registry
from kafka_etl.testing import CodecContract, CodecSystem
from tests.kit import registry as kit

PRICE = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
SHAPE = {"type": "record", "name": "Shape", "fields": [{"name": "w", "type": "double"}]}
AVRO = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "price", "type": PRICE},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "token", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "size", "type": {"type": "enum", "name": "Size", "symbols": ["S", "L"]}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "counts", "type": {"type": "map", "values": "int"}},
        {"name": "either", "type": ["null", "long", "string"]},
        {"name": "shape", "type": SHAPE},
    ],
}
ORDER = {
    "id": 2**40,
    "note": None,
    "price": Decimal("-12.50"),
    "at": dt.datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=dt.UTC),
    "day": dt.date(2026, 1, 2),
    "token": uuid.UUID(int=77),
    "size": "L",
    "tags": ["a", "é"],
    "counts": {"x": -1},
    "either": "text",
    "shape": {"w": 0.5},
}
JSON = {
    "title": "shop.Order",
    "type": "object",
    "properties": {"id": {"type": "integer"}, "note": {"type": ["string", "null"]}},
    "required": ["id"],
}
PROTOBUF = """syntax = "proto3";
package shop;
message Order {
  int64 id = 1;
  optional string note = 2;
  Size size = 3;
  bytes raw = 4;
  repeated Line lines = 5;
  map<string, Line> by_name = 6;
  Line first = 7;
  message Line { string sku = 1; Line next = 2; }
}
enum Size { S = 0; L = 1; }
message Other { int32 a = 1; }
"""
LINE = {"sku": "a", "next": {"sku": "b", "next": None}}
PROTO_ORDER = {
    "id": 2**60,
    "note": "",
    "size": "L",
    "raw": b"\xff",
    "lines": [LINE, LINE],
    "by_name": {"x": LINE},
    "first": None,
}


@dataclass(frozen=True)
class Case:
    """A codec, the type of its schemas, one of them, and values of it."""

    codec: str
    kind: str
    schema: Any
    values: list[Any]
    undecodable: list[bytes]
    unencodable: list[Any]


CASES = [
    Case(
        "avro",
        "AVRO",
        AVRO,
        [ORDER, {**ORDER, "note": "n", "either": 7}, {**ORDER, "either": None, "tags": []}],
        undecodable=[b"\x00\x00\x00", b"\x01\x00\x00\x00\x01", b'{"a":1}'],
        unencodable=[
            {},
            {**ORDER, "stranger": 1},
            {**ORDER, "shape": {"w": 0.5, "stranger": 1}},
            {**ORDER, "id": "x"},
            {**ORDER, "id": 6.7},
            {**ORDER, "id": True},
            5,
        ],
    ),
    Case(
        "json_schema",
        "JSON",
        JSON,
        [{"id": 1}, {"id": 1, "note": None, "more": [1.5]}],
        undecodable=[b"", b"\x00\x00\x00", b'{"id":1}'],
        unencodable=[{}, {"id": "x"}, [1], {"id": 1, "note": {1, 2}}],
    ),
    Case(
        "protobuf",
        "PROTOBUF",
        PROTOBUF,
        [PROTO_ORDER, {**PROTO_ORDER, "note": None, "first": LINE, "lines": []}],
        undecodable=[b"", b"\x00\x00\x00", b"\x01\x00\x00\x00\x01\x00"],
        unencodable=[{"stranger": 1}, {"id": "x"}, {"size": "XXL"}, 5],
    ),
]
BY_NAME = pytest.mark.parametrize("case", CASES, ids=lambda case: case.codec)


@pytest.fixture(params=["stand-in", "apicurio"], scope="module")
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "stand-in":
        with kit.stand_in() as registry:
            yield registry.url
    else:
        yield request.getfixturevalue("apicurio").url


@pytest.fixture(autouse=True)
def new_client() -> None:
    """Nothing that another test has looked up."""
    schema_registry._shared.cache_clear()


@pytest.fixture
def topic() -> str:
    return f"t-{uuid.uuid4().hex[:8]}"


def build(url: str, name: str, topic: str = "", *, part: str = "value", **settings: Any) -> Codec:
    """The codec of a sink with this topic; without one, of a source."""
    plugin = PluginRegistry.installed().codec(name)
    side = "sink" if topic else "source"
    place = CodecContext(side, part, topic, registry={"url": url})  # type: ignore[arg-type]
    return plugin.build(plugin.settings.model_validate(settings), place)


def pair(url: str, case: Case, topic: str) -> Codec:
    """Encodes as the sink does, decodes as the source."""
    kit.register(url, f"{topic}-value", case.schema, case.kind)
    sink = build(url, case.codec, topic)
    return Codec(case.codec, decode=build(url, case.codec).decode, encode=sink.encode)


class TestRegistryCodecs(CodecContract):
    @pytest.fixture(params=CASES, ids=lambda case: case.codec)
    def system(self, request: pytest.FixtureRequest, url: str, topic: str) -> CodecSystem:
        case = request.param
        return CodecSystem(
            pair(url, case, topic), case.codec, case.values, case.undecodable, case.unencodable
        )


@BY_NAME
def test_what_is_not_in_the_wire_format_is_the_records_fault(url: str, case: Case) -> None:
    for data in case.undecodable:
        with pytest.raises(ValueError, match=r"registry's format|cut off"):
            build(url, case.codec).decode(data)


@BY_NAME
def test_an_unknown_id_is_no_records_fault(url: str, case: Case) -> None:
    with pytest.raises(Unavailable, match="schema 99999 is not in the schema registry"):
        build(url, case.codec).decode(b"\x00\x00\x01\x86\x9f\x00")


@BY_NAME
def test_a_schema_of_another_type_is_refused(url: str, case: Case, topic: str) -> None:
    other = CASES[CASES.index(case) - 1]
    schema_id = kit.register(url, f"{topic}-value", other.schema, other.kind)
    with pytest.raises(TypeError, match=f"schema of type {other.kind}"):
        build(url, case.codec).decode(schema_registry_head(schema_id) + b"\x00")


def schema_registry_head(schema_id: int) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big")


@BY_NAME
@pytest.mark.parametrize("subject", ["topic", "record", "topic_record"])
def test_a_schema_is_registered_on_request(url: str, case: Case, topic: str, subject: str) -> None:
    wanted = {
        "topic": f"{topic}-key",
        "record": "shop.Order",
        "topic_record": f"{topic}-shop.Order",
    }
    settings = {"schema": case.schema, "subject": subject}
    if subject != "record":  # another test's, of the same name, may be there
        with pytest.raises(
            Unavailable, match=f"given schema under subject {wanted[subject]} is no"
        ):
            build(url, case.codec, topic, part="key", **settings).encode(case.values[0])
    schema_registry._shared.cache_clear()
    data = build(url, case.codec, topic, part="key", register=True, **settings).encode(
        case.values[0]
    )
    schema_registry._shared.cache_clear()
    again = build(url, case.codec, topic, part="key", **settings).encode(case.values[0])
    assert again == data
    assert build(url, case.codec).decode(data) == case.values[0]


@BY_NAME
def test_records_for_another_topic_have_its_subject(url: str, case: Case, topic: str) -> None:
    sink = build(url, case.codec, topic)
    assert sink.for_topic is not None
    other = sink.for_topic(f"{topic}-other")
    with pytest.raises(Unavailable, match=f"subject {topic}-other-value is not"):
        other.encode(case.values[0])
    assert sink.for_topic(f"{topic}-other") is other


def test_avro_that_ends_too_early_or_too_late_is_no_record(url: str, topic: str) -> None:
    kit.register(url, f"{topic}-value", AVRO)
    data = build(url, "avro", topic).encode(ORDER)
    source = build(url, "avro")
    for wrong in (data[:-1], data + b"x"):
        with pytest.raises(ValueError, match="the payload"):  # EOFError would be tried again
            source.decode(wrong)


def test_a_further_field_that_holds_nothing_is_left_out(url: str, topic: str) -> None:
    kit.register(url, f"{topic}-value", AVRO)
    sink, source = build(url, "avro", topic), build(url, "avro")
    assert source.decode(sink.encode({**ORDER, "stranger": None})) == ORDER


def test_a_reader_has_its_own_schema(url: str, topic: str) -> None:
    kit.register(url, f"{topic}-value", AVRO)
    data = build(url, "avro", topic).encode(ORDER)
    wanted = {
        "type": "record",
        "name": "Order",
        "namespace": "shop",
        "fields": [
            {"name": "id", "type": "double"},
            {"name": "new", "type": "string", "default": "d"},
        ],
    }
    source = build(url, "avro", schema=wanted)
    assert source.decode(data) == {"id": 2.0**40, "new": "d"}
    assert source.table is not None
    assert source.table.decode([data]).to_pylist() == [{"id": 2.0**40, "new": "d"}]


class Order(msgspec.Struct):
    id: int
    price: Decimal
    at: dt.datetime
    day: dt.date
    token: uuid.UUID
    size: str
    shape: dict[str, float]
    counts: dict[str, int]
    note: str | None = None
    tags: tuple[str, ...] = ()
    either: int | str | None = None


def test_objects_of_a_class_keep_logical_types(url: str, topic: str) -> None:
    kit.register(url, f"{topic}-value", AVRO)
    sink, source = build(url, "avro", topic), build(url, "avro")
    order = of_class(source, Order).decode(sink.encode(ORDER))
    assert order.price == ORDER["price"]
    assert order.at == ORDER["at"]
    assert source.decode(of_class(sink, Order).encode(order)) == ORDER


class Line(msgspec.Struct):
    id: int
    day: dt.date


def test_objects_of_a_class_are_checked_as_the_json_they_become(url: str, topic: str) -> None:
    schema = {"type": "object", "properties": {"day": {"type": "string", "maxLength": 10}}}
    kit.register(url, f"{topic}-value", schema, "JSON")
    codec = of_class(build(url, "json_schema", topic), Line)
    line = Line(1, dt.date(2026, 1, 2))
    data = codec.encode(line)
    assert data[5:] == b'{"id":1,"day":"2026-01-02"}'
    assert of_class(build(url, "json_schema"), Line).decode(data) == line


def test_a_source_with_a_schema_still_wants_the_id_of_one(url: str, topic: str) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    kit.register(url, f"{topic}-value", schema, "JSON")
    source = build(url, "json_schema", schema=schema)
    headed = build(url, "json_schema", schema=schema, schema_id="header")
    assert headed.decode_with is not None
    assert source.decode(build(url, "json_schema", topic).encode({"n": 67})) == {"n": 67}
    for decode in (source.decode, lambda data: headed.decode_with(data, [])):  # type: ignore[misc]
        with pytest.raises(ValueError, match="not in the schema registry's format"):
            decode(b"1234567")
    with pytest.raises(ValueError, match="schema registry's format"):
        headed.decode_with(b"67", [("__value_schema_id", b"\x07")])


@pytest.mark.parametrize(("decimal", "text"), [("text", b'"1.50"'), ("number", b"1.50")])
def test_decimals_are_checked_as_what_is_written(
    url: str, topic: str, decimal: str, text: bytes
) -> None:
    kind = "string" if decimal == "text" else "number"
    schema = {"type": "object", "properties": {"a": {"type": kind}, "at": {"type": "string"}}}
    kit.register(url, f"{topic}-value", schema, "JSON")
    sink = build(url, "json_schema", topic, decimal=decimal)
    assert sink.encode({"a": Decimal("1.50")})[5:] == b'{"a":%s}' % text
    assert sink.encode({"at": dt.date(2026, 1, 2)})[5:] == b'{"at":"2026-01-02"}'
    assert sink.encode({"at": uuid.UUID(int=0)})[5:] == orjson.dumps({"at": uuid.UUID(int=0)})
    assert sink.encode({"at": b"\xff"})[5:] == b'{"at":"/w=="}'
    wrong = build(url, "json_schema", topic, decimal="number" if decimal == "text" else "text")
    with pytest.raises(ValueError, match="is not of type"):
        wrong.encode({"a": Decimal("1.50")})


def test_what_avro_has_goes_to_json_and_back(url: str, topic: str) -> None:
    kit.register(url, f"{topic}-value", AVRO)
    sink, source = build(url, "avro", topic), build(url, "avro")
    text = JSON_CODEC.encode(source.decode(sink.encode(ORDER)))
    assert source.decode(sink.encode(JSON_CODEC.decode(text))) == ORDER


def test_schemas_that_refer_to_others(url: str, topic: str) -> None:
    inner = {
        "type": "record",
        "name": "Money",
        "namespace": "bank",
        "fields": [{"name": "n", "type": "int"}],
    }
    outer = {
        "type": "record",
        "name": "Bill",
        "namespace": "shop",
        "fields": [
            {"name": "a", "type": "bank.Money"},
            {"name": "b", "type": ["null", "bank.Money"]},
        ],
    }
    kit.register(url, f"{topic}-money", inner)
    reference = {"name": "bank.Money", "subject": f"{topic}-money", "version": 1}
    kit.register(url, f"{topic}-value", outer, references=[reference])
    value = {"a": {"n": 1}, "b": {"n": 2}}
    sink, source = build(url, "avro", topic), build(url, "avro")
    assert source.decode(sink.encode(value)) == value
    assert sink.table is not None
    assert source.table is not None
    assert sink.table.encode(source.table.decode([sink.encode(value)])) == [sink.encode(value)]


def test_json_schemas_that_refer_to_others(url: str, topic: str) -> None:
    draft = {"$schema": "http://json-schema.org/draft-07/schema#"}
    inner = {**draft, "type": "integer", "$id": "http://shop/n.json"}
    kit.register(url, f"{topic}-n", inner, "JSON")
    schema = {**draft, "type": "object", "properties": {"a": {"$ref": "http://shop/n.json"}}}
    reference = {"name": "http://shop/n.json", "subject": f"{topic}-n", "version": 1}
    kit.register(url, f"{topic}-value", schema, "JSON", [reference])
    sink = build(url, "json_schema", topic)
    assert build(url, "json_schema").decode(sink.encode({"a": 1})) == {"a": 1}
    with pytest.raises(ValueError, match="is not of type"):
        sink.encode({"a": "x"})


def test_protobuf_schemas_that_import_others(url: str, topic: str) -> None:
    money = 'syntax = "proto3"; package bank; message Money { int64 n = 1; }'
    bill = """syntax = "proto3"; package shop;
        import "bank/money.proto"; import "google/protobuf/timestamp.proto";
        message Bill { bank.Money a = 1; google.protobuf.Timestamp at = 2; }"""
    kit.register(url, f"{topic}-money", money, "PROTOBUF")
    reference = {"name": "bank/money.proto", "subject": f"{topic}-money", "version": 1}
    kit.register(url, f"{topic}-value", bill, "PROTOBUF", [reference])
    value = {"a": {"n": 1}, "at": {"seconds": 5, "nanos": 6}}
    sink = build(url, "protobuf", topic)
    assert build(url, "protobuf").decode(sink.encode(value)) == value


def test_any_type_of_a_protobuf_file(url: str, topic: str) -> None:
    schema_id = kit.register(url, f"{topic}-value", PROTOBUF, "PROTOBUF")
    head = schema_registry_head(schema_id)
    other = build(url, "protobuf", topic, message="shop.Other").encode({"a": 5})
    assert other == head + b"\x02\x02\x08\x05"
    nested = build(url, "protobuf", topic, message="shop.Order.Line").encode({"sku": "x"})
    assert nested.startswith(head + b"\x04\x00")
    source = build(url, "protobuf")
    assert source.decode(other) == {"a": 5}
    assert source.decode(nested) == {"sku": "x", "next": None}
    with pytest.raises(ValueError, match=r"no type with indexes \(7,\)"):
        source.decode(head + b"\x02\x0e")


def test_indexes_in_more_bytes_than_they_need_make_no_further_reader(
    url: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    reader = protobuf._reader
    monkeypatch.setattr(protobuf, "_reader", lambda cls: made.append(cls) or reader(cls))
    head = schema_registry_head(kit.register(url, f"{topic}-value", PROTOBUF, "PROTOBUF"))
    source = build(url, "protobuf")
    for indexes in (b"\x00", b"\x02\x00", b"\x80\x00", b"\x82\x00\x00", b"\x82\x80\x00\x80\x00"):
        assert source.decode(head + indexes + b"\x08\x05")["id"] == 5
    assert len(made) == 1


def test_a_generated_class_needs_no_look_up_at_the_source(url: str, topic: str) -> None:
    schema = """syntax = "proto3"; package google.protobuf;
        message Duration { int64 seconds = 1; int32 nanos = 2; }"""
    kit.register(url, f"{topic}-value", schema, "PROTOBUF")
    name = "google.protobuf.duration_pb2:Duration"
    data = build(url, "protobuf", topic, message=name).encode({"seconds": 5})
    source = build("http://127.0.0.1:9", "protobuf", message=name)
    assert source.decode(data) == {"seconds": 5, "nanos": 0}


def test_a_schema_that_does_not_fit_the_subject_is_refused_for_good(url: str, topic: str) -> None:
    if "ccompat" not in url:
        pytest.skip("the stand-in takes any schema")
    kit.register(url, f"{topic}-value", '"string"')
    kit.compatibility(url, f"{topic}-value", "FULL")
    with pytest.raises(SchemaRefused, match="refuses the given schema"):
        build(url, "avro", topic, schema="int", register=True).encode(5)


@BY_NAME
@pytest.mark.parametrize("part", ["value", "key"])
def test_the_id_of_a_schema_may_stand_in_a_header(case: Case, topic: str, part: str) -> None:
    """As newer serializers of Confluent's write it; Apicurio's compatible API knows no GUIDs."""
    with kit.stand_in() as registry:
        kit.register(registry.url, "other", '"int"')
        kit.register(registry.url, f"{topic}-{part}", case.schema, case.kind)
        data = build(registry.url, case.codec, topic, part=part).encode(case.values[0])
        source = build(registry.url, case.codec, part=part, schema_id="header")
        assert source.decode_with is not None
        begin = b"\x01" + uuid.UUID(registry.guid(2)).bytes
        begin, body = (
            (begin + data[5:6], data[6:]) if case.codec == "protobuf" else (begin, data[5:])
        )
        headers = [("x", b"\x00"), (f"__{part}_schema_id", begin)]
        assert source.decode_with(body, headers) == case.values[0]
        assert source.decode_with(data, [("x", None)]) == case.values[0]
        with pytest.raises(ValueError, match=r"registry's format|cut off"):
            source.decode_with(body, [(f"__{part}_schema_id", b"\x07")])
        unknown = b"\x01" * 17 + begin[17:]
        with pytest.raises(Unavailable):
            source.decode_with(body, [(f"__{part}_schema_id", unknown)])


@BY_NAME
@pytest.mark.parametrize("register", [True, False])
def test_a_sink_may_write_it_there(case: Case, topic: str, register: bool) -> None:
    with kit.stand_in() as registry:
        kit.register(registry.url, "other", '"int"')
        kit.register(registry.url, f"{topic}-value", case.schema, case.kind)
        given = {"schema": case.schema, "register": True} if register else {}
        sink = build(registry.url, case.codec, topic, schema_id="header", **given)
        source = build(registry.url, case.codec, schema_id="header")
        assert sink.headed is not None
        assert source.decode_with is not None
        head, body = sink.headed(sink.encode(case.values[0]))
        written = registry.subjects[f"{topic}-value"][-1]
        assert head[:17] == b"\x01" + uuid.UUID(registry.guid(written)).bytes
        assert source.decode_with(body, [("__value_schema_id", head)]) == case.values[0]
        with pytest.raises(ConfigError, match="is for values"):
            build(registry.url, case.codec, topic, part="key", schema_id="header")


def test_a_registry_without_guids_says_so(topic: str) -> None:
    with kit.stand_in() as registry:
        registry.guids = False
        kit.register(registry.url, f"{topic}-value", AVRO)
        with pytest.raises(ConfigError, match="no GUID"):
            build(registry.url, "avro", topic, schema_id="header").encode(ORDER)
