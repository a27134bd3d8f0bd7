"""What variables hold stays out of every message."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafka_etl.config.model import PipelineSpec
from kafka_etl.config.report import CLIENTS, OPEN
from tests.unit.config.project import findings_in, pipeline
from tests.unit.config.test_findings import SINKS

SECRET = "hunter2-and-more"
OPS = """
class Connects:
    def __init__(self, *, url: str) -> None:
        raise ConnectionError(f"cannot reach {url!r}")

    def __call__(self, order: dict) -> dict: ...
"""

BLOCKS = [
    "name: '${SECRET} x'",
    "workers: '${SECRET}'",
    "drain_timeout: '${SECRET}'",
    "guarantee: '${SECRET}'",
    "retry: {backoff: {jitter: '${SECRET}'}}",
    "retry: {never: ['${SECRET}']}",
    "retry: {never: ['${SECRET}:x']}",
    "dead_letter: {topic: '${SECRET} x'}",
    "source: '${SECRET}'",
    "source: {use: kafka, with: {topics: ['^(${SECRET}']}}",
    "source: {use: kafka, with: {topics: [a], value: '${SECRET}'}}",
    "source: {use: kafka, with: {topics: [a], start: '${SECRET}'}}",
    "source: {use: kafka, with: {topics: [a], batch: '${SECRET}'}}",
    "source: {use: kafka, with: {topics: [&t '${SECRET}']}}\nsink: {use: kafka, with: {topic: *t}}",
    "operators: ['${SECRET}:f']",
    "operators: ['ops:${SECRET}']",
    "operators: [{use: filter, with: {where: 'value == ${SECRET}'}}]",
    'operators: [{use: filter, with: {where: "value == \'${SECRET}"}}]',
    "operators: [{use: fields, with: {keep: '${SECRET}'}}]",
    "operators: [{use: 'ops:Connects', with: {url: 'http://me:${SECRET}@db'}}]",
    "kafka: {sasl.password: ['${SECRET}'], bootstrap.servers: x}",
    "kafka: {sasl.passwort: '${SECRET}', bootstrap.servers: x}",
]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("variable", ["${SECRET}", "${file:secret}"])
def test_a_secret_stays_out_of_every_finding(tmp_path: Path, block: str, variable: str) -> None:
    (tmp_path / "ops.py").write_text(OPS)
    (tmp_path / "secret").write_text(SECRET + "\n")
    text = pipeline(*block.replace("${SECRET}", variable).split("\n"))
    findings = findings_in(tmp_path, text, {"SECRET": SECRET})
    assert findings
    for finding in findings:
        assert SECRET not in finding.render()


REGISTRY = "registry: {url: http://127.0.0.1:9, "
LITERAL = [
    'registry:\n  url: http://127.0.0.1:9\n  basic.auth.user.info: "S3cret"',
    'registry:\n  url: http://127.0.0.1:9\n  proxy: "http://u:S3cret@p:x"',
    "registry:\n  url: http://127.0.0.1:9\n  bearer.auth.token: S3cret",
    "registry:\n  url: http://127.0.0.1:9\n  bearer.auth.token:\n    S3cret",
    "registry:\n  url: http://127.0.0.1:9\n  basic.auth.user.info: |\n    S3cret",
    REGISTRY + "basic.auth.user.info: S3cret}",
    REGISTRY + "ssl.key.password: S3cretwrong, timeout: never}",
    REGISTRY + "timeout: never, ssl.key.password: 'S3cret'}",
    REGISTRY + '\'bearer.auth.token\': "S3cret: \\"timeout: S3cret", timeout: never}',
    REGISTRY + "\n bearer.auth.token: S3cret, timeout: never}",
    "registry: {url: http://u:S3cret}",
    "registry: {url: 'http://u:S3cret,S3cret@p'}",
    "registry: {url: 'http://u:8,http://S3cret@S3cret@p:x'}",
    "registry: {url: u:S3cret}",
    "registry: u:S3cret",
    "kafka:\n  bootstrap.servers: x\n  sasl.passwordd: S3cret",
    "source:\n  use: kafka\n  with: {topics: [a]}\n  pasword: S3cret",
    "sink:\n  use: kafka\n  with:\n    topic: a\n    sercet: [S3cret]",
    "kafka:\n  bootstrap.servers: x\n  sasl.password: {a: S3cret}",
    "kafka:\n  bootstrap.servers: x\n  sasl.password: *S3cret",
    "kafka:\n  bootstrap.servers: x\n  sasl.password: !S3cret",
    "kafka:\n  bootstrap.servers: x\n  sasl.password: !S3cret!x y",
    "kafka:\n  bootstrap.servers: x\n  sasl.password: 'S3cret",
    "kafka:\n  bootstrap.servers: x\n  sasl.password: a: S3cret",
    "kafka: {bootstrap.servers: x, sasl.password: S3cret,\nclient.idd: x, sasl.username: S3cret}",
    "kafka: &k {bootstrap.servers: x, sasl.password: S3cret, client.idd: x}",
    "kafka: {client.id: &t 'a b', sasl.password: S3cret}\nsink: {use: kafka, with: {topic: *t}}",
    "kafak: {bootstrap.servers: x, sasl.password: S3cret}",
    "'kafka': {bootstrap.servers: x, sasl.password: S3cret, client.idd: x}",
    "consumer: {sasl.password: S3cret, session.timeout.m: 1}",
    "operators: [{use: 'ops:Connects', with: {password: S3cret, url: x}}]",
    "operators: [{use: 'ops:Connects', with: {rul: 'db://u:S3cret@x'}}]",
    "operators:\n- use: 'ops:Connects'\n  with:\n    password:\n      S3cret",
]


@pytest.mark.parametrize("block", LITERAL)
def test_a_password_in_the_file_stays_out_of_every_finding(tmp_path: Path, block: str) -> None:
    (tmp_path / "ops.py").write_text(OPS)
    findings = findings_in(tmp_path, pipeline(*block.split("\n\n")))
    assert findings
    for finding in findings:
        assert "S3cret" not in finding.render()


def test_a_password_on_the_one_line_of_a_file_stays_out(tmp_path: Path) -> None:
    (finding,) = findings_in(
        tmp_path,
        "{name: 'a b', kafka: {bootstrap.servers: x, sasl.password: S3cret}, "
        "source: {use: kafka, with: {topics: [a], value: json}}, sink: stdout}",
    )
    assert "S3cret" not in finding.render()


@pytest.mark.parametrize("url", ["http://u:S3cret,more@host", "http://u:8,S3c@S3cret,x@host"])
def test_an_address_from_a_variable_is_shown_without_its_user(tmp_path: Path, url: str) -> None:
    (finding,) = findings_in(tmp_path, pipeline("registry: {url: '${URL}'}"), {"URL": url})
    assert "S3c" not in finding.render()


def test_the_keys_of_the_place_are_shown_and_the_column_is_kept(tmp_path: Path) -> None:
    text = pipeline("registry: {url: http://x, basic.auth.user.info: S3cret, timeout: never, a: b}")
    rendered = findings_in(tmp_path, text)[1].render().splitlines()
    assert rendered[2:] == [
        " 5 | registry: {**** ********* ********************* ******* timeout: ***",
        "   |                                                                  ^ registry.timeout",
    ]


SHOWN = [
    "timeout: 5 min",
    "notes: []",
    "kafka: {bootstrap.servers: localhost:9092, security.protocol: SASL_SSSL}",
    "kafka:\n  bootstrap.servers: localhost:9092\n  security.protocol: SASL_SSSL",
    "kafka: {bootstrap.servers: x, fetch.min.bytes: 5}",
    "consumer: {linger.ms: 5}",
    "consumer:\n  session.timeout.ms: 'never'",
]


@pytest.mark.parametrize("block", SHOWN)
def test_a_line_that_can_hold_no_secret_is_quoted_as_it_stands(tmp_path: Path, block: str) -> None:
    (finding,) = findings_in(tmp_path, pipeline(block))
    assert finding.source == block.splitlines()[-1]
    assert "***" not in finding.render()


COVERED = [
    "kafka: {bootstrap.servers: x, client.idd: S3cret}",
    "kafka: {bootstrap.servers: x, fetch.min.bytes: 5, sasl.username: u} # S3cret is the password",
    "kafka: {bootstrap.servers: 'SASL_SSL://u:S3cret@x', fetch.min.bytes: 5}",
    "kafka:\n  bootstrap.servers: x\n  fetch.min.bytes: 5 # not S3cret any more",
    "cluster:\n  bootstrap.servers: x\n  sasl.password:\n S3cret",
    "cluster: {sasl.password: S3cret}",
    "kafkaa: {client.id: S3cret}",
    "tocken: http://u:S3cret",
    "my_password: S3cret",
]


@pytest.mark.parametrize("block", COVERED)
def test_a_line_that_may_hold_one_is_covered(tmp_path: Path, block: str) -> None:
    for finding in findings_in(tmp_path, pipeline(block)):
        assert "S3cret" not in finding.render()


def test_whatever_is_not_of_a_client_is_quoted_as_it_stands() -> None:
    assert PipelineSpec.model_fields.keys() - set(CLIENTS) == OPEN


def test_the_variable_stands_where_its_value_would(tmp_path: Path) -> None:
    (finding,) = findings_in(tmp_path, pipeline("sink: '${SINK}'"), {"SINK": "cassandra"})
    assert finding.message == f"there is no sink called `${{SINK}}`; installed: {SINKS}"


def test_a_secret_that_begins_another_leaves_nothing_of_it(tmp_path: Path) -> None:
    text = pipeline("name: '${LONG}'", "sink: '${SHORT}'", "source: '${LONG}'")
    env = {"SHORT": "password", "LONG": "password-and-more"}
    for finding in findings_in(tmp_path, text, env):
        assert "and-more" not in finding.render()


def test_what_the_file_itself_says_is_shown(tmp_path: Path) -> None:
    (finding,) = findings_in(tmp_path, pipeline("sink: '${SINK:-cassandra}'"))
    assert "`cassandra`" in finding.message
