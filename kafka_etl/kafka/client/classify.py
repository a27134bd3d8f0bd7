"""The meaning of client errors: pure decisions on the name and the flags of an error."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from kafka_etl.contracts import Refusal
from kafka_etl.errors import (
    BrokersUnreachable,
    KafkaEtlError,
    KafkaRefused,
    NotAuthorized,
    OffsetsLost,
    TopicMissing,
    UnreadableBatch,
)


class Reaction(enum.Enum):
    """The reaction to an error of a transactional call."""

    RETRY = "call again"
    ABORT = "abort the transaction and go back"
    REBUILD = "drop the producer: what became of the transaction is unknown"


_FENCED: Final = frozenset(
    {"_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH", "FENCED_INSTANCE_ID"}
)
_REBALANCE: Final = frozenset(
    {"ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "REBALANCE_IN_PROGRESS", "STALE_MEMBER_EPOCH"}
)
_TOO_LARGE: Final = frozenset({"MSG_SIZE_TOO_LARGE", "INVALID_MSG_SIZE", "RECORD_LIST_TOO_LARGE"})
_REFUSED: Final = _TOO_LARGE | {
    "INVALID_RECORD",
    "INVALID_TIMESTAMP",
    "INVALID_MSG",
    "POLICY_VIOLATION",
    "UNSUPPORTED_FOR_MESSAGE_FORMAT",
}
_MISSING: Final = frozenset({"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"})
_UNREADABLE: Final = frozenset({"_BAD_COMPRESSION", "_BAD_MSG", "_UNDERFLOW", "INVALID_MSG"})
_LOST: Final = frozenset({"_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE", "_LOG_TRUNCATION"})
_SHUT_OUT: Final = frozenset(
    {"INCONSISTENT_GROUP_PROTOCOL", "GROUP_ID_NOT_FOUND", "GROUP_MAX_SIZE_REACHED"}
)
_UNREACHABLE: Final = frozenset(
    {"_TIMED_OUT", "_TRANSPORT", "_ALL_BROKERS_DOWN", "_RESOLVE", "_TIMED_OUT_QUEUE"}
)
_BUSY: Final = frozenset(
    {
        "COORDINATOR_LOAD_IN_PROGRESS",
        "COORDINATOR_NOT_AVAILABLE",
        "NOT_COORDINATOR",
        "NOT_CONTROLLER",
        "LEADER_NOT_AVAILABLE",
        "NOT_LEADER_FOR_PARTITION",
        "FENCED_LEADER_EPOCH",  # the client's metadata are older than the leader
        "UNKNOWN_LEADER_EPOCH",  # the leader's are older than the client's
        "OFFSET_NOT_AVAILABLE",  # a new leader has not caught up yet
        "REQUEST_TIMED_OUT",
        "UNSTABLE_OFFSET_COMMIT",
        "INVALID_REPLICATION_FACTOR",  # some brokers are not back yet
    }
)
_SETTING_REFUSED: Final = frozenset(
    {
        "INVALID_TRANSACTION_TIMEOUT",
        "INVALID_SESSION_TIMEOUT",
        "INVALID_GROUP_ID",
        "_UNSUPPORTED_FEATURE",
        "_INVALID_ARG",
    }
)
_UNRIGHTED: Final = "_AUTHORIZATION_FAILED"
_LOGIN: Final = (
    "The login failed: correct `security.protocol` and the `sasl.*` settings under `kafka`, and "
    "start the pipeline again."
)
_GRANT: Final = "Grant this pipeline's Kafka user"
_DENIED: Final[Mapping[str, str]] = {
    "_AUTHENTICATION": _LOGIN,
    "SASL_AUTHENTICATION_FAILED": _LOGIN,
    "_SSL": "No secure connection was made: correct `security.protocol` and the `ssl.*` settings "
    "under `kafka`, and start the pipeline again.",
    "TOPIC_AUTHORIZATION_FAILED": f"{_GRANT} READ on the topics of its source, WRITE on those it "
    "writes, CREATE on those it is to create, and start it again.",
    "GROUP_AUTHORIZATION_FAILED": f"{_GRANT} READ on its consumer group, and start it again.",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": f"{_GRANT} WRITE on its transactional ids, which "
    "begin with `kafka-etl.` and its name, and start it again.",
}
"""Name of an error -> advice for the user."""
_NOISE: Final = [
    (re.compile(pattern), instead)
    for pattern, instead in [
        (r"^Fatal error: (.*): Fatal consumer error: .*", r"\1"),
        (r"^Fatal error: ", ""),
        (r" with \d+ message\(s\) failed", " failed"),
        (r" \(broker \d+ PID\{[^}]*\}, base seq -?\d+\)", ""),
        (r": current transaction must be aborted$", ""),
        (r" \(after \d+ms in state .*\)$", ""),
        (r" or some brokers have all their log directories cordoned", ""),
    ]
]
_PASSING: Final = _UNREACHABLE | {"_MAX_POLL_EXCEEDED", "_WAIT_COORD", "_WAIT_CACHE"}


def error_of(raised: KafkaException) -> KafkaError:
    """The client's error in a raised exception."""
    error = raised.args[0] if raised.args else None
    return error if isinstance(error, KafkaError) else KafkaError(-1, str(raised))


def plain(error: KafkaError) -> str:
    """The text of an error, once, without the client's counts and times."""
    text = error.str()
    for noise, instead in _NOISE:
        text = noise.sub(instead, text)
    return text


def said(error: KafkaError) -> str:
    """The name of an error, by which a reader can search, and its text."""
    return f"{error.name()}: {plain(error)}"


def of_transaction(error: KafkaError) -> Reaction:
    """Choose the reaction to an error of a transactional call, by the flags of the error.

    The fatal flag comes first, because a fatal error may carry the other flags, too.
    """
    if error.fatal():
        return Reaction.REBUILD
    if error.txn_requires_abort():
        return Reaction.ABORT
    return Reaction.RETRY if error.retriable() else Reaction.REBUILD


def fatal(error: KafkaError) -> bool:
    """Whether the client is beyond use; a consumer says so by a code, not by the fatal flag."""
    return error.fatal() or error.name() == "_FATAL"


def fenced(error: KafkaError) -> bool:
    """Whether another client took over this client's id.

    The broker answers the same after the coordinator's timeout of a transaction.
    """
    return error.name() in _FENCED or (fatal(error) and "fenced" in error.str())


def routine(error: KafkaError) -> bool:
    """Whether a rebalance caused the error: normal operation."""
    return error.name() in _REBALANCE


def shut_out(error: KafkaError) -> bool:
    """Whether the group refuses this client because of the members that the group has."""
    return error.name() in _SHUT_OUT


def too_slow(error: KafkaError) -> bool:
    """Whether the client left its group because the worker did not poll in time."""
    return error.name() == "_MAX_POLL_EXCEEDED"


def missing(error: KafkaError) -> bool:
    """Whether the broker knows no such topic or partition."""
    return error.name() in _MISSING


def has_members(error: KafkaError) -> bool:
    """Whether the broker refused to set offsets because the group has members."""
    return error.name() in _REBALANCE or error.name() == "NON_EMPTY_GROUP"


def lacks_right(raised: BaseException | None) -> bool:
    """Whether the broker refused a request because the user lacks a right, and not a login."""
    return isinstance(raised, KafkaException) and error_of(raised).name().endswith(_UNRIGHTED)


def busy(error: KafkaError) -> bool:
    """Whether the cluster is starting or changing leaders, so that a repetition may succeed."""
    return error.name() in _BUSY


def sequence_gap(error: KafkaError) -> bool:
    """Whether the broker found a gap in the numbers by which the client counts its records.

    A record that the broker refused leaves such a gap; an abort of the transaction closes the gap.
    """
    return error.name() == "OUT_OF_ORDER_SEQUENCE_NUMBER"


def refusal(error: KafkaError) -> Refusal | None:
    """The refusal of a record by a broker; None: the error has another reason."""
    if error.name() not in _REFUSED:
        return None
    said = plain(error)
    if error.name() == "INVALID_RECORD":  # the broker's answer holds no reason
        said += "; a compacted topic takes no record without a key"
    return Refusal(error.name(), said, too_large=error.name() in _TOO_LARGE)


def passing(error: KafkaError) -> bool:
    """Whether the client recovers from the error by itself."""
    return error.retriable() or error.name() in _PASSING


def final(error: KafkaError, what: str) -> KafkaEtlError | None:
    """The error that stops the pipeline; None: a repetition may help.

    Args:
        error: The client's error.
        what: The action that failed, for the sentence: "reading orders[3]".
    """
    name, failed = error.name(), f"{what} failed: {said(error)}"
    if name in _LOST:
        return OffsetsLost(failed)
    if name in _UNREADABLE:
        return UnreadableBatch(failed)
    if name in _DENIED or name.endswith(_UNRIGHTED):
        return NotAuthorized(failed, _DENIED.get(name, ""))
    if name in _SETTING_REFUSED:
        return KafkaRefused(failed)
    return None


def explained(error: KafkaError, what: str) -> KafkaEtlError:
    """The error to raise for a failed request of preflight, which is not repeated for long."""
    name = error.name()
    if name in _MISSING:
        return TopicMissing(f"{what} failed: the broker knows no such topic")
    if name in _UNREACHABLE:
        return BrokersUnreachable(f"{what} failed: no broker answered ({name})")
    return final(error, what) or KafkaRefused(f"{what} failed: {said(error)}")
