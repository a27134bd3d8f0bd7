"""Every kind of mistake in a pipeline file: code, place, what is allowed, what was meant."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kafka_etl.config.report import OPEN, Finding, config_error, without_echoes
from kafka_etl.errors import Code
from kafka_etl.kafka.client.allowed_settings import ALLOWED
from kafka_etl.plugins import PluginRegistry
from tests.unit.config.project import MARK, findings_in, pipeline, place_of, places, without

TOP = [
    "consumer",
    "dead_letter",
    "drain_timeout",
    "guarantee",
    "kafka",
    "name",
    "operators",
    "producer",
    "registry",
    "retry",
    "sink",
    "source",
    "tests",
    "workers",
]
SOURCE = ["batch", "group", "key", "membership", "start", "topics", "value"]
SINK = ["create", "key", "routes", "set", "timestamp", "topic", "value"]
SINKS = ", ".join(sorted(p.name for p in PluginRegistry.installed() if p.kind == "sinks"))

DURATION = "should be a duration with its unit, such as 20ms, 5s, 10m or 1h"
SIZE = "should be a size with its unit, such as 16MiB, 1MB or 512KiB"
TOPIC = "should be a topic name: letters, digits, `.`, `_`, `-`, at most 249"


@dataclass(frozen=True)
class Mistake:
    """One finding, at the mark in `block`, which takes the place of the good one."""

    block: str
    code: Code
    says: str
    hint: str = ""
    allowed: list[str] = field(default_factory=list)


UNKNOWN_KEYS = [
    Mistake("»kafka2: {}", Code.UNKNOWN_KEY, "unknown key `kafka2`", "did you mean `kafka`?", TOP),
    Mistake("»colours: []", Code.UNKNOWN_KEY, "unknown key `colours`", "", TOP),
    Mistake(
        "source: {use: kafka, with: {topics: [orders], value: json}, »whith: {}}",
        Code.UNKNOWN_KEY,
        "unknown key `whith`",
        "did you mean `with`?",
        ["use", "with"],
    ),
    Mistake(
        "source:\n  use: kafka\n  with:\n    topics: [orders]\n    »grup: g",
        Code.UNKNOWN_KEY,
        "unknown key `grup`",
        "did you mean `group`?",
        SOURCE,
    ),
    Mistake(
        "source: {use: kafka, with: {topics: [orders], batch: {»max_record: 3}}}",
        Code.UNKNOWN_KEY,
        "unknown key `max_record`",
        "did you mean `max_records`?",
        ["max_bytes", "max_records", "max_wait"],
    ),
    Mistake(
        "operators:\n  - use: filter\n    with: {where: 'true'}\n    »time_out: 5s",
        Code.UNKNOWN_KEY,
        "unknown key `time_out`",
        "did you mean `timeout`?",
        ["concurrency", "isolation", "name", "order", "retry", "timeout", "use", "with"],
    ),
    Mistake(
        "retry: {backoff: {»facter: 2}}",
        Code.UNKNOWN_KEY,
        "unknown key `facter`",
        "did you mean `factor`?",
        ["factor", "initial", "jitter", "max"],
    ),
    Mistake(
        "dead_letter: {topic: d, create: {»partition: 5}}",
        Code.UNKNOWN_KEY,
        "unknown key `partition`",
        "did you mean `partitions`?",
        ["config", "partitions", "replication_factor"],
    ),
]

OPERATOR = ["concurrency", "isolation", "name", "order", "retry", "timeout", "use", "with"]
ELSEWHERE = [
    Mistake(
        "»timeout: 5 min",
        Code.UNKNOWN_KEY,
        "unknown key `timeout`",
        "`timeout` belongs beside the `use` of an operator",
        TOP,
    ),
    Mistake(
        "»topics: [a]",
        Code.UNKNOWN_KEY,
        "unknown key `topics`",
        "`topics` belongs under `source.with`",
        TOP,
    ),
    Mistake(
        "»max_attempts: 3",
        Code.UNKNOWN_KEY,
        "unknown key `max_attempts`",
        "`max_attempts` belongs under `retry`",
        TOP,
    ),
    Mistake(
        "operators: [{use: filter, with: {where: 'true'}, »workers: 3}]",
        Code.UNKNOWN_KEY,
        "unknown key `workers`",
        "`workers` belongs at the top of the file",
        OPERATOR,
    ),
    Mistake(
        "source: {use: kafka, with: {topics: [a], value: json}, »group: g}",
        Code.UNKNOWN_KEY,
        "unknown key `group`",
        "`group` belongs under `source.with`",
        ["use", "with"],
    ),
    Mistake(
        "source: {use: kafka, with: {topics: [a], »topic: b}}",
        Code.UNKNOWN_KEY,
        "unknown key `topic`",
        "did you mean `topics`?",
        SOURCE,
    ),
    Mistake(
        "kafka: {bootstrap.servers: x, »consumer: {session.timeout.ms: 1}}",
        Code.UNKNOWN_KEY,
        "unknown key `consumer`",
        "`consumer` belongs at the top of the file",
    ),
    Mistake(
        "kafka: {bootstrap.servers: x, »sasl: {username: a}}",
        Code.INVALID_VALUE,
        "`sasl` is a mapping",
        "the names of clients' settings have dots in them: `sasl.username: …`",
    ),
    Mistake(
        "source: {use: kafka, with: {topics: [a], value: json}, »topics: [b]}",
        Code.UNKNOWN_KEY,
        "unknown key `topics`",
        "`topics` belongs under `source.with`",
        ["use", "with"],
    ),
    Mistake(
        "source: {use: kafka, with: {topics: [a], value: json}, »value: json}",
        Code.UNKNOWN_KEY,
        "unknown key `value`",
        "`value` belongs under `source.with`",
        ["use", "with"],
    ),
    Mistake(
        "operators: [{use: filter, with: {where: 'true'}, »colour: red}]",
        Code.UNKNOWN_KEY,
        "unknown key `colour`",
        "settings of `filter` belong under `with`",
        OPERATOR,
    ),
]

MISSING_KEYS = [
    Mistake("»sink: kafka", Code.MISSING_KEY, "`topic` is missing", "", SINK),
    Mistake("sink: {use: kafka, »with: {}}", Code.MISSING_KEY, "`topic` is missing", "", SINK),
    Mistake(
        "source:\n  use: kafka\n  »with:\n    value: json",
        Code.MISSING_KEY,
        "`topics` is missing",
        "",
        SOURCE,
    ),
    Mistake(
        "operators:\n  - use: filter\n    with: {where: 'true'}\n  - »timeout: 5s",
        Code.MISSING_KEY,
        "`use` is missing",
        "",
        ["concurrency", "isolation", "name", "order", "retry", "timeout", "use", "with"],
    ),
    Mistake(
        "dead_letter: »{format: raw}",
        Code.INVALID_VALUE,
        "`dead_letter`: needs one of `topic`, `table` (of a store) and `use` (another sink)",
    ),
    Mistake(
        "dead_letter: »{topic: t.dlq, format: envelope, compat: connect}",
        Code.INVALID_VALUE,
        "`dead_letter`: `compat` belongs to `format: raw` in a topic, which has headers",
    ),
    Mistake(
        "dead_letter: »{use: http, compat: connect}",
        Code.INVALID_VALUE,
        "`dead_letter`: `compat` belongs to `format: raw` in a topic, which has headers",
    ),
    Mistake(
        "»kafka: {client.id: a}",
        Code.MISSING_KEY,
        "`bootstrap.servers` is missing under `kafka`",
        "kafka: {bootstrap.servers: localhost:9092}",
    ),
]

VALUES = [
    # no value
    Mistake("»name:", Code.INVALID_VALUE, "`name` has no value"),
    Mistake("»operators:", Code.INVALID_VALUE, "`operators` has no value"),
    Mistake("operators: [»null]", Code.INVALID_VALUE, "`operators[0]` has no value"),
    Mistake("guarantee: »[]", Code.INVALID_VALUE, "`guarantee` should be exactly_once, effectiv"),
    # wrong type
    Mistake("name: »5", Code.INVALID_VALUE, "`name` should be text"),
    Mistake("workers: »many", Code.INVALID_VALUE, "`workers` should be a whole number"),
    Mistake("workers: »1.5", Code.INVALID_VALUE, "`workers` should be a whole number"),
    Mistake("workers: »{a: 1}", Code.INVALID_VALUE, "`workers` should be a whole number"),
    Mistake("retry: »5", Code.INVALID_VALUE, "`retry` should be a mapping"),
    Mistake("producer: »[a]", Code.INVALID_VALUE, "`producer` should be a mapping"),
    Mistake(
        "kafka: »localhost:9092",
        Code.INVALID_VALUE,
        "`kafka` should be a mapping",
        "kafka: {bootstrap.servers: localhost:9092}",
    ),
    Mistake("operators: »{}", Code.INVALID_VALUE, "`operators` should be a list"),
    Mistake("operators: [»5]", Code.INVALID_VALUE, "`operators[0]` should be a mapping"),
    Mistake("operators: [{use: »5}]", Code.INVALID_VALUE, "`use` should be text"),
    Mistake("retry: {never: »ValueError}", Code.INVALID_VALUE, "`never` should be a list"),
    Mistake("retry: {backoff: {factor: »x}}", Code.INVALID_VALUE, "`factor` should be a number"),
    Mistake(
        "consumer: {session.timeout.ms: »[1]}",
        Code.INVALID_VALUE,
        "`session.timeout.ms` should be text, a whole number, a number or true or false",
    ),
    Mistake(
        "dead_letter: {topic: d, create: »5}",
        Code.INVALID_VALUE,
        "`create` should be a mapping or false",
    ),
    Mistake(
        "source: {use: kafka, with: {topics: »5}}",
        Code.INVALID_VALUE,
        "`topics` should be a list",
    ),
    Mistake(
        "source: {use: kafka, with: {topics: [a, »5]}}",
        Code.INVALID_VALUE,
        "`topics[1]` should be text",
    ),
    Mistake("sink: {use: kafka, with: »[]}", Code.INVALID_VALUE, "`with` should be a mapping"),
    # units and limits
    Mistake("drain_timeout: »5", Code.INVALID_VALUE, f"`drain_timeout` {DURATION}"),
    Mistake("drain_timeout: »5 sec", Code.INVALID_VALUE, f"`drain_timeout` {DURATION}"),
    Mistake("drain_timeout: »2h", Code.INVALID_VALUE, "`drain_timeout` should be at most 1h"),
    Mistake("workers: »0", Code.INVALID_VALUE, "`workers` should be at least 1"),
    Mistake("workers: »1000", Code.INVALID_VALUE, "`workers` should be at most 256"),
    Mistake(
        "operators: [{use: filter, with: {where: 'true'}, timeout: »0s}]",
        Code.INVALID_VALUE,
        "`timeout` should be more than 0s",
    ),
    Mistake(
        "source: {use: kafka, with: {topics: [a], batch: {max_bytes: »16MX}}}",
        Code.INVALID_VALUE,
        f"`max_bytes` {SIZE}",
    ),
    Mistake(
        "source: {use: kafka, with: {topics: [a], batch: {max_records: »2_000_000}}}",
        Code.INVALID_VALUE,
        "`max_records` should be at most 1,000,000",
    ),
    # choices
    Mistake(
        "guarantee: »exactly_onc",
        Code.INVALID_VALUE,
        "`guarantee` should be exactly_once, effectively_once or at_least_once",
        "did you mean `exactly_once`?",
    ),
    Mistake(
        "retry: {backoff: {jitter: »ful}}",
        Code.INVALID_VALUE,
        "`jitter` should be full or none",
        "did you mean `full`?",
    ),
    Mistake(
        "source: {use: kafka, with: {topics: [a], start: »earlist}}",
        Code.INVALID_VALUE,
        "`start` should be earliest, latest or a date and time",
        "did you mean `earliest`?",
    ),
    Mistake(
        "source: {use: kafka, with: {topics: [a], start: »2024-13-01}}",
        Code.INVALID_VALUE,
        "`start` should be earliest, latest or a date and time",
    ),
    # names
    Mistake(
        "name: »Orders EUR",
        Code.INVALID_VALUE,
        "`name` should be lower-case letters, digits, `-`, `.` or `_`, at most 100",
    ),
    Mistake("dead_letter: {topic: »a b}", Code.INVALID_VALUE, f"`topic` {TOPIC}"),
    Mistake(
        "dead_letter: {topic: d, limit: »{window: 50, min_records: 5}}",
        Code.INVALID_VALUE,
        "`limit`: `min_records` and `window` belong to `max_ratio`, which is not set",
    ),
    Mistake(
        "dead_letter: {topic: d, limit: »{max_ratio: 0.5, window: 50}}",
        Code.INVALID_VALUE,
        "`limit`: `min_records` (100) should be at most `window` (50)",
    ),
    Mistake(
        "dead_letter: »{use: stdout, limit: {new_kinds_within: 1h}}",
        Code.INVALID_VALUE,
        "`dead_letter`: `new_kinds_within` needs `topic`, which holds the known kinds",
    ),
    Mistake(
        "dead_letter: {use: »files, with: {folder: letters}}",
        Code.INVALID_VALUE,
        "sink files keeps offsets beside its rows, so that nothing else is written there",
        "write to a topic, and from there to files with a pipeline of its own: "
        "`dead_letter: {topic: NAME}`",
    ),
    Mistake(
        "dead_letter: {topic: d, hooks: [»{}]}",
        Code.INVALID_VALUE,
        "`hooks[0]`: needs one of `url` and `topic`",
    ),
    Mistake(
        "dead_letter: {topic: d, limit: {new_kinds_within: »60}}",
        Code.INVALID_VALUE,
        f"`new_kinds_within` {DURATION}",
    ),
    Mistake(
        "sink: {use: kafka, with: {topic: a, routes: [b, »'..']}}",
        Code.INVALID_VALUE,
        f"`routes[1]` {TOPIC}",
    ),
    Mistake(
        "source: {use: kafka, with: {topics: »['a b']}}", Code.INVALID_VALUE, f"`topics` {TOPIC}"
    ),
    Mistake(
        "source: {use: kafka, with: {topics: »[]}}",
        Code.INVALID_VALUE,
        "`topics` should have at least 1 item",
    ),
    Mistake(
        "source: {use: kafka, with: {topics: »['^(']}}",
        Code.INVALID_VALUE,
        "`topics` has a ( too many",
    ),
    Mistake(
        "source: {use: kafka, with: {topics: »['^a', b]}}",
        Code.INVALID_VALUE,
        "`topics` should be topic names, or one regular expression, not both",
    ),
]

PLUGINS = [
    Mistake(
        "source: {use: »kafak, with: {}}",
        Code.UNKNOWN_PLUGIN,
        "there is no source called `kafak`; installed: kafka",
        "did you mean `kafka`?",
    ),
    Mistake(
        "sink: »stdot",
        Code.UNKNOWN_PLUGIN,
        f"there is no sink called `stdot`; installed: {SINKS}",
        "did you mean `stdout`?",
    ),
    Mistake(
        "operators: [»filtr]",
        Code.UNKNOWN_PLUGIN,
        "there is no operator called `filtr`; installed: explode, fields, filter, map",
        "did you mean `filter`?",
    ),
    Mistake(
        "source: {use: kafka, with: {topics: [a], value: »jsn}}",
        Code.UNKNOWN_PLUGIN,
        "there is no codec called `jsn`; installed: avro, bytes, json, json_schema, protobuf, text",
        "did you mean `json`?",
    ),
    Mistake(
        "sink: {use: kafka, with: {topic: a, key: »jsn}}",
        Code.UNKNOWN_PLUGIN,
        "there is no codec called `jsn`",
        "did you mean `json`?",
    ),
]

CLIENT_SETTINGS = [
    Mistake(
        "consumer: {»session.timeout.m: 1}",
        Code.KAFKA_SETTING_REFUSED,
        "`session.timeout.m` is not a client setting that pipelines may give",
        "did you mean `session.timeout.ms`?",
        sorted(ALLOWED["consumer"]),
    ),
    Mistake(
        "consumer: {»linger.ms: 5}",
        Code.KAFKA_SETTING_REFUSED,
        "`linger.ms` belongs under `producer`",
    ),
    Mistake(
        "kafka: {bootstrap.servers: x, »fetch.min.bytes: 5}",
        Code.KAFKA_SETTING_REFUSED,
        "`fetch.min.bytes` belongs under `consumer`",
    ),
    Mistake(
        "consumer:\n  »group.id: x",
        Code.KAFKA_SETTING_REFUSED,
        "`group.id` cannot be set: set `source.with.group`",
    ),
    Mistake(
        "kafka: {bootstrap.servers: x, security.protocol: »SASL_SSSL}",
        Code.INVALID_VALUE,
        "`security.protocol` should be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
        "did you mean `SASL_SSL`?",
    ),
    Mistake("producer: {linger.ms: »5ms}", Code.INVALID_VALUE, "`linger.ms` should be a number"),
    Mistake(
        "producer: {»plugin.library.paths: x}",
        Code.KAFKA_SETTING_REFUSED,
        "`plugin.library.paths` cannot be set: it loads a library into the process",
    ),
]

ACROSS_PARTS = [
    Mistake(
        "sink: {use: kafka, with: {topic: »orders}}",
        Code.TOPIC_LOOP,
        "the source reads topic orders, which the pipeline writes",
    ),
    Mistake(
        "sink: {use: kafka, with: {topic: a, routes: [b, »'^ord']}}",
        Code.TOPIC_LOOP,
        "the source reads orders, which this pattern lets the pipeline write",
    ),
    Mistake(
        "sink: {use: kafka, with: {topic: a, routes: ['^b', »'^a[.]']}}\n"
        "dead_letter: {topic: a.dlq}",
        Code.TOPIC_LOOP,
        "this pattern lets outputs mix with dead letters in topic a.dlq",
    ),
    Mistake(
        "sink: {use: kafka, with: {topic: a, routes: [»'^a\\d']}}",
        Code.INVALID_VALUE,
        "`routes[0]` has `\\d`, which the Kafka client does not know: write [0-9]",
    ),
    Mistake(
        "sink: {use: kafka, with: {topic: a, routes: [b, »'^.*']}}",
        Code.INVALID_VALUE,
        "`routes[1]` should not match __consumer_offsets, which is Kafka's own; begin the pattern "
        "with what the topics' names begin with",
    ),
    Mistake(
        "sink: {use: kafka, with: {topic: a, routes: [b, »orders]}}",
        Code.TOPIC_LOOP,
        "the source reads topic orders, which the pipeline writes",
    ),
    Mistake(
        "dead_letter: {topic: »orders}",
        Code.TOPIC_LOOP,
        "the source reads topic orders, which the pipeline writes",
        "name another topic: the pipeline would read again",
    ),
    Mistake(
        "dead_letter: {topic: »orders-eur}",
        Code.TOPIC_LOOP,
        "dead letters and outputs would mix in topic orders-eur",
        "name a topic of their own, such as `orders-eur.dlq`",
    ),
    Mistake(
        "dead_letter: {topic: d, hooks: [{url: 'http://h'}, {topic: »orders}]}",
        Code.TOPIC_LOOP,
        "the source reads topic orders, which the pipeline writes",
    ),
    Mistake(
        "dead_letter: {topic: d, hooks: [{topic: »d}]}",
        Code.TOPIC_LOOP,
        "notices and other records would mix in topic d",
    ),
    Mistake(
        "sink: stdout\nguarantee: »exactly_once",
        Code.GUARANTEE_NOT_HELD,
        "guarantee exactly_once cannot be held: sink stdout holds at_least_once (lines are written "
        "before offsets move)",
        "leave `guarantee` out to run with what the parts hold, or change the sink",
    ),
]

RETRIES = [
    Mistake(
        "retry: {never: [ValueError, »ValueEror]}",
        Code.UNKNOWN_PLUGIN,
        "module builtins has no `ValueEror`",
        "did you mean `ValueError`?",
    ),
    Mistake(
        "retry: {only: [»'nomod:Error']}",
        Code.UNKNOWN_PLUGIN,
        "there is no module `nomod`",
        "Put the module beside the pipeline file, or install its package.",
    ),
    Mistake(
        "retry: {never: [»json.loads]}",
        Code.INVALID_VALUE,
        "`json.loads` is not an exception class",
        "write `module:Class`",
    ),
    Mistake(
        "operators: [{use: filter, with: {where: 'true'}, retry: {never: [»int]}}]",
        Code.INVALID_VALUE,
        "`int` is not an exception class",
        "write `module:Class`",
    ),
]

TYPES = [
    Mistake("mode: »tsak", Code.INVALID_VALUE, "`mode` should be task", "did you mean `task`?"),
    Mistake("mode: »stream", Code.INVALID_VALUE, "`mode` should be task", "leave it out"),
    Mistake(
        "dead_letter: {topic: d, hooks: [{url: »hooks.example}]}",
        Code.INVALID_VALUE,
        "`url` should look like `https://hooks.example/dead-letters`",
    ),
    Mistake("workers: »true", Code.INVALID_VALUE, "`workers` should be a whole number"),
    Mistake("retry: {backoff: {factor: »true}}", Code.INVALID_VALUE, "`factor` should be a number"),
    Mistake(
        "source: {use: kafka, with: {topics: [orders], batch: {max_records: »yes}}}",
        Code.INVALID_VALUE,
        "`max_records` should be a whole number",
    ),
    Mistake(
        "source: {use: kafka, with: {topics: [orders], batch: {max_records: »true}}}",
        Code.INVALID_VALUE,
        "`max_records` should be a whole number",
    ),
    Mistake(
        "kafka: {bootstrap.servers: »9092}",
        Code.INVALID_VALUE,
        "`bootstrap.servers` should be text, such as localhost:9092",
    ),
    Mistake(
        "consumer: {fetch.min.bytes: »-1}",
        Code.INVALID_VALUE,
        "`fetch.min.bytes` should be at least 0",
    ),
    Mistake(
        "consumer: {»fetch.min.bytes: {}}",
        Code.INVALID_VALUE,
        "`fetch.min.bytes` is a mapping",
        "give it one value",
    ),
    Mistake(
        "retry: {backoff: {jitter: »[none]}}",
        Code.INVALID_VALUE,
        "`jitter` should be full or none",
    ),
    Mistake(
        "operators: [{use: filter, with: {where: 'true'}, order: key, concurrency: »none}]",
        Code.INVALID_VALUE,
        "`concurrency` should be a whole number",
    ),
    Mistake(
        "operators: [{use: filter, with: {where: »value a}}]",
        Code.INVALID_VALUE,
        "one is `value.amount > 10 and key != 'a'`",
    ),
]

ALL = [
    *TYPES,
    *UNKNOWN_KEYS,
    *ELSEWHERE,
    *MISSING_KEYS,
    *VALUES,
    *PLUGINS,
    *CLIENT_SETTINGS,
    *ACROSS_PARTS,
    *RETRIES,
]


@pytest.mark.parametrize("mistake", ALL, ids=lambda mistake: mistake.block.replace("\n", " "))
def test_a_mistake_is_one_finding_that_says_it_all(tmp_path: Path, mistake: Mistake) -> None:
    text = pipeline(mistake.block)
    (finding,) = findings_in(tmp_path, text)
    assert finding.code == mistake.code
    assert mistake.says in finding.message
    assert [place_of(finding)] == places(text)
    if mistake.block.replace(MARK, "").partition(":")[0] in OPEN:
        assert finding.source == text.replace(MARK, "").splitlines()[place_of(finding)[0] - 1]
    assert mistake.hint in finding.hint if mistake.hint else "did you mean" not in finding.hint
    if mistake.allowed or mistake.code in {Code.UNKNOWN_KEY, Code.MISSING_KEY}:
        assert list(finding.allowed) == mistake.allowed


def test_settings_of_another_sink_are_told(tmp_path: Path) -> None:
    found = findings_in(tmp_path, pipeline("sink: {use: postgres, with: {topic: a, value: json}}"))
    hints = {finding.message: finding.hint for finding in found}
    assert hints["unknown key `topic`"] == "`topic` is a setting of sink `kafka`"
    assert hints["unknown key `value`"] == (
        "did you mean `table`? `value` is a setting of sink `kafka`"
    )


@pytest.mark.parametrize(
    ("block", "hint"),
    [
        (
            "operators: [{filter: 'value.x'}]",
            "did you mean `use: filter, with: {where: …}`?",
        ),
        ("sink: {stdout: {}}", "did you mean `use: stdout, with: {…}`?"),
    ],
)
def test_a_plugin_in_place_of_use_is_told(tmp_path: Path, block: str, hint: str) -> None:
    found = findings_in(tmp_path, pipeline(block))
    assert [f.code for f in found] == [Code.MISSING_KEY, Code.UNKNOWN_KEY]
    assert found[1].hint == hint


def test_tasks_without_their_mode_are_one_finding(tmp_path: Path) -> None:
    text = without("sink") + "operator: ops:f\n»on_success: {use: kafka, with: {topic: a}}\n"
    (finding,) = findings_in(tmp_path, text)
    assert finding.code == Code.MISSING_KEY
    assert finding.message == "`mode` is missing: `on_success` is for tasks"
    assert "`mode: task`" in finding.hint
    assert [place_of(finding)] == places(text)


GOOD = [
    "name: a",
    "guarantee: exactly_once",
    "guarantee: at_least_once",
    "sink: stdout\nguarantee: at_least_once",
    "operators: []",
    "operators: [{use: filter, with: {where: 'true'}}, {use: filter, with: {where: 'true'}}]",
    "source: {use: kafka, with: {topics: [orders], value: json, start: 2024-01-01}}",
    "source: {use: kafka, with: {topics: ['^s[.]'], value: json, start: '2024-01-01T00:00+02:00'}}",
    "sink: {use: kafka, with: {topic: a, create: {config: {retention.ms: -1}}}}",
    "dead_letter: {topic: a, create: false}",
    "retry: {never: [KeyError, json.JSONDecodeError], only: []}",
    "drain_timeout: 0",
    "x-retry: &r {max_attempts: 2}\nretry: *r",
    "x-anything: [1, {a: b}]",
    "workers: '3'",
]


@pytest.mark.parametrize("block", GOOD)
def test_what_is_no_mistake_has_no_finding(tmp_path: Path, block: str) -> None:
    assert findings_in(tmp_path, pipeline(*block.split("\n"))) == []


@pytest.mark.parametrize("name", ["name", "source", "sink"])
def test_a_missing_part_is_named_at_the_first_line(tmp_path: Path, name: str) -> None:
    finding = findings_in(tmp_path, "# a comment\n" + without(name))[0]
    assert (finding.code, finding.message) == (Code.MISSING_KEY, f"`{name}` is missing")
    assert place_of(finding) == (2, 1)
    assert list(finding.allowed) == TOP


def test_a_pipeline_without_a_cluster_is_told_how_to_name_it(tmp_path: Path) -> None:
    (finding,) = findings_in(tmp_path, without("kafka"))
    assert finding.code == Code.MISSING_KEY
    assert "bootstrap.servers" in finding.hint


def test_a_codec_that_the_sink_takes_over_is_named_once(tmp_path: Path) -> None:
    text = pipeline(
        "source: {use: kafka, with: {topics: [a], value: »jsn}}",
        "sink: {use: kafka, with: {topic: b}}",
    )
    (finding,) = findings_in(tmp_path, text)
    assert [place_of(finding)] == places(text)


def test_a_pattern_that_reads_the_sink_is_a_loop(tmp_path: Path) -> None:
    text = pipeline(
        "source: {use: kafka, with: {topics: ['^orders']}}",
        "sink: {use: kafka, with: {topic: »orders-eur}}",
    )
    (finding,) = findings_in(tmp_path, text)
    assert finding.code == Code.TOPIC_LOOP
    assert [place_of(finding)] == places(text)


def test_all_mistakes_of_a_file_are_named_in_one_run(tmp_path: Path) -> None:
    """Those of the file's own keys do not hide those of plug-ins, and the other way round."""
    text = pipeline(
        "name: »Bad Name",
        "kafka: {»bootstrap.server: x}",
        "source: {use: kafka, with: {topics: [orders], »grup: g}}",
        "operators:\n  - »filtr\n  - use: filter\n    with: {where: »'valu == 1'}\n    timeout: »5",
        "sink: {use: kafka, with: {topic: orders-eur, routes: [»orders eur]}}",
        "retry: {backoff: {»facter: 2}}",
        "dead_letter: {topic: »'a b'}",
        "»worker: 2",
    )
    found = findings_in(tmp_path, text)
    expected = places(text)
    # The missing key beside its misspelling: at `kafka`.
    assert [place_of(f) for f in found if f.code != Code.MISSING_KEY] == expected
    assert [f.message for f in found if f.code == Code.MISSING_KEY] == [
        "`bootstrap.servers` is missing under `kafka`"
    ]


def test_a_list_with_a_broken_entry_is_not_checked_further(tmp_path: Path) -> None:
    """Its later entries would be named at the wrong place."""
    text = pipeline("operators:\n  - »timeout: 5s\n  - fields\n  - filtr")
    (finding,) = findings_in(tmp_path, text)
    assert [place_of(finding)] == places(text)


def test_what_follows_from_an_unset_variable_is_not_named(tmp_path: Path) -> None:
    text = pipeline(
        "kafka: {bootstrap.servers: »'${KAFKA}'}",
        "source: {use: kafka, with: {topics: [»'${TOPIC}'], batch: {max_wait: »'${WAIT}'}}}",
        "workers: »'${WORKERS}'",
        "dead_letter: {topic: »'a b'}",
    )
    found = findings_in(tmp_path, text)
    assert [place_of(f) for f in found] == places(text)
    assert [f.code for f in found] == [Code.VARIABLE_NOT_SET] * 4 + [Code.INVALID_VALUE]


def test_an_unset_variable_hides_nothing_in_another_file() -> None:
    loc = ("name",)
    unset = Finding(Code.VARIABLE_NOT_SET, "not set", Path("a.yaml"), loc)
    other = Finding(Code.INVALID_VALUE, "wrong", Path("b.yaml"), loc)
    assert without_echoes([unset, other]) == [unset, other]


def test_a_mistake_behind_an_alias_is_named_at_its_anchor(tmp_path: Path) -> None:
    text = pipeline(
        "source: {use: kafka, with: &with {topics: [orders], »grup: g}}",
        "retry: &retry {max_attempts: »0}",
        "operators: [{use: filter, with: {where: 'true'}, retry: *retry}]",
    )
    found = findings_in(tmp_path, text)
    assert sorted({place_of(f) for f in found}) == places(text)


def test_a_mistake_that_is_merged_in_is_named_where_it_stands(tmp_path: Path) -> None:
    text = pipeline(
        "retry: &retry {max_attempts: 3, backoff: {jitter: »maybe}}",
        "operators: [{use: filter, with: {where: 'true'}, retry: {<<: *retry, max_attempts: »0}}]",
    )
    found = findings_in(tmp_path, text)
    assert sorted({place_of(f) for f in found}) == sorted(places(text))


def test_the_error_lists_everything_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = findings_in(tmp_path, pipeline("workers: 0", "name: A", "drain_timeout: 1"))
    error = config_error(found[::-1])
    assert error.code == "E100"
    assert error.exit_status == 2
    assert error.what.startswith("3 problems in the configuration\n\nerror[E106]: `name`")
    names = [line.split("`")[1] for line in error.what.splitlines() if line.startswith("error[")]
    assert names == ["name", "workers", "drain_timeout"]


PATIENCE = [
    Mistake(
        "operators: [{use: filter, with: {where: value.a}, timeout: 10m}]\n"
        "consumer: {max.poll.interval.ms: »599999}",
        Code.KAFKA_SETTING_REFUSED,
        "`max.poll.interval.ms` is shorter than the 10m that a record may be in the operators",
        "leave it out, or lower the `timeout` of filter, which is 10m",
    ),
    Mistake(
        "operators: [{use: filter, with: {where: value.a}}]\n"
        "consumer: {max.poll.interval.ms: »60000}",
        Code.KAFKA_SETTING_REFUSED,
        "`max.poll.interval.ms` is shorter than the 5m that a record may be in the operators",
        "leave it out, or lower the `timeout` of filter, which is 5m",
    ),
    Mistake(
        "operators:\n- {use: filter, with: {where: value.a}, timeout: 12h}\n"
        "- {use: filter, with: {where: value.b}, timeout: »13h}",
        Code.INVALID_VALUE,
        "a record may be 25h in the operators, by their `timeout`: the Kafka client waits 1d at",
        "lower it",
    ),
]


@pytest.mark.parametrize("mistake", PATIENCE, ids=lambda mistake: mistake.block.replace("\n", " "))
def test_the_client_has_to_wait_as_long_as_operators_may_take(
    tmp_path: Path, mistake: Mistake
) -> None:
    text = pipeline() + mistake.block
    (finding,) = findings_in(tmp_path, text)
    assert (finding.code, finding.hint) == (mistake.code, mistake.hint)
    assert mistake.says in finding.message
    assert [place_of(finding)] == places(text)


def test_one_operator_may_take_a_whole_day_beside_others_that_say_nothing(tmp_path: Path) -> None:
    long = "{use: filter, with: {where: value.a}, timeout: 24h}"
    short = "{use: filter, with: {where: value.b}}"
    assert findings_in(tmp_path, pipeline(f"operators: [{long}, {short}]")) == []
