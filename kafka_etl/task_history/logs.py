"""What attempts have printed, and what they print now, read from the topic of logs.

The topic is shared, and a partition of it has the logs of many attempts. Where to begin follows
from the time of the attempt; where to end, from the piece that ends its log.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from time import monotonic
from typing import Final, NamedTuple

from kafka_etl.errors import AttemptSilent, NoAttempt
from kafka_etl.kafka.cluster.tail import Tail
from kafka_etl.kafka.cluster.topics import existing_partitions, read_ranges
from kafka_etl.record import Partition, SourceRecord, headers_of
from kafka_etl.task_history.pipeline import Everything, TaskPipeline
from kafka_etl.task_history.sending import Addressed, largest_word, send_words
from kafka_etl.task_history.watch import Watch
from kafka_etl.tasks.head import Head
from kafka_etl.tasks.log_records import Piece, partition_of_token, piece_of
from kafka_etl.tasks.states import FINAL
from kafka_etl.tasks.words import Ask, encode_word

_SLACKS: Final = (60_000, 600_000)
"""Milliseconds around an attempt in which its log is looked for: clocks differ."""
_WITHOUT_AN_END: Final = 3.0
"""Seconds after the end of an attempt in which the rest of its log may still come."""
_PIECE: Final = 0.2
_STACK_IS_WHOLE: Final = 0.5
"""Seconds without another piece after which a stack is complete."""
_MADE_BY: Final = (
    "A pipeline with `mode: task` makes it when it starts, unless its `history.logs` is off; with "
    "the pipeline's file, another name in `history.topic` is found."
)


class Run(NamedTuple):
    """An attempt, as far as its log goes.

    Attributes:
        number: Number of the attempt among all of the task.
        begun_ms: When it was granted or begun, in milliseconds since the epoch.
        ended_ms: When it ended; 0: it runs.
    """

    number: int
    token: str
    begun_ms: int
    ended_ms: int = 0


def runs_of(head: Head) -> list[Run]:
    """The attempts of a task that its head knows, in their order; the last may run."""
    accepted = head.submit.at_ms if head.submit is not None else 0
    runs = [
        Run(attempt.number, attempt.token, attempt.started_ms or accepted, attempt.ended_ms)
        for attempt in head.attempts.last
    ]
    if head.token:
        runs.append(Run(head.attempts.total + 1, head.token, head.granted_ms))
    return runs


def chosen_run(head: Head, number: int | None) -> Run | None:
    """The attempt of this number; or, without a number, the last one; None: none has begun.

    Raises:
        NoAttempt: The head knows no attempt of this number.
    """
    runs = runs_of(head)
    if number is None:
        return runs[-1] if runs else None
    found = next((run for run in runs if run.number == number), None)
    if found is None:
        known = ", ".join(str(run.number) for run in runs) or "none"
        raise NoAttempt(f"task {head.id} has no attempt {number}; known are: {known}")
    return found


class Logs:
    """The topic of logs of a pipeline.

    Raises:
        TopicMissing: There is no such topic.
    """

    def __init__(self, pipeline: TaskPipeline) -> None:
        self._pipeline = pipeline
        topic = pipeline.logs
        self._count = len(existing_partitions(pipeline.admin, topic, _MADE_BY))

    def of(self, run: Run) -> Iterator[Piece]:
        """What an attempt has printed so far.

        Raises:
            KafkaEtlError: The topic cannot be read.
        """
        found: list[Piece] = []
        for slack in _SLACKS:
            found = list(self._around(run, slack))
            if found and found[0].seq == 0:
                break
        yield from found

    def tail(self, run: Run) -> Tail:
        """Follow the log of an attempt from its beginning."""
        partition = self.partition(run.token)
        begin = self._at(partition, run.begun_ms - _SLACKS[0])
        return Tail(self._pipeline.consumer, {partition: begin})

    def tail_from_now(self, token: str) -> Tail:
        """Follow the log of an attempt from now on."""
        partition = self.partition(token)
        end = self._pipeline.admin.latest([partition])[partition]
        return Tail(self._pipeline.consumer, {partition: end})

    def partition(self, token: str) -> Partition:
        """Where the log of an attempt is."""
        return Partition(self._pipeline.logs, partition_of_token(token, self._count))

    def _around(self, run: Run, slack: int) -> Iterator[Piece]:
        partition = self.partition(run.token)
        begin = self._at(partition, run.begun_ms - slack)
        end = self._pipeline.admin.latest([partition])[partition]
        if run.ended_ms:
            end = min(end, self._at(partition, run.ended_ms + slack))
        ordered = InOrder(run.token)
        for record in read_ranges(self._pipeline.consumer, {partition: (begin, end)}):
            yield from ordered.taken(record)
            if ordered.is_over:
                return

    def _at(self, partition: Partition, ms: int) -> int:
        """The first offset at a time; that of the end: all records are older."""
        admin = self._pipeline.admin
        found = admin.at_time([partition], max(0, ms))[partition]
        return found if found >= 0 else admin.latest([partition])[partition]


class InOrder:
    """The pieces of one attempt among the records of a partition, each once.

    Attributes:
        is_over: Whether the log's end was seen.
    """

    def __init__(self, token: str) -> None:
        self._key = token.encode()
        self._next = 0
        self.is_over = False

    def taken(self, record: SourceRecord) -> Iterator[Piece]:
        """The piece that a record is, if it is one of this log."""
        if record.key() != self._key or self.is_over:
            return
        piece = piece_of(headers_of(record), record.value())
        if piece is None or piece.seq < self._next:
            return
        self._next = piece.seq + 1
        self.is_over = piece.stream == "end"
        yield piece


def follow(
    pipeline: TaskPipeline, every: Everything, logs: Logs, first: Run | None
) -> Iterator[Run | Piece | None]:
    """What the attempts of a task print, from one attempt on, until the task has ended.

    Args:
        pipeline: The pipeline.
        every: The task.
        logs: The topic of logs.
        first: The attempt to begin with; None: none has begun yet.

    Yields:
        Each attempt, then its pieces; None: nothing has come for a moment.

    Raises:
        KafkaEtlError: A topic cannot be read.
    """
    row = every.task.row
    place = (row.partition, row.id)
    head, run = every.head, first
    begins = {row.partition: row.offset}
    with Watch(pipeline.consumer, pipeline.journal, begins, [place]) as watch:
        while True:
            if run is not None:
                yield run
                with logs.tail(run) as tail:
                    yield from _until_over(run, tail, watch, place)
            watch.poll(0)
            head = watch.heads.get(place) or head
            following = _next_run(head, run)
            if following is None and (head is None or head.state in FINAL):
                return
            if following is None:
                yield None
                watch.poll(_PIECE)
            else:
                run = following


def _next_run(head: Head | None, run: Run | None) -> Run | None:
    """The attempt after this one; None: there is none yet."""
    number = 0 if run is None else run.number
    return next((each for each in runs_of(head) if each.number > number), None) if head else None


def _until_over(
    run: Run, tail: Tail, watch: Watch, place: tuple[int, str]
) -> Iterator[Piece | None]:
    """The pieces of an attempt, until its log is over, or the attempt is and no end comes."""
    ordered = InOrder(run.token)
    quiet_since: float | None = None
    while not ordered.is_over:
        found = [piece for record in tail.poll(_PIECE) for piece in ordered.taken(record)]
        yield from found or (None,)
        watch.poll(0)
        head = watch.heads.get(place)
        is_held = not run.ended_ms and (head is None or head.token == run.token)
        if found or is_held:
            quiet_since = None
        elif quiet_since is None:
            quiet_since = monotonic()
        elif monotonic() - quiet_since > _WITHOUT_AN_END:
            return


# Stacks


def stack_of(
    pipeline: TaskPipeline, every: Everything, logs: Logs, by: str, patience: float
) -> str:
    """Ask the running attempt of a task for its stacks.

    Args:
        pipeline: The pipeline.
        every: The task.
        logs: The topic of logs.
        by: Who asks: `USER@HOST`.
        patience: Seconds to wait for an answer.

    Raises:
        NoAttempt: No attempt of the task runs.
        AttemptSilent: There is no answer in time.
        KafkaEtlError: The word cannot be sent, or the answer not be read.
    """
    head, row = every.head, every.task.row
    if head is None or not head.token:
        state = row.state if head is None else head.state
        raise NoAttempt(f"task {row.id} is {state}: no attempt of it runs")
    token = head.token
    with ExitStack() as stack:
        watch = stack.enter_context(_watch(pipeline, row.partition, row.id))
        tail = stack.enter_context(logs.tail_from_now(token))
        tail.poll(0)
        ask = Ask(by=by, word=f"{token}.{by}.{monotonic()}")
        word = Addressed(row.partition, row.id, encode_word(ask))
        ends = send_words(pipeline, [word], largest_word(pipeline))
        found = _stack_from(tail, token, patience)
        if found:
            return found
        watch.poll(_PIECE)
        taken = watch.has_taken(ends)
    executor = head.executor
    said = (
        f"its executor {executor} has said nothing" if taken else "no owner has taken the question"
    )
    raise AttemptSilent(f"task {row.id} shows no stack within {patience:.0f} s: {said}")


def _watch(pipeline: TaskPipeline, partition: int, task: str) -> Watch:
    begins = pipeline.journal_ends([partition])
    return Watch(pipeline.consumer, pipeline.journal, begins, [(partition, task)])


def _stack_from(tail: Tail, token: str, patience: float) -> str:
    """The first stack that comes; empty: none does."""
    found = b""
    until = monotonic() + patience
    while monotonic() < until:
        for record in tail.poll(_PIECE):
            piece = piece_of(headers_of(record), record.value())
            if record.key() == token.encode() and piece and piece.stream == "stack":
                found += piece.data
                until = min(until, monotonic() + _STACK_IS_WHOLE)
    return found.decode("utf-8", "replace")
