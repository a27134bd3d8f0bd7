"""Each check of `kafka-etl doctor`: facts in, results out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.cli.doctor import rendered
from kafka_etl.contracts import Deployment, Preflight, Unreachable
from kafka_etl.doctor import checks
from kafka_etl.doctor.checks import Result, diagnose
from kafka_etl.doctor.facts import (
    ClusterFacts,
    Facts,
    GroupFacts,
    HostFacts,
    TargetFacts,
    TopicFacts,
    TopicNeeds,
)
from kafka_etl.doctor.gather import _target
from kafka_etl.errors import Problem, SinkFailed
from kafka_etl.kafka.client.api_versions import ask_versions
from kafka_etl.kafka.cluster.acls import Acl, Grant, Told, grant_of, user_of
from kafka_etl.testing import deployment
from kafka_etl_connectors.sqlite import SINK as SQLITE
from tests.kit.daemon import command, free_port
from tests.kit.listener import plain_listener
from tests.kit.pages import blocks
from tests.unit.config.project import pipeline

DAY = 86_400_000
VERSIONS = {0: (0, 12), 1: (4, 17), 3: (0, 13), 11: (0, 9), 28: (0, 5)}
SETTINGS = {
    "cleanup.policy": "delete",
    "retention.ms": str(7 * DAY),
    "max.message.bytes": "1048588",
    "min.insync.replicas": "2",
    "message.timestamp.type": "CreateTime",
}
RIGHTS = frozenset({"READ", "WRITE", "DESCRIBE"})


def topic(name: str, *uses: Any, settings: dict[str, str] | None = None, **more: Any) -> TopicFacts:
    known: dict[str, Any] = {"partitions": 4, "replicas": 3, "in_sync": 3, "rights": RIGHTS}
    return TopicFacts(name, frozenset(uses), settings=SETTINGS | (settings or {}), **(known | more))


IN = topic("orders", "source", newest_ms=1_000_000)
OUT = topic("orders-eur", "sink")
DEAD = topic("orders.dlq", "dead letters")
GOOD = Facts(
    now_ms=1_000_000,
    host=HostFacts("3.12.1", "2.16.1", "2.16.0", state_folder="/state", free_bytes=1 << 40),
    cluster=ClusterFacts("localhost:9092", 3, VERSIONS),
    pipeline="orders",
    atomic=True,
    topics=(IN, OUT, DEAD),
    group=GroupFacts("orders", rights=frozenset({"READ"})),
    targets=(TargetFacts("dead letters to http"),),
    transactional_id="kafka-etl.orders.host.0",
    grant=Grant.GRANTED,
)
NEEDS = TopicNeeds(4, {"cleanup.policy": "delete"}, 8 * DAY, 1_000_000)
KEEPS = {"retention.ms": str(8 * DAY), "retention.bytes": "-1"}
INBOX = topic("orders.inbox", "inbox", settings=KEEPS, needs=NEEDS)
JOURNAL = topic(
    "orders.journal",
    "journal",
    settings={"cleanup.policy": "compact"},
    needs=TopicNeeds(4, {"cleanup.policy": "compact"}),
)
GOOD_TASKS = replace(GOOD, topics=(INBOX, JOURNAL, OUT, DEAD))


CHECKED = [check for check in checks.CHECKS if check.judge is not checks.check_skipped]


def judged(check: Callable[[Facts], Iterator[Result]], facts: Facts) -> list[tuple[str, str]]:
    """Status and fix of what a check finds."""
    return [(result.status, result.fix) for result in check(facts)]


def on_host(**facts: Any) -> Facts:
    return replace(GOOD, host=replace(GOOD.host, **facts))


def on_cluster(**facts: Any) -> Facts:
    assert GOOD.cluster is not None
    return replace(GOOD, cluster=replace(GOOD.cluster, **facts))


def with_topic(found: TopicFacts, **more: Any) -> Facts:
    return replace(GOOD, topics=(found,), **more)


def with_group(**facts: Any) -> Facts:
    assert GOOD.group is not None
    return replace(GOOD, group=replace(GOOD.group, **facts))


def test_nothing_is_wrong_where_all_is_well() -> None:
    of_tasks = {check.name for check in checks.CHECKS if check.of_tasks}
    for facts, expected in ((GOOD, len(CHECKED) - 4), (GOOD_TASKS, len(CHECKED))):
        results = diagnose(facts)
        assert {result.status for result in results} == {"ok"}
        assert [result.fix for result in results if result.fix] == []
        said = {result.check for result in results}
        assert len(said) == expected
        assert said & of_tasks == (set() if facts is GOOD else of_tasks)


@pytest.mark.parametrize(
    ("version", "status"),
    [("2.15.9", "fail"), ("2.16.0", "ok"), ("2.20.1rc1", "ok"), ("3.0.0", "warn")],
)
def test_client(version: str, status: str) -> None:
    (found,) = checks.check_client(on_host(client=version))
    assert found.status == status
    assert version in found.what


def test_plugins() -> None:
    facts = on_host(broken={"sink shop of shop": "no module"}, missing={"sink http": "pip install"})
    assert judged(checks.check_plugins, facts) == [
        (
            "warn",
            "upgrade or uninstall its distribution; `kafka-etl plugins` shows sink shop of shop",
        ),
        ("fail", "pip install"),
    ]


def test_state_folder() -> None:
    full, shut = on_host(free_bytes=1 << 20), on_host(state_problem="Permission denied")
    assert judged(checks.check_state_folder, full) == [("warn", "make room on its disk")]
    assert judged(checks.check_state_folder, shut) == [
        ("fail", "choose another one with --state-dir")
    ]


def test_file() -> None:
    wrong = replace(GOOD, problem=Problem("E100", "1 problem", "Correct it."))
    assert judged(checks.check_file, wrong) == [("fail", "Correct it.")]
    assert judged(checks.check_file, replace(GOOD, pipeline="")) == []


def test_reach() -> None:
    away = on_cluster(problem=Problem("E301", "nobody answers", "Start a broker."))
    assert judged(checks.check_reach, away) == [("fail", "Start a broker.")]
    assert judged(checks.check_reach, replace(GOOD, cluster=None)) == []
    (one,) = checks.check_reach(on_cluster(brokers=1))
    assert one.what == "localhost:9092 answers: 1 broker"


@pytest.mark.parametrize(
    ("versions", "status", "says"),
    [
        (VERSIONS, "ok", "Kafka 4.0 or newer"),
        (VERSIONS | {0: (0, 11)}, "ok", "Kafka 3.9 or newer"),
        (VERSIONS | {0: (0, 8), 1: (0, 11)}, "ok", "Kafka 2.5 or newer"),
        (VERSIONS | {28: (0, 2)}, "fail", "fenced with their group"),
        ({}, "fail", "static members"),
        (None, "warn", "no broker tells"),
    ],
)
def test_broker_version(versions: Any, status: str, says: str) -> None:
    (found,) = checks.check_broker_version(on_cluster(versions=versions))
    assert found.status == status
    assert says in found.what


def test_topics() -> None:
    missing = TopicFacts("orders-eur", frozenset({"sink"}))
    assert judged(checks.check_topics, with_topic(missing)) == [
        ("fail", "correct its name, or create it: `create: {partitions: N}` beside it")
    ]
    assert judged(checks.check_topics, with_topic(replace(missing, creates=True))) == []
    unread = TopicFacts("orders", frozenset({"source"}), nearest="s1.orders")
    ((status, fix),) = judged(checks.check_topics, with_topic(unread))
    assert status == "fail"
    assert fix.startswith(
        "correct its name (did you mean s1.orders?), or create it: `kafka-etl send"
    )


def test_skipped() -> None:
    problem = Problem("E301", "nobody answers", "Start a broker.")
    unknown = with_topic(TopicFacts("orders", frozenset({"source"})))
    for facts, says in (
        (Facts(0, problem=problem), "first mend the pipeline file"),
        (on_cluster(problem=problem), "first mend what is said of brokers"),
        (unknown, "retention, compaction, replication, in-sync replicas, record sizes, clocks: "),
    ):
        found = diagnose(facts)[-1]
        assert found.status == "skip"
        assert says in found.what


def test_rights() -> None:
    reader = replace(OUT, rights=frozenset({"READ"}))
    assert judged(checks.check_rights, with_topic(reader)) == [
        ("fail", "grant WRITE on topic orders-eur")
    ]
    assert judged(checks.check_rights, with_group(rights=frozenset())) == [
        ("fail", "grant READ on group orders")
    ]
    hidden = TopicFacts("orders", frozenset({"source"}), rights=frozenset())
    assert judged(checks.check_rights, with_topic(hidden)) == [
        ("fail", "grant READ on topic orders")
    ]
    silent = with_topic(replace(OUT, rights=None), group=GroupFacts("orders"))
    assert judged(checks.check_rights, silent) == []


@pytest.mark.parametrize(
    ("grant", "status"),
    [
        (Grant.OPEN, "ok"),
        (Grant.GRANTED, "ok"),
        (Grant.DENIED, "fail"),
        (Grant.MISSING, "warn"),
        (Grant.HIDDEN, "warn"),
    ],
)
def test_transactional_id(grant: Grant, status: str) -> None:
    (found,) = checks.check_transactional_id(replace(GOOD, grant=grant))
    assert found.status == status
    named = "WRITE on transactional id kafka-etl.orders.host.0" in found.what
    assert named == (status != "ok")
    fix = "grant WRITE on transactional ids that begin with kafka-etl.orders."
    assert found.fix.endswith(fix) == (status != "ok")
    assert judged(checks.check_transactional_id, replace(GOOD, grant=Grant.UNKNOWN)) == []


def test_rights_to_topics_of_tasks() -> None:
    reader = replace(JOURNAL, rights=frozenset({"READ"}))
    assert judged(checks.check_rights, with_topic(reader)) == [
        ("fail", "grant WRITE on topic orders.journal")
    ]


def test_task_topics() -> None:
    other = replace(INBOX, partitions=5)
    assert judged(checks.check_task_topics, with_topic(other)) == [
        ("fail", "set `topics.partitions` to the number that the topic has")
    ]
    forgets = replace(JOURNAL, settings=SETTINGS)
    assert judged(checks.check_task_topics, with_topic(forgets)) == [
        ("fail", "set its cleanup.policy to compact")
    ]
    unread = replace(JOURNAL, settings={})
    assert judged(checks.check_task_topics, with_topic(unread)) == []
    to_be_made = replace(INBOX, partitions=0, settings={}, creates=True)
    assert judged(checks.check_task_topics, with_topic(to_be_made)) == []
    assert judged(checks.check_topics, with_topic(to_be_made)) == []


def test_history() -> None:
    lost = replace(GOOD_TASKS, history=Problem("E409", "topic orders.journal is gone", "Restore."))
    assert judged(checks.check_history, lost) == [("fail", "Restore.")]


def test_task_retention() -> None:
    brief = replace(INBOX, settings=SETTINGS | KEEPS | {"retention.ms": str(DAY)})
    (found,) = checks.check_task_retention(with_topic(brief))
    assert (found.status, found.fix) == ("warn", f"set its retention.ms to {8 * DAY}")
    assert "the inputs and orders of tasks for 1d, and the pipeline needs them for 8d" in found.what
    small = replace(INBOX, settings=SETTINGS | KEEPS | {"retention.bytes": "1048576"})
    assert judged(checks.check_task_retention, with_topic(small)) == [
        ("warn", "set its retention.bytes to -1")
    ]
    forever = replace(INBOX, settings=SETTINGS | KEEPS | {"retention.ms": "-1"})
    assert judged(checks.check_task_retention, with_topic(forever)) == []


def test_result_sizes() -> None:
    large = replace(INBOX, needs=replace(NEEDS, largest=5_000_000))
    (found,) = checks.check_result_sizes(with_topic(large))
    assert found.status == "warn"
    assert found.fix.startswith("set its max.message.bytes to 5000000")


def test_targets() -> None:
    away = Problem("", "connection refused", "Start it.")
    facts = replace(
        GOOD,
        targets=(TargetFacts("outputs to postgres", away), TargetFacts("x", notes=("unlogged",))),
    )
    found = list(checks.check_targets(facts))
    assert [(each.status, each.what, each.fix) for each in found] == [
        ("fail", "outputs to postgres: connection refused", "Start it."),
        ("warn", "x: unlogged", ""),
    ]


def test_retention() -> None:
    brief = {"retention.ms": str(DAY // 2)}
    assert judged(
        checks.check_retention, with_topic(topic("orders", "source", settings=brief))
    ) == [("warn", "raise its retention.ms to a day or more")]
    letters = topic("dlq", "dead letters", settings={"retention.ms": str(DAY)})
    assert judged(checks.check_retention, with_topic(letters)) == [
        ("warn", "raise its retention.ms to a week or more")
    ]
    forever = topic("orders", "source", settings={"retention.ms": "-1"})
    assert judged(checks.check_retention, with_topic(forever)) == []


def test_compaction() -> None:
    compact = {"cleanup.policy": "compact"}
    letters = topic("dlq", "dead letters", settings=compact)
    assert judged(checks.check_compaction, with_topic(letters)) == [
        ("fail", "set its cleanup.policy to delete")
    ]
    (found,) = checks.check_compaction(with_topic(topic("out", "sink", settings=compact)))
    assert (found.status, "transaction of its batch" in found.what) == ("warn", True)
    assert (
        judged(checks.check_compaction, with_topic(topic("in", "source", settings=compact))) == []
    )


def test_replication() -> None:
    single = with_topic(topic("orders", "source", replicas=1))
    assert judged(checks.check_replication, single) == [
        ("warn", "give it three replicas with kafka-reassign-partitions")
    ]
    alone = on_cluster(brokers=1)
    assert judged(checks.check_replication, replace(alone, topics=single.topics)) == []


@pytest.mark.parametrize(
    ("least", "replicas", "in_sync", "status"),
    [
        ("2", 3, 3, None),
        ("2", 3, 1, "fail"),
        ("1", 3, 3, "warn"),
        ("3", 3, 3, "warn"),
        ("1", 1, 1, None),
    ],
)
def test_min_insync(least: str, replicas: int, in_sync: int, status: str | None) -> None:
    settings = {"min.insync.replicas": least}
    found = topic("out", "sink", settings=settings, replicas=replicas, in_sync=in_sync)
    statuses = [result.status for result in checks.check_min_insync(with_topic(found))]
    assert statuses == [status] * (status is not None)


def test_sizes() -> None:
    large = topic("orders", "source", settings={"max.message.bytes": "5242880"})
    facts = replace(
        GOOD, topics=(large, OUT, topic("dlq", "dead letters", settings=large.settings))
    )
    assert judged(checks.check_sizes, facts) == [
        ("warn", "set its max.message.bytes to 5242880"),
    ]


def test_clocks() -> None:
    ahead = replace(IN, newest_ms=GOOD.now_ms + 3_600_000)
    (found,) = checks.check_clocks(with_topic(ahead))
    assert found.status == "warn"
    assert found.what == "the newest record of orders is 1h ahead of this host's clock"
    assert judged(checks.check_clocks, with_topic(replace(IN, newest_ms=None))) == []


def test_group() -> None:
    strangers = with_group(members=("shop on 10.0.0.7",), assignor="range", state="stable")
    assert judged(checks.check_group, strangers) == [
        ("fail", "stop them, or give the pipeline a group of its own with source.with.group")
    ]
    own = with_group(members=("etl",), assignor="cooperative-sticky", state="stable")
    assert judged(checks.check_group, own) == [("ok", "")]
    for lost in (with_group(deleted=5), with_group(beyond=1)):
        assert [result.status for result in checks.check_group(lost)] == ["ok", "fail"]


def test_every_check_has_a_test() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {check.judge.__name__.removeprefix("check_") for check in checks.CHECKS} <= tested


# What ACLs tell

MAY = Acl("User:etl", "WRITE", allows=True)
MAY_NOT = Acl("User:etl", "ALL", allows=False)
ALL_MAY = Acl("User:*", "ALL", allows=True)


READER = frozenset({"DESCRIBE"})
BROKER = READER | {"CLUSTER_ACTION"}


@pytest.mark.parametrize(
    ("told", "grant"),
    [
        (Told("etl", READER, (MAY,)), Grant.GRANTED),
        (Told("etl", READER, (ALL_MAY,)), Grant.GRANTED),
        (Told("etl", READER, (ALL_MAY, MAY_NOT)), Grant.DENIED),
        (Told("other", READER, (MAY,)), Grant.MISSING),
        (Told("etl", READER, (Acl("User:etl", "DESCRIBE", allows=True),)), Grant.MISSING),
        (Told("etl", READER, (MAY, MAY_NOT._replace(host="10.0.0.1"))), Grant.HIDDEN),
        (Told("etl", READER, (MAY._replace(host="10.0.0.1"),)), Grant.HIDDEN),
        (Told("etl", READER), Grant.MISSING),
        (Told("etl", frozenset()), Grant.HIDDEN),
        (Told(None, READER, (MAY,)), Grant.HIDDEN),
        (Told(None, READER, (ALL_MAY,)), Grant.GRANTED),
        (Told(None, READER, (ALL_MAY, MAY_NOT)), Grant.HIDDEN),
        (Told(None, BROKER), Grant.OPEN),
        (Told("etl", BROKER, acls_of_cluster=(MAY,)), Grant.MISSING),
        (Told("admin", BROKER, (MAY,), (MAY,)), Grant.OPEN),
    ],
)
def test_what_acls_grant(told: Told, grant: Grant) -> None:
    assert grant_of(told) is grant


def test_a_user_has_a_name_where_the_login_says_it() -> None:
    assert user_of({"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "etl"}) == "etl"
    assert user_of({"sasl.mechanism": "OAUTHBEARER", "sasl.username": "etl"}) is None
    assert user_of({"ssl.certificate.location": "me.pem"}) is None


# What a target tells


def target_of(check: Callable[..., Preflight]) -> TargetFacts:
    plugin = replace(SQLITE, check=check)
    settings = SQLITE.settings.model_validate({"path": "x.db", "table": "t"})
    return _target("outputs to x", plugin, settings, deployment())


def test_what_the_check_of_a_sink_raises_is_told() -> None:
    def fails(raised: Exception) -> TargetFacts:
        def check(_settings: object, given: Deployment) -> Preflight:
            assert given.looks_only
            raise raised

        return target_of(check)

    wrong = fails(SinkFailed("there is no table t", "Create it."))
    assert wrong.problem is not None
    assert (wrong.problem.what, wrong.problem.next_step) == ("there is no table t", "Create it.")
    away = fails(Unreachable("connection refused"))
    assert away.problem is not None
    assert away.problem.what == "connection refused"
    bug = fails(ZeroDivisionError("x"))
    assert bug.problem is not None
    assert "ZeroDivisionError" in bug.problem.what
    assert target_of(lambda *_: Preflight(notes=("slow",))).notes == ("slow",)


# How results are shown


def test_the_table_says_what_to_do_below_what_was_found() -> None:
    results = [
        Result("client", "ok", "confluent-kafka 2.16.1"),
        Result("pipeline file", "fail", "1 problem\n\n 3 | sinkk: x\n   | ^", "Correct it."),
    ]
    assert list(rendered(results, 80)) == [
        "ok    client         confluent-kafka 2.16.1",
        "fail  pipeline file  1 problem",
        "",
        "                      3 | sinkk: x",
        "                        | ^",
        "                     fix: Correct it.",
    ]


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("sinkk: x", "unknown key `sinkk`"),
        ("source: {use: kafak, with: {topics: [orders]}}", "there is no source called `kafak`"),
    ],
)
def test_without_a_broker_it_fails_and_says_so(tmp_path: Path, block: str, said: str) -> None:
    (tmp_path / "p.yaml").write_text(pipeline(block))
    words = ("doctor", "p.yaml", "--state-dir", "state", "--format", "json")
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 1
    found = {each["check"]: each for each in json.loads(done.stdout)}
    assert found["pipeline file"]["status"] == "fail"
    assert said in found["pipeline file"]["what"]
    assert found["client"]["status"] == "ok"


def test_versions_of_something_else_are_unknown() -> None:
    with plain_listener() as port:
        addresses = f"127.0.0.1:{free_port()},127.0.0.1:{port}"
        assert ask_versions({"bootstrap.servers": addresses}) is None


def test_the_page_shows_what_the_command_prints() -> None:
    """Two lines of docs/how-to/while-you-write.md."""
    brief = {"retention.ms": str(DAY // 2)}
    source = topic("orders", "source", settings=brief)
    sink = topic("paid-orders", "sink", settings={"min.insync.replicas": "1"})
    facts = replace(GOOD, topics=(source, sink))
    found = [result for result in diagnose(facts) if result.status == "warn"]
    _, block = blocks("docs/how-to/while-you-write.md", "text")
    assert block.split() == " ".join(rendered(found, 100)).split()
