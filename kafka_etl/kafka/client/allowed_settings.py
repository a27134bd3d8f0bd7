"""The client settings that a pipeline may give, and the reasons why others are refused.

The daemon imports this module, so the module does not import the Kafka client.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from kafka_etl.units import show_duration

MAX_POLL: Final = "max.poll.interval.ms"
_LONGEST_POLL: Final = 86_400_000
"""Milliseconds: the largest value that the client takes."""
_SHORTEST_POLL: Final = 300_000
_POLL_SLACK: Final = 60_000

Section = Literal["kafka", "consumer", "producer"]
SECTIONS: Final[tuple[Section, ...]] = ("kafka", "consumer", "producer")

_COMMON: Final = frozenset(
    [
        "bootstrap.servers",
        "client.id",
        "client.rack",
        "client.dns.lookup",
        "security.protocol",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.username",
        "sasl.password",
        "sasl.kerberos.service.name",
        "sasl.kerberos.principal",
        "sasl.kerberos.keytab",
        "sasl.oauthbearer.method",
        "sasl.oauthbearer.client.id",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.scope",
        "sasl.oauthbearer.extensions",
        "sasl.oauthbearer.token.endpoint.url",
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.certificate.pem",
        "ssl.key.location",
        "ssl.key.pem",
        "ssl.key.password",
        "ssl.keystore.location",
        "ssl.keystore.password",
        "ssl.cipher.suites",
        "ssl.curves.list",
        "ssl.sigalgs.list",
        "ssl.crl.location",
        "ssl.endpoint.identification.algorithm",
        "enable.ssl.certificate.verification",
        "https.ca.location",
        "broker.address.family",
        "broker.address.ttl",
        "connections.max.idle.ms",
        "metadata.max.age.ms",
        "topic.metadata.refresh.interval.ms",
        "reconnect.backoff.ms",
        "reconnect.backoff.max.ms",
        "retry.backoff.ms",
        "retry.backoff.max.ms",
        "socket.timeout.ms",
        "socket.connection.setup.timeout.ms",
        "socket.keepalive.enable",
        "socket.nagle.disable",
        "socket.send.buffer.bytes",
        "socket.receive.buffer.bytes",
        "debug",
        "log_level",
    ]
)
_CONSUMER: Final = frozenset(
    [
        "fetch.min.bytes",
        "fetch.max.bytes",
        "fetch.wait.max.ms",
        "fetch.message.max.bytes",
        "max.partition.fetch.bytes",
        "fetch.queue.backoff.ms",
        "fetch.error.backoff.ms",
        "queued.min.messages",
        "queued.max.messages.kbytes",
        "receive.message.max.bytes",
        "check.crcs",
        "session.timeout.ms",
        "heartbeat.interval.ms",
        MAX_POLL,
    ]
)
_PRODUCER: Final = frozenset(
    [
        "compression.type",
        "compression.codec",
        "compression.level",
        "linger.ms",
        "queue.buffering.max.ms",
        "batch.size",
        "batch.num.messages",
        "queue.buffering.max.messages",
        "queue.buffering.max.kbytes",
        "message.max.bytes",
        "request.timeout.ms",
        "transaction.timeout.ms",
        "sticky.partitioning.linger.ms",
    ]
)
ALLOWED: Final[Mapping[Section, frozenset[str]]] = {
    "kafka": _COMMON,
    "consumer": _COMMON | _CONSUMER,
    "producer": _COMMON | _PRODUCER,
}

_SECURITY: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI")
_COMPRESSION: Final = ("none", "gzip", "snappy", "lz4", "zstd")
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "security.protocol": _SECURITY,
    "sasl.mechanism": _MECHANISMS,
    "sasl.mechanisms": _MECHANISMS,
    "sasl.oauthbearer.method": ("default", "oidc"),
    "ssl.endpoint.identification.algorithm": ("none", "https"),
    "client.dns.lookup": ("use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"),
    "broker.address.family": ("any", "v4", "v6"),
    "compression.type": _COMPRESSION,
    "compression.codec": _COMPRESSION,
}
"""Settings with a closed list of values."""
_CASE_COUNTS: Final = frozenset(["sasl.mechanism", "sasl.mechanisms"])
_SWITCHES: Final = frozenset(
    [
        "check.crcs",
        "enable.ssl.certificate.verification",
        "socket.keepalive.enable",
        "socket.nagle.disable",
    ]
)
_DEBUG: Final = (
    *("generic", "broker", "topic", "metadata", "feature", "queue", "msg", "protocol", "cgrp"),
    *("security", "fetch", "interceptor", "plugin", "consumer", "admin", "eos", "mock"),
    *("assignor", "conf", "telemetry", "all"),
)
_ON_OR_OFF: Final = frozenset(["true", "false", "t", "f", "1", "0"])
_FRACTIONS: Final = frozenset(["linger.ms", "queue.buffering.max.ms"])
_COUNTS: Final = frozenset(["log_level", "broker.address.ttl", "compression.level", "batch.size"])
_MAY_BE_NEGATIVE: Final = frozenset(["compression.level", "topic.metadata.refresh.interval.ms"])
_UNITS: Final = (".ms", ".bytes", ".kbytes", ".messages")
_FRACTION: Final = re.compile(r"[-+]?\d+(\.\d*)?")
_WHOLE: Final = re.compile(r"\s*([-+]?\d+(\.0*)?|0x[0-9a-fA-F]+)")

_OURS: Final = "offsets, outputs and dead letters move in one transaction, which needs it as it is"
REFUSED: Final[Mapping[str, str]] = {
    "group.id": "set `source.with.group`",
    "group.instance.id": "set `source.with.membership` and `--instance`",
    "group.protocol": "the classic protocol with static membership restarts without a rebalance",
    "auto.offset.reset": "set `source.with.start`; lost offsets stop the pipeline",
    "isolation.level": "records of aborted transactions must not be read",
    "enable.auto.commit": _OURS,
    "auto.commit.enable": _OURS,
    "enable.auto.offset.store": _OURS,
    "enable.partition.eof": "the end of a partition is how lag comes down to 0",
    "partition.assignment.strategy": "cooperative-sticky keeps the partitions that stay",
    "transactional.id": "it is made of the pipeline, `--instance` and the worker",
    "enable.idempotence": _OURS,
    "acks": _OURS,
    "request.required.acks": _OURS,
    "max.in.flight": _OURS,
    "max.in.flight.requests.per.connection": _OURS,
    "retries": _OURS,
    "message.send.max.retries": _OURS,
    "message.timeout.ms": "a transaction bounds it: set `transaction.timeout.ms`",
    "delivery.timeout.ms": "a transaction bounds it: set `transaction.timeout.ms`",
    "delivery.report.only.error": _OURS,
    "partitioner": "keys go where Java's default partitioner puts them (murmur2)",
    "sasl.kerberos.kinit.cmd": "it runs a shell command",
    "plugin.library.paths": "it loads a library into the process",
    "ssl.engine.location": "it loads a library into the process",
    "ssl.providers": "it loads a library into the process",
    "enable.sasl.oauthbearer.unsecure.jwt": "anyone could log in",
}


def value_objection(name: str, value: str | float) -> str | None:
    """The reason why the client would refuse this value, without the value; None: no reason."""
    text = str(value)
    if name in CHOICES:
        *others, last = CHOICES[name]
        same = str if name in _CASE_COUNTS else str.lower
        return (
            None
            if same(text) in map(same, CHOICES[name])
            else f"`{name}` should be {', '.join(others)} or {last}"
        )
    if name == "debug":
        known = {part.strip() for part in text.split(",")} <= set(_DEBUG)
        return None if known else f"`debug` should be some of {', '.join(_DEBUG)}"
    if name in _SWITCHES:
        return None if text.lower() in _ON_OR_OFF else f"`{name}` should be true or false"
    is_count = name.endswith(_UNITS) and name in ALLOWED["consumer"] | _PRODUCER
    if name in _FRACTIONS | _COUNTS or is_count:
        return _number_objection(name, text)
    if name == "bootstrap.servers" and not isinstance(value, str):
        return "`bootstrap.servers` should be text, such as localhost:9092"
    return None


def _number_objection(name: str, text: str) -> str | None:
    if name in _FRACTIONS:
        return None if _FRACTION.fullmatch(text) else f"`{name}` should be a number"
    if not _WHOLE.fullmatch(text):
        return f"`{name}` should be a whole number"
    if text.strip().startswith("-") and name not in _MAY_BE_NEGATIVE:
        return f"`{name}` should be at least 0"
    return None


def poll_interval(timeouts: Sequence[float]) -> int:
    """The `max.poll.interval.ms` of a worker: at least the operators' timeouts, at most a day.

    A slow operator thus ends at its own timeout, before the client leaves the group.

    Args:
        timeouts: Seconds: the timeout of each operator, which a record passes one after the other.
    """
    patience = int(sum(timeouts) * 1000) + _POLL_SLACK
    return min(max(_SHORTEST_POLL, patience), _LONGEST_POLL)


def timeouts_objection(seconds: float) -> str | None:
    """The reason why the operators' timeouts are too long together; None: they are not."""
    if seconds * 1000 <= _LONGEST_POLL:
        return None
    return (
        f"a record may be {show_duration(seconds)} in the operators, by their `timeout`: the Kafka "
        f"client waits {show_duration(_LONGEST_POLL / 1000)} at most"
    )


def poll_interval_objection(given: object, seconds: float) -> str | None:
    """The reason why a `max.poll.interval.ms` is too short; None: no reason.

    Args:
        given: The value of `max.poll.interval.ms`.
        seconds: Longest time of a record in the operators, by their timeouts.
    """
    try:
        enough = float(str(given)) >= seconds * 1000
    except ValueError:
        return None  # the client itself refuses a value that is no number
    if enough:
        return None
    return (
        f"`{MAX_POLL}` is shorter than the {show_duration(seconds)} that a record may be in the "
        "operators, by their `timeout`: the worker would lose its partitions meanwhile, and run "
        "the record again and again"
    )


def is_known(name: str) -> bool:
    """Whether the name is a setting of the client, allowed or refused, and no spelling mistake."""
    return name in REFUSED or any(name in names for names in ALLOWED.values())


def objection(section: Section, name: str) -> str | None:
    """The reason why a setting may not stand in this section; None: the setting may stand there."""
    if name in ALLOWED[section]:
        return None
    if name in REFUSED:
        return f"`{name}` cannot be set: {REFUSED[name]}"
    elsewhere = [other for other, names in ALLOWED.items() if name in names]
    if elsewhere:
        return f"`{name}` belongs under `{elsewhere[0]}`"
    return f"`{name}` is not a client setting that pipelines may give"
