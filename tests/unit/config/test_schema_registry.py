"""Mistakes around `registry` and the codecs that need one: found without asking it anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafka_etl.errors import Code
from tests.unit.config.project import findings_in, pipeline, place_of, places

URL = "registry: {url: http://127.0.0.1:9}"
SOURCE = "source: {use: kafka, with: {topics: [orders], value: %s}}"
SINK = "sink: {use: kafka, with: {topic: orders-eur, value: %s}}"

MISTAKES = [
    (
        ["registry: {»ulr: http://x}"],
        Code.KAFKA_SETTING_REFUSED,
        "that pipelines may give",
        "`url`",
    ),
    (
        ["registry: {url: http://x, »basic.auth.userinfo: a:b}"],
        Code.KAFKA_SETTING_REFUSED,
        "`basic.auth.userinfo` is not a setting of the schema registry's client",
        "did you mean `basic.auth.user.info`?",
    ),
    (
        ["registry: {url: http://x, »auto.register.schemas: true}"],
        Code.KAFKA_SETTING_REFUSED,
        "cannot be set: give the codec `register: true`",
        "",
    ),
    (
        [SOURCE % "»avro", SINK % "json"],
        Code.INVALID_VALUE,
        "codec avro needs a schema registry",
        "registry: {url:",
    ),
    *(
        ([f"registry: {given}", SOURCE % "avro", SINK % "protobuf"], code, says, hint)
        for given, code, says, hint in [
            ('{url: »"http://x\\n"}', Code.INVALID_VALUE, "`url` ends with a line break", ""),
            ("{url: »localhost}", Code.INVALID_VALUE, "should begin with http://", ""),
            ("{url: »'http://x, http://'}", Code.INVALID_VALUE, "name a host", ""),
            ("»http://127.0.0.1:9", Code.INVALID_VALUE, "`registry` should be a mapping", ""),
            ("{url: »[http://x]}", Code.INVALID_VALUE, "`url` should be text", ""),
            ("{»ulr: http://x}", Code.KAFKA_SETTING_REFUSED, "that pipelines may give", "`url`"),
            ("{url: http://x, timeout: »abc}", Code.INVALID_VALUE, "should be a number", ""),
            ("{url: http://x, timeout: »0}", Code.INVALID_VALUE, "should be a number", ""),
            (
                "{url: http://x, max.retries: »true}",
                Code.INVALID_VALUE,
                "should be a whole number",
                "",
            ),
            ("{url: http://x, bearer.auth.token: »5}", Code.INVALID_VALUE, "in quotes", ""),
            (
                "{url: http://x, basic.auth.user.info: »nocolon}",
                Code.INVALID_VALUE,
                "should be USER:PASSWORD",
                "",
            ),
            (
                "{url: 'http://a:b@x', basic.auth.user.info: »'c:d'}",
                Code.INVALID_VALUE,
                "both name a user",
                "",
            ),
            (
                "{url: http://x, basic.auth.user.info: »':secret'}",
                Code.INVALID_VALUE,
                "should be USER:PASSWORD",
                "",
            ),
            *(
                (f"{{url: »'{url}'}}", Code.INVALID_VALUE, f"a host, and if a port, {says}", "")
                for url, says in [
                    ("http://localhost:abc", "one from 1 to 65535"),
                    ("http://localhost:99999", "one from 1 to 65535; it is http://localhost:99999"),
                    ("http://me:secret@local host:1", "one from 1 to 65535"),
                    ("http://a, http://b:x", "one from 1 to 65535"),
                    ("http://[::1", "one from 1 to 65535"),
                    ("http://a..b", "one from 1 to 65535; it is http://a..b"),
                    ("http://:81", "one from 1 to 65535; it is http://:81"),
                ]
            ),
            *(
                (f"{{url: http://x, {name}: »{value}}}", Code.INVALID_VALUE, f"`{name}` {says}", "")
                for name, value, says in [
                    ("proxy", "nonsense", "should begin with http://, https://, socks5:// or"),
                    ("proxy", "http://me:secret@x:y", "should name a host"),
                    ("proxy", "socks5://x:1", "needs the package socksio; it is socks5://x:1"),
                    ("ssl.ca.location", "''", "is empty: leave it out"),
                    ("max.retries", "1.5", "should be a whole number, 0 or more; it is 1.5"),
                    ("max.retries", "-1", "should be a whole number, 0 or more; it is -1"),
                    ("retries.wait.ms", "soon", "should be a number, 0 or more; it is soon"),
                    ("bearer.auth.token", "secret", "is of no use without `bearer.auth.cred"),
                    ("bearer.auth.token", '"secret\\n"', "ends with a line break: take it off"),
                    ("bearer.auth.token", '"secret "', "should be plain ASCII, without blanks"),
                    ("bearer.auth.token", '"sécret"', "should be plain ASCII, without blanks"),
                    ("bearer.auth.logical.cluster", '"secret\\n"', "ends with a line break"),
                    ("bearer.auth.identity.pool.id", '"\\u0007secret"', "holds a control"),
                    ("basic.auth.user.info", '"me:secret\\n"', "ends with a line break"),
                    ("basic.auth.user.info", '"me:\\tsecret"', "holds a control character"),
                    ("bearer.auth.credentials.source", "XX", "should be one of STATIC_TOKEN, "),
                ]
            ),
            (
                "{url: http://x, bearer.auth.credentials.source: »STATIC_TOKEN}",
                Code.INVALID_VALUE,
                "needs `bearer.auth.logical.cluster`, `bearer.auth.token`, too",
                "",
            ),
            (
                "{url: http://x, bearer.auth.credentials.source: STATIC_TOKEN, \
bearer.auth.logical.cluster: a, bearer.auth.token: secret, bearer.auth.scope: »b}",
                Code.INVALID_VALUE,
                "is of no use with `bearer.auth.credentials.source: STATIC_TOKEN`",
                "",
            ),
            (
                "{url: http://x, ssl.key.location: »a.key}",
                Code.INVALID_VALUE,
                "without `ssl.certificate.location`",
                "",
            ),
        ]
    ),
    (
        [URL, SINK % "»{use: avro, with: {register: true}}"],
        Code.INVALID_VALUE,
        "`register: true` needs a schema",
        "",
    ),
    (
        [URL, SINK % "»{use: avro, with: {subject: record}}"],
        Code.INVALID_VALUE,
        "needs the full name of a record",
        "",
    ),
    (
        [URL, SINK % "{use: avro, with: {subject: »records}}"],
        Code.INVALID_VALUE,
        "should be topic, record or topic_record",
        "",
    ),
    (
        [URL, SINK % "»{use: avro, with: {schema_file: none.avsc}}"],
        Code.INVALID_VALUE,
        "none.avsc cannot be read",
        "relative to the pipeline file",
    ),
    (
        [URL, SINK % "»{use: avro, with: {schema: int, schema_file: none.avsc}}"],
        Code.INVALID_VALUE,
        "both `schema` and `schema_file`",
        "",
    ),
    *(
        (
            [URL, SINK % f"»{{use: avro, with: {{schema: {schema}}}}}"],
            Code.INVALID_VALUE,
            f"what is given is no Avro schema: {says}",
            "",
        )
        for schema, says in [
            ("{type: array, items: B}", "there is no type `B`"),
            ("{type: recrod, name: A, fields: []}", "there is no type `recrod`"),
            ("{type: array}", "`items` is missing"),
        ]
    ),
    (
        [URL, SINK % "»{use: json_schema, with: {schema: {type: nothing}}}"],
        Code.INVALID_VALUE,
        'what is given is no JSON Schema: "nothing" is not valid',
        "",
    ),
    (
        [URL, SINK % "»{use: protobuf, with: {schema: message}}"],
        Code.INVALID_VALUE,
        "cannot be compiled: schema.proto:1:8: ",
        "",
    ),
    (
        [URL, SINK % "»{use: protobuf, with: {message: 'no_module:Class'}}"],
        Code.INVALID_VALUE,
        "No module named 'no_module'",
        "",
    ),
]


@pytest.mark.parametrize(("blocks", "code", "says", "hint"), MISTAKES)
def test_it_is_found(tmp_path: Path, blocks: list[str], code: Code, says: str, hint: str) -> None:
    text = pipeline(*blocks)
    found = findings_in(tmp_path, text)
    assert [place_of(finding) for finding in found] == places(text)
    assert found[0].code == code
    assert says in found[0].message
    assert hint in found[0].hint
    assert "kafka-etl validate" not in found[0].hint
    assert "\n" not in found[0].message
    assert "secret" not in found[0].message


@pytest.mark.parametrize(
    "more",
    [
        "timeout: '${SECONDS}'",
        "ssl.ca.location: false, max.retries: 2",
        "basic.auth.user.info: 'me:${SECONDS}'",
        "max.retries: 2.0, retries.wait.ms: 1.5",
        "basic.auth.user.info: 'me:'",
        "proxy: 'http://me:secret@proxy:3128'",
        "ssl.ca.location: /etc",
        "bearer.auth.credentials.source: STATIC_TOKEN, bearer.auth.logical.cluster: b, \
bearer.auth.token: a, bearer.auth.identity.pool.id: c",
        "bearer.auth.credentials.source: OAUTHBEARER_AZURE_IMDS, bearer.auth.logical.cluster: b, \
bearer.auth.issuer.endpoint.url: 'https://login.example/token'",
    ],
)
def test_settings_the_client_takes(tmp_path: Path, more: str) -> None:
    text = pipeline(f"registry: {{url: http://127.0.0.1:9, {more}}}", SOURCE % "avro")
    assert findings_in(tmp_path, text, {"SECONDS": "2.5"}) == []


@pytest.mark.parametrize("codec", ["avro", "json_schema", "protobuf"])
def test_nothing_is_wrong_with_a_registry_that_is_away(tmp_path: Path, codec: str) -> None:
    assert findings_in(tmp_path, pipeline(URL, SOURCE % codec, SINK % codec)) == []


def test_a_schema_in_a_file_beside_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / "order.avsc").write_text('{"type": "record", "name": "a.B", "fields": []}')
    settings = "{use: avro, with: {schema_file: order.avsc, register: true, subject: record}}"
    assert findings_in(tmp_path, pipeline(URL, SINK % settings)) == []


@pytest.mark.parametrize("codec", ["avro", "json_schema", "protobuf"])
def test_rows_of_a_table_need_no_subject(tmp_path: Path, codec: str) -> None:
    source = f"source: {{use: kafka, with: {{topics: [orders], value: {codec}, key: {codec}}}}}"
    sink = "sink: {use: sqlite, with: {path: shop.db, table: orders}}"
    assert findings_in(tmp_path, pipeline(URL, source, sink)) == []


def test_a_sink_without_topics_is_told_to_name_a_codec(tmp_path: Path) -> None:
    sink = "sink: {use: http, with: {url: 'http://localhost'%s}}"
    (finding,) = findings_in(tmp_path, pipeline(URL, SOURCE % "avro", sink % ""))
    assert "`value: json`" in (finding.hint or "")
    good = pipeline(URL, SOURCE % "avro", sink % ", value: json")
    assert findings_in(tmp_path, good) == []
