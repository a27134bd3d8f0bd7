"""The head of a task: its present state, as the journal has it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from kafka_etl.tasks.states import State

FORMAT: Final = 1
"""The format that this release writes."""
_LINES: Final = 50
_WORDS: Final = 16
_ATTEMPTS: Final = 10
_SUSPECT_FROM: Final = 2
"""Joint deaths from which on a task is a suspect; one is chance."""
_ONLY_FROM: Final = 6
"""Joint deaths from which on a task is the only suspect, long before the last that it may have."""


class _Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of all parts: a field with its default is not written."""


class Origin(_Part, frozen=True):
    """The record of the source that a task was made of.

    Attributes:
        timestamp: The record's time, in milliseconds since the epoch; -1: none.
    """

    topic: str
    partition: int
    offset: int
    topic_id: str = ""
    timestamp: int = -1


class Submitted(_Part, frozen=True):
    """Who has submitted the task, with which word, and when it was accepted.

    Attributes:
        word: Id of the word.
        at_ms: The inbox's time of the word, in milliseconds since the epoch.
        by: `USER@HOST`, as the sender claims; empty: the pipeline's source.
    """

    word: str
    at_ms: int
    by: str = ""


class Input(_Part, frozen=True):
    """Where the input is: a record of the inbox.

    Attributes:
        offset: Offset of the word in the task's partition of the inbox.
        size: Bytes of the input.
        sha256: Digest of the input, in hex.
        preview: The first bytes as text; empty: previews are off.
    """

    offset: int
    size: int
    sha256: str = ""
    preview: str = ""


class Failure(_Part, frozen=True):
    """Why an attempt, or the task, has failed.

    Attributes:
        type: Class of the error, or a name of ours: `Timeout`, `WorkerCrashed`, `WorkerLost`,
            `Interrupted`, `MemoryLimit`, `CpuLimit`, `SinkFailed`, `InputGone`.
        exit_status: Exit status of the runner's process; None: it has not ended.
        stderr: The last of what the attempt has written to its standard error.
        condition: The condition of the dead letter; empty: that follows from the type.
    """

    type: str
    message: str = ""
    traceback: str = ""
    exit_status: int | None = None
    stderr: str = ""
    condition: str = ""


class Attempt(_Part, frozen=True):
    """One attempt, or one grant that was never used.

    Attributes:
        why: How it ended: `result`, or the reason of the word `ended`.
        counted: Whether it counts against `max_attempts`.
    """

    number: int
    token: str
    executor: str
    started_ms: int = 0
    ended_ms: int = 0
    why: str = ""
    counted: bool = False
    error: Failure | None = None


class Attempts(_Part, frozen=True):
    """The attempts so far.

    Attributes:
        counted: Those of this generation that count against `max_attempts`.
        total: Those of all generations, whether they count or not.
        interruptions: Those of this generation that a shutdown or a lost lease has ended.
        joint: Those of this generation that ended together with others of their executor.
        last: The last ten.
    """

    counted: int = 0
    total: int = 0
    interruptions: int = 0
    joint: int = 0
    last: tuple[Attempt, ...] = ()

    def with_ended(self, attempt: Attempt) -> tuple[Attempt, ...]:
        """The last ten attempts, this one among them."""
        return (*self.last, attempt)[-_ATTEMPTS:]


class Due(_Part, frozen=True):
    """When a task is due that waits for its next attempt.

    Attributes:
        at_ms: The time, in milliseconds since the epoch.
        delay_ms: The wait from the moment of its failure: after a take-over the wait is the shorter
            of the two, since the clocks of two hosts are never compared.
    """

    at_ms: int
    delay_ms: int


class StopNote(_Part, frozen=True):
    """An order to stop.

    Attributes:
        force: Whether the attempt is killed at once.
        quiet: Whether the destinations of failures hear nothing.
        too_late: Whether the attempt had its result before.
        unconfirmed: Whether nobody has confirmed the end of the attempt.
    """

    at_ms: int
    by: str = ""
    reason: str = ""
    force: bool = False
    quiet: bool = False
    too_late: bool = False
    unconfirmed: bool = False


class HistoryLine(_Part, frozen=True):
    """A change, or a word without an effect that people should know of.

    Attributes:
        to: The state after it.
        who: Who said it: `owner`, an executor, or `USER@HOST`.
    """

    at_ms: int
    to: State
    who: str
    why: str = ""


PENDING: Final = "pending"
DELIVERED: Final = "delivered"
REFUSED: Final = "refused"


class Destination(_Part, frozen=True):
    """A place outside of the cluster that gets an outcome, and whether the place has it.

    Attributes:
        status: `pending`, `delivered` or `refused`.
        why: Why the place refuses.
        outcome: The outcome that the place gets.
        on_cluster: Whether the place is a topic of the cluster, which has refused.
    """

    name: str
    status: str
    why: str = ""
    outcome: State = State.SUCCEEDED
    on_cluster: bool = False


class Head(_Part, frozen=True, kw_only=True):
    """The present state of a task.

    Attributes:
        v: Format of the record.
        generation: How often the task was begun by hand or anew, from 1.
        outcome: The final state that follows on `Delivering`; None: none is known.
        seq: Offset of the submission in the inbox: the order of a queue.
        route: The key of the record, where tasks of one key run in their order: decides the
            task's partition, too; empty: the task waits for no other, and its id decides.
        overtakes: Whether somebody has begun the task anew: such a task waits for none of its
            route, and none waits for it.
        token: Id of the attempt that an executor holds; empty: none does.
        executor: The executor that holds the token, or held the last one.
        boot: Id of the executor's start.
        offer: Number of the executor's offer under which it got the token; 0: it is on the host of
            the owner that gave the token.
        grant_number: Number of the grant that gave the token; see `kafka_etl.tasks.words.Alive`.
        granted_ms: When the executor got the token; 0: never. Likewise `started_ms`, `finished_ms`.
        expires_ms: When a task that has not started expires; 0: never.
        forget_ms: When the id may be used anew; 0: not known yet.
        ask: A question for the executor, such as `stack`, and the id of the word that asked it.
        result: Preview of the result.
        result_at: Offset of the result in the inbox; -1: there is none.
        destinations: The places outside of the cluster that get the outcome of this generation.
        delivery: Number of the last delivery; 0: there was none.
        duplicates: Submissions of the same id that were dropped.
        history: The last fifty lines of it.
        before: Number of lines before these.
        words: Ids of the last sixteen words that were taken.
        is_stub: Whether the history is over, and only the id is still known.
        rest: Fields of a later format, which travel on unchanged.
    """

    id: str
    state: State
    v: int = msgspec.field(default_factory=lambda: FORMAT)  # a factory's default is written, too
    generation: int = 1
    outcome: State | None = None
    seq: int = 0
    route: str = ""
    overtakes: bool = False
    submit: Submitted | None = None
    origin: Origin | None = None
    input: Input | None = None
    trace: str = ""
    token: str = ""
    executor: str = ""
    boot: str = ""
    offer: int = 0
    grant_number: int = 0
    granted_ms: int = 0
    started_ms: int = 0
    attempts: Attempts = Attempts()
    due: Due | None = None
    expires_ms: int = 0
    stop: StopNote | None = None
    ask: str = ""
    result: str = ""
    result_at: int = -1
    error: Failure | None = None
    destinations: tuple[Destination, ...] = ()
    delivery: int = 0
    duplicates: int = 0
    history: tuple[HistoryLine, ...] = ()
    before: int = 0
    words: tuple[str, ...] = ()
    finished_ms: int = 0
    forget_ms: int = 0
    is_stub: bool = False
    rest: dict[str, Any] = {}

    @property
    def age(self) -> tuple[int, int]:
        """Grows with each change: tells which of two heads of a task is the later one."""
        return self.generation, self.before + len(self.history)

    @property
    def in_turn(self) -> bool:
        """Whether the task waits for those before it in its route, and others wait for it."""
        return bool(self.route) and not self.overtakes

    @property
    def is_suspect(self) -> bool:
        """Whether the task may be one that brings its executor down: it has died with others."""
        return self.attempts.joint >= _SUSPECT_FROM

    def most_suspects(self, slots: int) -> int:
        """Suspects that may run together on an executor with so many slots, if this one does.

        They are half as many after each further death, and in the end one. So a task that does
        bring executors down does so alone, or with tasks that have seen few deaths; where hosts die
        for other reasons, hardly a task ever waits for that.
        """
        if not self.is_suspect:
            return slots
        deaths = self.attempts.joint
        return 1 if deaths >= _ONLY_FROM else max(1, slots >> (deaths - 1))

    def with_line(self, line: HistoryLine) -> tuple[tuple[HistoryLine, ...], int]:
        """The last fifty lines, this one among them, and how many there were before."""
        history = (*self.history, line)
        return history[-_LINES:], self.before + max(0, len(history) - _LINES)

    def with_word(self, word: str) -> tuple[str, ...]:
        """The last sixteen words, this one among them."""
        return (*self.words, word)[-_WORDS:]


def encode_head(head: Head) -> bytes:
    """A head as the journal has it."""
    if not head.rest:
        return _encode(head)
    fields = msgspec.to_builtins(head)
    del fields["rest"]
    return _encode(head.rest | fields)


def encode_quarantine(head: bytes | None, why: str, at_ms: int) -> bytes:
    """What stands in place of a head at which a word has failed: no head, so its id stays taken.

    Args:
        head: The head as it was; None: there was none.
        why: The error.
        at_ms: When, in milliseconds since the epoch.
    """
    was = None if head is None else msgspec.Raw(head)
    return _encode({"v": FORMAT, "quarantine": why, "at_ms": at_ms, "was": was})


def decode_head(data: bytes) -> Head:
    """A head from the journal; what a later format has added is in `rest`.

    Raises:
        msgspec.MsgspecError: The data is no head.
    """
    head = _decode(data)
    if head.v <= FORMAT:
        return head
    known = {field.encode_name for field in msgspec.structs.fields(Head)}
    fields: dict[str, Any] = _any(data)
    return msgspec.structs.replace(
        head, rest={name: value for name, value in fields.items() if name not in known}
    )


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Head).decode
_any: Final = msgspec.json.Decoder(dict[str, Any]).decode
