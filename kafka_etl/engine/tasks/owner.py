"""The owner as a sink of the inbox: takes words in, and commits what they change.

An owner is a worker of the stream engine whose records are words. The engine has the membership,
the lease, recovery, draining and the order of words; this sink has the tasks. One transaction holds
the new heads, a mark of how far the inbox was read, outputs, dead letters, and the inbox's offset
of each partition that it touches, with the lease: a worker that has lost a partition cannot commit
a change to its tasks, however late it wakes.

::

    inbox ──words──▶ Book (overlay) ──one transaction──▶ journal, outputs, dead letters, offsets
      ▲                                    │ merge
      │                                    ▼
      └───────── keeper's words ◀── keeper ◀── grants, halts

After a commit that failed the overlay is dropped; after one whose outcome nobody knows the tasks
are read anew from the journal. All methods but `begin` are called on the commit thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from kafka_etl.contracts import Aborted, OutcomeUnknown
from kafka_etl.engine.tasks.book import Book, Broken, HeadChange
from kafka_etl.engine.tasks.executors import Executors, LocalKeeper
from kafka_etl.engine.tasks.inputs import Inputs
from kafka_etl.engine.tasks.letters import letter_of
from kafka_etl.engine.tasks.measures import Measures
from kafka_etl.engine.tasks.rejects import Rejects
from kafka_etl.errors import TaskHistoryLost
from kafka_etl.invocation import DeadLetter, ErrorInfo, Settlement, Tenure
from kafka_etl.log import get_logger
from kafka_etl.metrics import Counters
from kafka_etl.record import Offsets, Partition, SourceRecord, headers_of, offset_of, partition_of
from kafka_etl.tasks import words as w
from kafka_etl.tasks.head import Head, encode_head
from kafka_etl.tasks.journal import (
    Mark,
    ProgressNote,
    encode_mark,
    encode_progress,
    head_key,
    mark_key,
    progress_key,
)
from kafka_etl.tasks.keeping import TaskRecord
from kafka_etl.tasks.log import Entry, TaskLog
from kafka_etl.tasks.policy import Moment, Policy
from kafka_etl.tasks.rows import decode_rows
from kafka_etl.tasks.states import State

_FORGET_EVERY_MS: Final = 60_000
_MOST_GRANTS: Final = 500


class OwnerSink:
    """The owner of the tasks of some partitions; see `kafka_etl.contracts.OffsetKeeper`.

    Args:
        log: The inbox and the journal.
        keeper: The keeper of this host.
        executors: Those that hold our tasks.
        policy: The rules of the pipeline.
        writer: Name of this owner, for the marks.
        operator: Name of the operator, for dead letters.
        now_ms: Present time, in milliseconds since the epoch.
        chance: A random number from 0 to 1.
        counters: Counts words, starts and ends.
    """

    rolls = False

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of the owner
        self,
        log: TaskLog,
        keeper: LocalKeeper,
        executors: Executors,
        policy: Policy,
        writer: str,
        operator: str,
        now_ms: Callable[[], int],
        chance: Callable[[], float],
        counters: Counters,
    ) -> None:
        self._tasks = log
        self._keeper = keeper
        self._executors = executors
        self._policy = policy
        self._writer = writer
        self._operator = operator
        self._now_ms = now_ms
        self._chance = chance
        self._counters = counters
        self._books: dict[Partition, Book] = {}
        self._next: dict[Partition, int] = {}
        self._commits: dict[Partition, int] = {}
        self._positions: dict[int, int] = {}
        self._inputs = Inputs(log.inputs)
        self._results: dict[str, bytes] = {}
        self._notes: dict[tuple[Partition, str], ProgressNote] = {}
        self._rejects = Rejects(counters)
        self._forgot_at = 0
        self._measures = Measures(counters)
        self._log = get_logger("owner")

    # Called by the engine

    def open(self) -> None:
        """Take over the transactional id; what is not committed is void."""
        self._void()
        self._tasks.open()

    def close(self) -> None:
        self._keeper.close()
        self._tasks.close()

    def standing(self, arrivals: Offsets) -> Offsets:
        """Take partitions over: read their tasks, and where their last owner stood.

        Raises:
            TaskHistoryLost: An owner has read words of which the journal knows nothing.
        """
        stands: dict[Partition, int] = {}
        for tp, committed in arrivals.items():
            restored = self._tasks.restore(tp)
            if restored.mark is None and committed > 0:
                raise TaskHistoryLost(
                    f"words of {tp} were read up to offset {committed:,}, and the journal has no "
                    "record of what became of them: it was deleted, or has lost records"
                )
            book = Book(self._policy)
            for task, head in restored.heads.items():
                book.restore(task, head)
            book.begin(self._now_ms())
            mark = restored.mark
            self._books[tp] = book
            self._next[tp] = stands[tp] = committed if mark is None else max(committed, mark.inbox)
            self._commits[tp] = 0 if mark is None else mark.n
            self._positions[tp.number] = restored.end
            for held in book.held():
                self._keeper.leave_alone(held)
            self._log.info(
                "took over",
                partition=str(tp),
                tasks=len(restored.heads),
                open=sum(book.counts.values()),
            )
        self._serve()
        return stands

    def begin(self, settlement: Settlement) -> Callable[[], None]:
        """See `kafka_etl.contracts.Sink`; everything is done on the commit thread."""
        return lambda: self._take_in(settlement)

    def tick(
        self, tenure: Callable[[], Tenure], *, final: bool, leaving: Collection[Partition] = ()
    ) -> Offsets:
        """Do what is due without a word: hear the executors, tell the time, grant attempts."""
        del leaving
        self._exchange()
        if not final:
            self._turn()
        self._commit({}, tenure())
        return {}

    # Words

    def _take_in(self, settlement: Settlement) -> None:
        for record in settlement.records:
            tp = partition_of(record)
            if tp in self._books:
                self._hear(tp, record)
        self._exchange()
        self._turn()
        self._commit(settlement.progress, settlement.held(), settlement.dead_letters)
        self._rejects.committed()

    def _hear(self, tp: Partition, record: SourceRecord) -> None:
        """Take one word; what is none becomes a dead letter."""
        book, now = self._books[tp], self._now_ms()
        try:
            task = w.task_of(record.key())
            word = w.decode_word(headers_of(record), task)
        except w.BadWord as bad:
            self._rejects.add(record, ErrorInfo("BadWord", str(bad)), now)
            return
        self._counters.add("words")
        self._rejects.good()
        match word:
            case w.Alive() | w.Hello():
                self._executors.hear(word, book.held())
                return
            case w.Probe():
                self._executors.hear_probe(tp, word)
                return
            case w.Progress():
                self._note(tp, book, task, word)
                return
            case w.Submit():
                value = record.value()
                word = replace(word, accepted_ms=record.timestamp()[1], size=len(value or b""))
            case _:
                pass
        at = Moment(now, offset_of(record), self._chance())
        if not book.take(task, word, at):
            if task in book.broken:
                self._rejects.add(record, _internal(book.broken[task]), now)
            return
        if isinstance(word, w.Submit):
            self._inputs.keep(tp, record)
        elif isinstance(word, w.Result):
            self._results[task] = record.value() or b""

    def _note(self, tp: Partition, book: Book, task: str, word: w.Progress) -> None:
        """Progress changes no head: it has a record of its own in the journal."""
        head = book.head(task)
        if head is not None and head.token == word.token:
            note = ProgressNote(word.token, word.fraction, word.text, self._now_ms())
            self._notes[tp, task] = note

    # Without a word

    def _exchange(self) -> None:
        """Hear the keeper of this host, and have it know what there is to know."""
        if self._keeper.exchange():
            self._keeper.agree([head for book in self._books.values() for head in book.held()])
        self._keeper.follow()

    def _turn(self) -> None:
        now = self._now_ms()
        forgets = now - self._forgot_at >= _FORGET_EVERY_MS
        for book in self._books.values():
            book.tell_time(now)
            if forgets:
                book.forget_old(now, self._policy.history_ms)
        if forgets:
            self._forgot_at = now
        self._end_lost(now)
        self._grant(now)
        self._measures.look(self._books.values(), now)

    def _end_lost(self, now: int) -> None:
        """End the attempts whose executor is gone, or does not know them."""
        held = {tp: list(book.held()) for tp, book in self._books.items()}
        for tp, task, word in self._executors.lost(held):
            self._books[tp].take(task, word, Moment(now, chance=self._chance()))

    def _grant(self, now: int) -> None:
        """Give free slots to the tasks that wait longest, whatever partition they are in."""
        for _ in range(_MOST_GRANTS):
            if not self._keeper.free:
                return
            waiting = [
                (head.seq, head.id, tp)
                for tp, book in self._books.items()
                if (head := book.next_waiting()) is not None
            ]
            if not waiting:
                return
            _, task, tp = min(waiting)
            book = self._books[tp]
            head = book.head(task)
            if head is None or not self._keeper.has_room_for(head):
                return  # nobody overtakes a task that runs alone: its turn would never come
            has_input = self._inputs.get(tp, head) is not None
            word = self._keeper.grant(head) if has_input else w.InputLost()
            book.take(task, word, Moment(now))

    # Commits

    def _commit(
        self, progress: Offsets, tenure: Tenure, letters: Sequence[DeadLetter] = ()
    ) -> None:
        """Commit all changes of the partitions that are still this worker's.

        Args:
            progress: Partition -> the next offset of the inbox to read.
            tenure: The worker's hold on its partitions.
            letters: Records of the inbox that cannot even be read.

        Raises: as `TaskLog.commit`.
        """
        for tp in tenure.departed:
            self._leave(tp)
        changed = {tp for tp, book in self._books.items() if book.has_changes}
        noted = {tp for tp, _ in self._notes if tp in self._books}
        offsets = {tp: at for tp, at in progress.items() if tp in self._books}
        for tp in changed | noted:
            offsets.setdefault(tp, self._next[tp])
        if not offsets:
            return
        changes = {tp: self._books[tp].changes() for tp in changed}
        entry = self._entry(changes, offsets)
        rejected = [one for one in self._rejects.letters if partition_of(one.record) in self._books]
        entry.letters += [*letters, *rejected]
        try:
            written = self._tasks.commit(entry, offsets, tenure.lease)
        except (Aborted, OutcomeUnknown):
            self._void()
            raise
        for number, at in written.items():
            self._positions[number] = max(at, self._positions.get(number, 0))
        self._keeper.stands(self._positions)
        self._merge(changes, offsets)

    def _entry(self, changes: Mapping[Partition, Sequence[HeadChange]], offsets: Offsets) -> Entry:
        entry, now = Entry(), self._now_ms()
        for tp in changes:
            for task, broken in self._books[tp].broken.items():
                entry.journal.append((tp.number, head_key(task), broken.record))
                self._log.error("quarantined", task=task, error=broken.error.message)
        for tp, of_partition in changes.items():
            for change in of_partition:
                value = None if change.after is None else encode_head(change.after)
                entry.journal.append((tp.number, head_key(change.task), value))
                if change.after is None:
                    entry.journal.append((tp.number, progress_key(change.task), None))
                elif change.ends:
                    self._deliver(entry, tp, change)
        for (tp, task), note in self._notes.items():
            if tp in self._books:
                entry.journal.append((tp.number, progress_key(task), encode_progress(note)))
        for tp, at in offsets.items():
            number = self._commits[tp] + 1
            entry.notes[tp] = number, self._books[tp].open
            mark = Mark(at, number, self._writer, now)
            entry.journal.append((tp.number, mark_key(), encode_mark(mark)))
        return entry

    def _deliver(self, entry: Entry, tp: Partition, change: HeadChange) -> None:
        """Add what the destinations get of a task that ends."""
        head = change.after
        if head is None:
            return
        if head.state is State.SUCCEEDED:
            entry.rows += decode_rows(self._results[change.task])
        elif not (head.stop is not None and head.stop.quiet):
            record = self._inputs.get(tp, head) or _without_input(tp, head)
            entry.letters.append(letter_of(head, record, self._operator, self._now_ms()))

    def _merge(self, changes: Mapping[Partition, Sequence[HeadChange]], offsets: Offsets) -> None:
        for tp, at in offsets.items():
            self._next[tp] = at
            self._commits[tp] += 1
        for tp, of_partition in changes.items():
            self._books[tp].merge()
            for change in of_partition:
                self._follow(tp, change)
        self._results.clear()
        self._notes.clear()

    def _follow(self, tp: Partition, change: HeadChange) -> None:
        """Do what a change that is durable now asks for."""
        before, after = change.before, change.after
        self._measures.count(change)
        if after is None:
            return
        if after.state is State.DEQUEUED and (record := self._inputs.get(tp, after)) is not None:
            self._keeper.start(tp.number, after, record)
        elif after.state is State.STOPPING:
            self._keeper.halt(after)
        if after.ask and (before is None or before.ask != after.ask):
            self._keeper.ask(after)
        if before is not None and before.token and not after.token:
            self._keeper.released(before.token)
        if change.ends:
            self._counters.add("tasks_ended", 1, after.state.value)
            self._inputs.drop(tp, after)

    def _leave(self, tp: Partition) -> None:
        if self._books.pop(tp, None) is None:
            return
        self._next.pop(tp, None)
        self._inputs.forget(tp)
        self._executors.forget(tp)
        self._positions.pop(tp.number, None)
        self._serve()

    def _serve(self) -> None:
        self._keeper.serve({tp.number: self._positions.get(tp.number, 0) for tp in self._books})

    def _void(self) -> None:
        """Nothing of what was not committed has happened."""
        for book in self._books.values():
            book.drop()
        self._results.clear()
        self._notes.clear()
        self._rejects.void()
        self._keeper.void()


def _internal(broken: Broken) -> ErrorInfo:
    """A fault of ours, as the reason of a dead letter."""
    said = f"{broken.error.type}: {broken.error.message}"
    return ErrorInfo("InternalError", said, broken.error.traceback)


def _without_input(tp: Partition, head: Head) -> TaskRecord:
    """A record in place of an input that is gone."""
    return TaskRecord(tp.topic, tp.number, head.seq, -1, None, None, [])
