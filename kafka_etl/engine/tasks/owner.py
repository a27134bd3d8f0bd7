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

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from msgspec.structs import replace

from kafka_etl.contracts import Aborted, OutcomeUnknown, Refusal
from kafka_etl.engine.tasks.archive import Place
from kafka_etl.engine.tasks.book import Book, Broken, HeadChange
from kafka_etl.engine.tasks.deliveries import Deliveries, Destinations, newly_refused
from kafka_etl.engine.tasks.dividing import commit_divided
from kafka_etl.engine.tasks.executors import Executors, LocalKeeper
from kafka_etl.engine.tasks.inputs import Inputs
from kafka_etl.engine.tasks.measures import Measures
from kafka_etl.engine.tasks.reading import read_word
from kafka_etl.engine.tasks.rejects import Rejects
from kafka_etl.engine.tasks.takeover import TakeOver
from kafka_etl.engine.tasks.turns import by_turns
from kafka_etl.errors import SinkFailed
from kafka_etl.invocation import DeadLetter, ErrorInfo, Settlement, Tenure
from kafka_etl.log import get_logger
from kafka_etl.metrics import Counters
from kafka_etl.record import Offsets, Partition, SourceRecord, offset_of, partition_of
from kafka_etl.tasks import words as w
from kafka_etl.tasks.head import Head
from kafka_etl.tasks.journal import (
    Mark,
    ProgressNote,
    encode_mark,
    encode_progress,
    head_key,
    mark_key,
    progress_key,
)
from kafka_etl.tasks.log import Entry, FoundHead, TaskLog
from kafka_etl.tasks.open_note import OpenNote
from kafka_etl.tasks.placing import partition_of as home_of
from kafka_etl.tasks.policy import Moment, Policy
from kafka_etl.tasks.states import State

_FORGET_EVERY_MS: Final = 1_000
_MOST_GRANTS: Final = 500


TaskChange = tuple[Partition, HeadChange]


class _Commit(NamedTuple):
    """What one transaction commits besides the changes of tasks.

    Attributes:
        offsets: Partition -> the next offset of the inbox to read.
        lease: Proof of membership.
        letters: Dead letters of what is no task; None: it is a part, which commits tasks alone.
    """

    offsets: Offsets
    lease: object
    letters: Sequence[DeadLetter] | None = None


class OwnerSink:
    """The owner of the tasks of some partitions; see `kafka_etl.contracts.OffsetKeeper`.

    Args:
        log: The inbox and the journal.
        take_over: Reads the tasks of partitions that come.
        keeper: The keeper of this host.
        executors: Those that hold our tasks.
        policy: The rules of the pipeline.
        places: Where outcomes go.
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
        take_over: TakeOver,
        keeper: LocalKeeper,
        executors: Executors,
        policy: Policy,
        places: Destinations,
        writer: str,
        operator: str,
        now_ms: Callable[[], int],
        chance: Callable[[], float],
        counters: Counters,
    ) -> None:
        self._tasks = log
        self._take_over = take_over
        self._keeper = keeper
        self._executors = executors
        self._policy = policy
        self._writer = writer
        self._now_ms = now_ms
        self._chance = chance
        self._counters = counters
        self._books: dict[Partition, Book] = {}
        self._next: dict[Partition, int] = {}
        self._commits: dict[Partition, int] = {}
        self._positions: dict[int, int] = {}
        self._inputs = Inputs(log.inputs)
        self._deliveries = Deliveries(places, self._inputs, log.inputs, operator, now_ms)
        self._notes: dict[tuple[Partition, str], ProgressNote] = {}
        self._rejects = Rejects(counters)
        self._moves: list[tuple[int, SourceRecord]] = []
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
        for book in self._books.values():
            book.close()

    def standing(self, arrivals: Offsets) -> Offsets:
        """Take partitions over: read their tasks, and where their last owner stood."""
        stands: dict[Partition, int] = {}
        for tp in arrivals.keys() & self._books.keys():
            self._books.pop(tp).close()
        for tp, (book, mark, end) in self._take_over.take(arrivals).items():
            self._deliveries.give_up(book, self._now_ms())
            self._books[tp] = book
            committed = arrivals[tp]
            self._next[tp] = stands[tp] = committed if mark is None else max(committed, mark.inbox)
            self._commits[tp] = 0 if mark is None else mark.n
            self._positions[tp.number] = end
            for held in book.held():
                self._keeper.knows(held)
            self._log.info("took over", partition=str(tp), open=sum(book.counts.values()))
        self._serve()
        return stands

    def begin(self, settlement: Settlement) -> Callable[[], None]:
        """See `kafka_etl.contracts.Sink`; everything is done on the commit thread."""
        return lambda: self._take_in(settlement)

    def tick(
        self,
        tenure: Callable[[], Tenure],
        *,
        final: bool,
        paused: bool = False,
        leaving: Collection[Partition] = (),
    ) -> Offsets:
        """Do what is due without a word: hear the executors, tell the time, grant attempts."""
        for tp in leaving:
            self._leave(tp)
        self._exchange()
        with self._archives_looked_after():
            if not final:
                self._turn(paused=paused)
            self._commit({}, tenure())
            self._take_over.save(self._books, self._place)
        return {}

    # Words

    def _take_in(self, settlement: Settlement) -> None:
        with self._archives_looked_after():
            for record in settlement.records:
                tp = partition_of(record)
                if tp in self._books:
                    self._hear(tp, record)
            self._exchange()
            self._turn()
            self._commit(settlement.progress, settlement.held(), settlement.dead_letters)
            self._pass_turns(settlement.held)
        self._rejects.committed()

    @contextmanager
    def _archives_looked_after(self) -> Generator[None]:
        """Have all tasks read anew if an archive fails, whatever of a commit has landed."""
        try:
            yield
        except sqlite3.Error as error:
            self._void()
            raise self._take_over.damaged(self._books, error) from error

    def _hear(self, tp: Partition, record: SourceRecord) -> None:
        """Take one word; what is none becomes a dead letter."""
        book, now = self._books[tp], self._now_ms()
        try:
            task, word, rows = read_word(record)
        except w.BadWord as bad:
            self._rejects.add(record, ErrorInfo("BadWord", str(bad)), now)
            return
        self._counters.add("words")
        self._rejects.good()
        match word:
            case w.Alive() | w.Hello():
                self._executors.hear(tp, word, book.held())
            case w.Probe():
                self._executors.hear_probe(tp, word)
            case w.Progress():
                self._note(tp, book, task, word)
            case w.Submit() if self._home_of(task, word) != tp.number:
                self._moves.append((self._home_of(task, word), record))
            case w.Submit():
                accepted = replace(word, accepted_ms=record.timestamp()[1])
                self._take_input(tp, task, accepted, record)
            case w.Retry(input=True):
                self._take_input(tp, task, word, record)
            case _:
                head = book.head(task)
                whole = self._deliveries.completed(tp, head, word, record, rows)
                if whole is not None and self._take(tp, task, whole, record):
                    self._took(tp, head, whole)

    def _took(self, tp: Partition, head: Head | None, word: w.Word) -> None:
        """A task with this head has taken a word of its attempt, or an order."""
        if not isinstance(word, w.Result | w.Ended | w.Returned) or head is None:
            return
        if not head.offer:
            self._keeper.took(word)
        elif isinstance(word, w.Returned):
            self._executors.returned(tp, head)

    def _take_input(
        self, tp: Partition, task: str, word: w.Submit | w.Retry, record: SourceRecord
    ) -> None:
        """Have a task take a word whose record is an input."""
        sized = replace(word, size=len(record.value() or b""))
        if self._take(tp, task, sized, record):
            self._inputs.keep(tp, record)

    def _take(self, tp: Partition, task: str, word: w.Word, record: SourceRecord) -> bool:
        """Have a task take a word; return whether the word has an effect."""
        book, now = self._books[tp], self._now_ms()
        has_effect = book.take(task, word, Moment(now, offset_of(record), self._chance()))
        if not has_effect and task in book.broken:
            self._rejects.add(record, _internal(book.broken[task]), now)
        return has_effect

    def _home_of(self, task: str, word: w.Submit) -> int:
        """The partition of a task, whatever the writer of its submission has thought."""
        return home_of(word.route or task, self._tasks.partitions)

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
        self._keeper.follow(self._answered)

    def _answered(self, found: FoundHead, head: Head) -> None:
        """Another owner has granted an attempt to the keeper of this host, under an offer."""
        tp = self._tasks.partition(found.partition)
        try:
            record = self._inputs.get(tp, head)
        except OutcomeUnknown as away:
            self._log.warning("an input of another owner cannot be read", reason=away.reason)
            record = None
        if record is None:
            self._keeper.withdraw(found.partition)
        else:
            self._keeper.start_offered(found, head, record)
            self._inputs.drop(tp, head)

    def _turn(self, *, paused: bool = False) -> None:
        now = self._now_ms()
        forgets = now - self._forgot_at >= _FORGET_EVERY_MS
        for book in self._books.values():
            book.tell_time(now)
            if forgets:
                book.forget_old(now)
        if forgets:
            self._forgot_at = now
        self._end_lost(now)
        if not paused:
            self._grant(now)
            for tp, book in self._books.items():
                self._grant_elsewhere(tp, book, now)
        is_idle = not paused and all(
            book.next_waiting(suspect=suspect) is None
            for book in self._books.values()
            for suspect in (True, False)
        )
        self._keeper.offer(is_idle=is_idle)
        self._measures.look(self._books.values(), now)

    def _end_lost(self, now: int) -> None:
        """End the attempts whose executor is gone, or does not know them."""
        held = {tp: book.held() for tp, book in self._books.items()}
        for tp, task, word in self._executors.lost(held):
            self._books[tp].take(task, word, Moment(now, chance=self._chance()))

    def _grant(self, now: int) -> None:
        """Give free slots to the tasks that wait longest, whatever partition they are in."""
        waiting = by_turns(self._books, self._keeper.has_room_for)
        for _ in range(_MOST_GRANTS):
            found = next(waiting, None) if self._keeper.free > 0 else None
            if found is None:
                return
            tp, head = found
            has_input = self._inputs.get(tp, head) is not None
            word = self._keeper.grant(head) if has_input else w.InputLost()
            self._books[tp].take(head.id, word, Moment(now))

    def _grant_elsewhere(self, tp: Partition, book: Book, now: int) -> None:
        """Give what still waits to the executors of other hosts that offer slots.

        Suspects stay here: how many of them run elsewhere, nobody knows.
        """
        for opening in self._executors.openings(tp, book.held()):
            for _ in range(opening.slots):
                head = book.next_waiting()
                if head is None:
                    return
                has_input = self._inputs.get(tp, head) is not None
                book.take(head.id, opening.grant() if has_input else w.InputLost(), Moment(now))

    def _pass_turns(self, tenure: Callable[[], Tenure]) -> None:
        """Grant what has its turn since the commit: a route does not wait for the next tick.

        A commit that fails leaves it to the tick.
        """
        called = [book for book in self._books.values() if book.has_called()]
        if called:
            self._grant(self._now_ms())
            with suppress(Aborted):
                self._commit({}, tenure())

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
        changes = [(tp, change) for tp in changed for change in self._books[tp].changes()]
        rejected = [one for one in self._rejects.letters if partition_of(one.record) in self._books]
        commit = _Commit(offsets, tenure.lease, [*letters, *rejected])
        try:
            self._write_all(changes, commit)
        except (Aborted, OutcomeUnknown):
            self._void()
            raise

    def _write_all(self, changes: Sequence[TaskChange], commit: _Commit) -> None:
        """Commit everything together; what is refused, task by task, and the rest after them."""
        try:
            self._write(changes, commit)
        except Aborted as aborted:
            if aborted.refusal is None:
                raise
            self._log.warning("a commit was refused", tasks=len(changes), reason=aborted.reason)
            lease = commit.lease
            commit_divided(
                changes,
                lambda some: self._write(some, self._part(some, lease)),
                lambda one, refusal: self._refuse(one, refusal, lease),
            )
            self._write_rest(commit)

    def _write_rest(self, commit: _Commit) -> None:
        """Commit all that belongs to no task, if need be without dead letters of what is none."""
        try:
            self._write((), commit)
        except Aborted as aborted:
            if aborted.refusal is None:
                raise
            self._tell_refused("", aborted.refusal)
            self._write((), commit._replace(letters=()))

    def _refuse(self, one: TaskChange, refusal: Refusal, lease: object) -> None:
        """Commit a task whose outcome is refused: as Failed, or without telling its failure.

        Raises:
            SinkFailed: It is the journal that refuses.
        """
        tp, change = one
        if not (change.ends or change.sends or change.has_success):
            raise SinkFailed(f"the state of task {change.task} is refused: {refusal.message}")
        after = change.after
        has_result = after is not None and State.SUCCEEDED in {after.state, after.outcome}
        for tells in (True, False) if has_result else (False,):
            self._tell_refused(change.task, refusal)
            self._books[tp].refuse(change.task, refusal.code, refusal.message, self._now_ms())
            changed = [(tp, self._books[tp].change(change.task))]
            try:
                self._write(changed, self._part(changed, lease), tells=tells)
            except Aborted as aborted:
                if aborted.refusal is None or not tells:
                    raise
                refusal = aborted.refusal
            else:
                return

    def _tell_refused(self, task: str, refusal: Refusal) -> None:
        self._log.error(
            "a destination refuses a record", task=task, code=refusal.code, reason=refusal.message
        )

    def _part(self, changes: Sequence[TaskChange], lease: object) -> _Commit:
        """A commit of some tasks alone: the inbox's offsets stay where they are."""
        return _Commit({tp: self._next[tp] for tp, _ in changes}, lease)

    def _write(self, changes: Sequence[TaskChange], commit: _Commit, *, tells: bool = True) -> None:
        """Commit some tasks in one transaction, with everything else unless it is a part.

        Args:
            changes: The changes of the tasks.
            commit: What else there is to commit.
            tells: Whether destinations hear of what has failed.

        Raises: as `TaskLog.commit`.
        """
        entry = self._entry(changes, commit, tells=tells)
        written = self._tasks.commit(entry, commit.offsets, commit.lease)
        for number, at in written.items():
            self._positions[number] = max(at, self._positions.get(number, 0))
        self._keeper.stands(self._positions)
        self._merge(changes, commit)

    def _entry(self, changes: Sequence[TaskChange], commit: _Commit, *, tells: bool) -> Entry:
        letters = [("", letter) for letter in commit.letters or ()]
        entry, now = Entry(letters=letters), self._now_ms()
        more: Counter[Partition] = Counter()
        for tp, change in changes:
            entry.journal.append((tp.number, head_key(change.task), change.value))
            if change.after is None:
                entry.journal.append((tp.number, progress_key(change.task), None))
            self._deliveries.add(entry, tp, change, tells=tells)
            more[tp] += _waits(change.after) - _waits(change.before)
        if commit.letters is not None:
            self._add_rest(entry)
        for tp, at in commit.offsets.items():
            number = self._commits[tp] + 1
            book = self._books[tp]
            waiting = book.counts.get(State.ENQUEUED, 0) + more[tp]
            place = self._positions.get(tp.number, 0)
            entry.notes[tp] = OpenNote(number, book.open, waiting, place)
            mark = Mark(at, number, self._writer, now)
            entry.journal.append((tp.number, mark_key(), encode_mark(mark)))
        return entry

    def _add_rest(self, entry: Entry) -> None:
        """Add to an entry what is no change of a task."""
        entry.moves += [one for one in self._moves if partition_of(one[1]) in self._books]
        for tp, book in self._books.items():
            for task, broken in book.broken.items():
                entry.journal.append((tp.number, head_key(task), broken.record))
                self._log.error("quarantined", task=task, error=broken.error.message)
        for (tp, task), note in self._notes.items():
            if tp in self._books:
                entry.journal.append((tp.number, progress_key(task), encode_progress(note)))

    def _merge(self, changes: Sequence[TaskChange], commit: _Commit) -> None:
        for tp, at in commit.offsets.items():
            self._next[tp] = at
            self._commits[tp] += 1
        for tp, change in changes:
            self._books[tp].merge([change])
            self._deliveries.merged(tp, change)
            self._follow(tp, change)
        if commit.letters is None:
            return
        for book in self._books.values():
            book.merge_broken()
        self._notes.clear()
        self._moves.clear()

    def _follow(self, tp: Partition, change: HeadChange) -> None:
        """Do what a change that is durable now asks for."""
        before, after = change.before, change.after
        self._measures.count(change)
        if after is None:
            return
        if _is_granted_here(change) and (record := self._inputs.get(tp, after)) is not None:
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
        for place in newly_refused(before, after):
            self._counters.add("tasks_undelivered", 1, place)

    def _place(self, tp: Partition) -> Place:
        """Where the book stands in the journal, and how far the inbox was read by then."""
        mark = Mark(self._next[tp], self._commits[tp], self._writer, self._now_ms())
        return Place(self._positions[tp.number], encode_mark(mark))

    def _leave(self, tp: Partition) -> None:
        book = self._books.pop(tp, None)
        if book is None:
            return
        book.close()
        self._next.pop(tp, None)
        self._inputs.forget(tp)
        self._deliveries.leave(tp)
        self._executors.forget(tp)
        self._positions.pop(tp.number, None)
        self._serve()

    def _serve(self) -> None:
        self._keeper.serve({tp.number: self._positions.get(tp.number, 0) for tp in self._books})

    def _void(self) -> None:
        """Nothing of what was not committed has happened."""
        for book in self._books.values():
            book.drop()
        self._notes.clear()
        self._moves.clear()
        self._rejects.void()
        self._keeper.void()


def _waits(head: Head | None) -> bool:
    """Whether the task waits for an attempt."""
    return head is not None and head.state is State.ENQUEUED


def _is_granted_here(change: HeadChange) -> bool:
    """Whether the keeper of this host is to begin an attempt."""
    before, after = change.before, change.after
    if after is None or after.state is not State.DEQUEUED or after.offer:
        return False
    return before is None or before.token != after.token


def _internal(broken: Broken) -> ErrorInfo:
    """A fault of ours, as the reason of a dead letter."""
    said = f"{broken.error.type}: {broken.error.message}"
    return ErrorInfo("InternalError", said, broken.error.traceback)
