"""The words that change tasks: records of the inbox, and those that an owner says to itself.

A word in the inbox is a record with the task's id as key, the bytes that it brings along as value,
and the headers `k` (kind), `v` (format) and `m` (the rest, as JSON).
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import msgspec

from kafka_etl.record import Headers
from kafka_etl.tasks.head import Failure, Origin

FORMAT: Final = 1
_KIND, _VERSION, _MEANING = "k", "v", "m"
_KEY, _OWN = "key", "h."
_LONGEST_ID: Final = 256
_PREVIEW: Final = 1024


class Word(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A word.

    Attributes:
        word: Its own id: a word that is sent twice is taken once.
    """

    word: str = ""


class Submit(Word, frozen=True, kw_only=True):
    """A new task; the value of the record is the input.

    Attributes:
        by: Who submits the task, as the sender claims; empty: the pipeline's source.
        route: See `kafka_etl.tasks.head.Head`.
        trace: The `traceparent` of the record.
        invalid: Why the record makes no task; None: it does.
        accepted_ms: The inbox's time of the word, in milliseconds since the epoch.
        size: Bytes of the input.
        preview: The first of the input as text.
    """

    by: str = ""
    origin: Origin | None = None
    route: str = ""
    trace: str = ""
    invalid: Failure | None = None
    accepted_ms: int = 0
    size: int = 0
    preview: str = ""


class Stop(Word, frozen=True, kw_only=True):
    """An order to stop the task.

    Attributes:
        expect: The generation that the sender has seen; 0: any.
        force: Whether to kill the attempt at once.
        quiet: Whether the destinations of failures hear nothing.
        batch: Id of the bulk action.
    """

    by: str = ""
    reason: str = ""
    expect: int = 0
    force: bool = False
    quiet: bool = False
    batch: str = ""


class Retry(Word, frozen=True, kw_only=True):
    """An order to run the task once more.

    Attributes:
        expect: The generation that the sender has seen.
        deliver: Whether only to deliver the result once more.
        again: Whether to run a task that has succeeded.
        input: Whether the record is the task's input from now on.
        size: Bytes of that input, as the owner finds.
        preview: The first of that input as text.
    """

    expect: int
    by: str = ""
    reason: str = ""
    deliver: bool = False
    again: bool = False
    batch: str = ""
    input: bool = False
    size: int = 0
    preview: str = ""


class Forget(Word, frozen=True, kw_only=True):
    """An order to forget a task that has ended, or whose head cannot be read: its id is free.

    Attributes:
        expect: The generation that the sender has seen; 0: any.
    """

    by: str = ""
    reason: str = ""
    expect: int = 0


class Ask(Word, frozen=True, kw_only=True):
    """A question to the executor of the task."""

    what: Literal["stack"] = "stack"
    by: str = ""


class OfAttempt(Word, frozen=True, kw_only=True):
    """Base of what an executor says about one attempt.

    Attributes:
        token: Id of the attempt.
    """

    token: str


class Started(OfAttempt, frozen=True, kw_only=True):
    """The operator has begun."""

    at_ms: int = 0
    pid: int = 0
    host: str = ""


class Returned(OfAttempt, frozen=True, kw_only=True):
    """The executor gives a grant back that it has not used."""


class Progress(OfAttempt, frozen=True, kw_only=True):
    """How far the attempt is.

    Attributes:
        fraction: From 0 to 1.
    """

    fraction: float
    text: str = ""


class Result(OfAttempt, frozen=True, kw_only=True):
    """The operator has returned; the value of the record is the rows for the destinations.

    Attributes:
        preview: The first of the result as text.
        outside: Destinations outside of the cluster that get some of the rows, as the owner finds.
    """

    preview: str = ""
    size: int = 0
    seconds: float = 0.0
    outside: tuple[str, ...] = ()


Why = Literal[
    "error",
    "permanent",
    "timeout",
    "died",
    "stopped",
    "interrupted",
    "unavailable",
    "lease_lost",
]
"""How an attempt ended that has no result."""


class Ended(OfAttempt, frozen=True, kw_only=True):
    """The attempt is over without a result, and nothing of it runs any more.

    Attributes:
        retry_after: Seconds that the operator wants to wait before the next attempt.
    """

    why: Why
    error: Failure | None = None
    retry_after: float | None = None
    seconds: float = 0.0


class Alive(Word, frozen=True, kw_only=True):
    """An executor is well, and holds these tokens of the partition.

    Attributes:
        held: Number of tokens that the executor holds, of all partitions.
        draining: Whether the executor starts nothing any more.
        offer: Number of the executor's present offer, which grows: a grant under an earlier one
            that is not listed never begins.
        slots: Slots that the owner of the partition may fill under the offer, those of the listed
            tokens among them; 0: none are offered.
        grant_number: Number up to which the executor has had the grants for tasks of the partition
            that were given on its own host; the list tells nothing of later ones.
    """

    executor: str
    boot: str
    tokens: tuple[str, ...] = ()
    held: int = 0
    draining: bool = False
    offer: int = 0
    slots: int = 0
    grant_number: int = 0


class Hello(Word, frozen=True, kw_only=True):
    """An executor has begun: whatever an earlier boot of its held has ended."""

    executor: str
    boot: str


class Probe(Word, frozen=True, kw_only=True):
    """An owner asks whether there is anything left to hear: what was said before has been read.

    The answer is the probe itself, once the owner reads it.
    """


class OfDelivery(Word, frozen=True, kw_only=True):
    """Base of what a deliverer says about one destination.

    Attributes:
        destination: Name of the destination.
        generation: Generation of the task.
        delivery: Number of the delivery, which counts the deliveries of the task.
    """

    destination: str
    generation: int
    delivery: int


class Delivered(OfDelivery, frozen=True, kw_only=True):
    """The destination has acknowledged the outcome."""


class Undeliverable(OfDelivery, frozen=True, kw_only=True):
    """The destination refuses the outcome for good."""

    why: str


# What an owner says to itself; never in the inbox


class Granted(Word, frozen=True, kw_only=True):
    """An executor gets the task, with a token for one attempt.

    Attributes:
        offer: Number of the executor's offer; 0: the executor is on the owner's host.
        grant_number: Number of the grant, if the executor is on the owner's host.
    """

    token: str
    executor: str
    boot: str
    offer: int = 0
    grant_number: int = 0


class IsDue(Word, frozen=True, kw_only=True):
    """The wait before the next attempt is over."""


class IsTooOld(Word, frozen=True, kw_only=True):
    """The task has not started in time."""


class Silent(OfAttempt, frozen=True, kw_only=True):
    """Nothing was heard of the attempt for too long, or its executor does not know it."""


class ExecutorGone(OfAttempt, frozen=True, kw_only=True):
    """The executor that held the token is gone, together with all that it held.

    Attributes:
        alone: Whether it held no other token.
    """

    alone: bool = False


class InputLost(Word, frozen=True, kw_only=True):
    """The input of a task that has not started is gone from the inbox."""


class HistoryOver(Word, frozen=True, kw_only=True):
    """The history of a final task is over; its id is still taken."""


class WindowOver(Word, frozen=True, kw_only=True):
    """The id of a final task may be used anew."""


class OneTooMany(Word, frozen=True, kw_only=True):
    """There are more final tasks than are kept, and this one has ended the longest ago."""


INBOX: Final[dict[str, type[Word]]] = {
    "submit": Submit,
    "stop": Stop,
    "retry": Retry,
    "ask": Ask,
    "forget": Forget,
    "started": Started,
    "returned": Returned,
    "progress": Progress,
    "result": Result,
    "ended": Ended,
    "alive": Alive,
    "hello": Hello,
    "probe": Probe,
    "delivered": Delivered,
    "undeliverable": Undeliverable,
}
"""Kind -> the words that are records of the inbox."""

_KINDS: Final = {word: kind for kind, word in INBOX.items()}
_DECODERS: Final = {kind: msgspec.json.Decoder(word).decode for kind, word in INBOX.items()}
_encode: Final = msgspec.json.Encoder().encode


class BadWord(ValueError):
    """A record of the inbox is no word that this release knows."""


class WordRecord(NamedTuple):
    """A word as a record of the inbox, but for its key and its partition."""

    value: bytes | None
    headers: Headers


def encode_word(word: Word, value: bytes | None = None) -> WordRecord:
    """A word as a record of the inbox."""
    return WordRecord(
        value,
        [
            (_KIND, _KINDS[type(word)].encode()),
            (_VERSION, str(FORMAT).encode()),
            (_MEANING, _encode(word)),
        ],
    )


def encode_input(
    word: Submit | Retry,
    value: bytes | None,
    key: bytes | None = None,
    headers: Headers | None = None,
) -> WordRecord:
    """A word with an input as a record of the inbox: value, key and headers are the input's."""
    record = encode_word(word, value)
    own = [(_OWN + name, content) for name, content in headers or ()]
    keyed: Headers = [] if key is None else [(_KEY, key)]
    return WordRecord(value, [*record.headers, *keyed, *own])


def preview_of(value: bytes) -> str:
    """The first of an input, as text."""
    return value[:_PREVIEW].decode("utf-8", "replace")


def own_parts(headers: Headers) -> tuple[bytes | None, Headers]:
    """Key and headers of the input that a word has brought along."""
    key = next((content for name, content in headers if name == _KEY), None)
    return key, [(name[len(_OWN) :], value) for name, value in headers if name.startswith(_OWN)]


def task_of(key: bytes | None) -> str:
    """The task, or the executor, that a record of the inbox is about.

    Raises:
        BadWord: The key names none.
    """
    if not key:
        raise BadWord("a record without a key")
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise BadWord(f"a key that is no text: {key!r:.100}") from error


def decode_word(headers: Headers, task: str = "") -> Word:
    """The word of a record of the inbox.

    Args:
        headers: The record's headers.
        task: The task that the record is about; empty: it does not matter.

    Raises:
        BadWord: The headers are those of no word, or those of a submission without a valid id.
    """
    parts = dict(headers)
    kind = (parts.get(_KIND) or b"").decode("utf-8", "replace")
    decode = _DECODERS.get(kind)
    if decode is None:
        raise BadWord(f"`{kind[:100]}` is no kind of word")
    if parts.get(_VERSION) != str(FORMAT).encode():
        raise BadWord(f"a word of format {parts.get(_VERSION)!r:.40}")
    try:
        word = decode(parts.get(_MEANING) or b"")
    except msgspec.MsgspecError as error:
        raise BadWord(f"a word `{kind}`: {error}") from error
    problem = id_problem(task) if task and isinstance(word, Submit) else None
    if problem is not None:
        raise BadWord(f"a submission whose id is none: {problem}")
    return word


def id_problem(task: str) -> str | None:
    """Why a text is no id of a task; None: it is one."""
    if not task:
        return "it is empty"
    if len(task.encode("utf-8", "surrogatepass")) > _LONGEST_ID:
        return f"it is longer than {_LONGEST_ID} bytes"
    if not task.isprintable():
        return "it has characters that cannot be printed"
    return None
