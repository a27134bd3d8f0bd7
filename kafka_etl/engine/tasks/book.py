"""The tasks of one partition, and the changes that are not committed yet.

Words change an overlay; `merge` takes the overlay over once its commit has landed, and `drop`
forgets the overlay once its commit has failed. Nobody else sees a change before the merge.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from heapq import heappop, heappush
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from kafka_etl.engine.tasks.archive import Archive, Place, Row
from kafka_etl.engine.tasks.routes import Routes
from kafka_etl.invocation import ErrorInfo
from kafka_etl.tasks import words as w
from kafka_etl.tasks.head import (
    PENDING,
    Destination,
    Due,
    Head,
    decode_head,
    encode_head,
    encode_quarantine,
)
from kafka_etl.tasks.policy import Moment, Policy
from kafka_etl.tasks.states import FINAL, HELD, OPEN, State
from kafka_etl.tasks.table import apply

_AT_ONCE: Final = 100
"""Final tasks that one look forgets at most, so that a downtime makes no storm; besides, for each
task that has ended since the last look, the two steps in which one is forgotten."""
_FEW_TIMERS: Final = 10_000
"""Timers that are not worth a look at which of them are void."""
_RECENT: Final = 5_000
"""Final tasks that wait to be put into the archive."""
_READ: Final = 4_000
"""Heads of the journal that are taken in together: of several of one task the last one counts."""


class HeadChange(NamedTuple):
    """One task's change in a commit: from the head before to the head after it.

    Attributes:
        before: None: the task is new.
        after: None: the task is forgotten.
        value: The head after it, as the journal has it.
    """

    task: str
    before: Head | None
    after: Head | None
    value: bytes | None

    @property
    def ends(self) -> bool:
        """Whether the task has come to a final state."""
        was_open = self.before is None or self.before.state in OPEN
        return was_open and self.after is not None and self.after.state in FINAL

    @property
    def has_success(self) -> bool:
        """Whether destinations on the cluster get the result now."""
        before, after = self.before, self.after
        if after is None or after.state is not State.SUCCEEDED or after.is_stub:
            return False
        return before is None or before.state is not State.SUCCEEDED

    @property
    def sends(self) -> bool:
        """Whether an outcome sets out for destinations outside of the cluster."""
        before, after = self.before, self.after
        if after is None or after.state is not State.DELIVERING:
            return False
        return before is None or _delivery(before) != _delivery(after)


def _delivery(head: Head) -> tuple[int, int]:
    """What tells the deliveries of a task apart."""
    return head.generation, head.delivery


class Broken(NamedTuple):
    """A task at which a word has failed.

    Attributes:
        record: What stands in place of the task's head from now on.
        route: The route in which the task had its turn; empty: in none.
    """

    record: bytes
    error: ErrorInfo
    route: str = ""


class _Glance(msgspec.Struct, frozen=True):
    """What of a head decides whether the task is open, and when a final one is forgotten."""

    state: str
    finished_ms: int = 0
    forget_ms: int = 0
    is_stub: bool = False


_FINAL: Final = frozenset(state.value for state in FINAL)  # texts, which are hashed in C
_SUCCEEDED: Final = State.SUCCEEDED.value
_Place = tuple[int, str, int]
"""The place of a task in a queue: offset of its submission, its id, its generation."""
_Timer = tuple[int, str, int]
"""When a task is to be told the time: milliseconds since the epoch, its id, its generation."""
_glance: Final = msgspec.json.Decoder(_Glance).decode


class Book:
    """The tasks of one partition of the inbox; final ones are in the archive.

    Args:
        policy: The rules of the pipeline.
        archive: The archive of the partition.
        most: Number of final tasks that are kept.

    Attributes:
        unreadable: Ids whose heads cannot be read: they stay taken, until somebody forgets them.
        broken: Task -> the word that has failed at it; unreadable once that is committed.
        ignored: Number of words without an effect.
    """

    def __init__(
        self, policy: Policy, archive: Archive | None = None, most: int = 1_000_000
    ) -> None:
        self._policy = policy
        self._archive = archive or Archive()
        self._most = most
        self._open: dict[str, Head] = {}
        self._held: dict[str, Head] = {}
        self._counts: Counter[State] = Counter()
        self._read: dict[str, bytes | None] = {}
        self._was_open: dict[str, bytes] = {}
        self._recent: dict[str, bytes | None] = {}
        self._unsaved: set[str] = set()
        self._overlay: dict[str, Head | None] = {}
        self._queues: dict[bool, list[_Place]] = {False: [], True: []}
        self._timers: list[_Timer] = []
        self._routes = Routes(self._has_place)
        self._has_called = False
        self._ended = 0
        self.unreadable: set[str] = set()
        self.broken: dict[str, Broken] = {}
        self.ignored = 0

    # Take-over

    @property
    def place(self) -> Place:
        """Up to where the archive went when it was opened: the journal is read from there on."""
        return self._archive.place

    def recall(self) -> None:
        """Take in the tasks that were open when the archive was saved."""
        self._read.update(self._archive.open_heads())

    def restore(self, task: str, head: bytes | None) -> None:
        """Take in a head of the journal; None: the task is forgotten."""
        self._read[task] = head
        if len(self._read) >= _READ:
            self._take_in()

    def _take_in(self) -> None:
        """Put final tasks into the archive, and keep open ones."""
        rows: list[Row] = []
        gone: list[str] = []
        for task, head in self._read.items():
            self._was_open.pop(task, None)
            self._unsaved.discard(task)
            row = None if head is None else self._row(task, head)
            if row is None:
                gone.append(task)
            elif row.due_ms is None:
                gone.append(task)
                self._was_open[task] = row.head
                self._unsaved.add(task)
            else:
                rows.append(row)
        self._archive.change(rows, gone)
        self._read.clear()

    def _row(self, task: str, head: bytes) -> Row:
        try:
            glance = _glance(head)
        except msgspec.MsgspecError:
            return Row(task, None, succeeded=False, head=head)
        if glance.state not in _FINAL:
            return Row(task, None, succeeded=False, head=head)
        due = glance.forget_ms
        if not glance.is_stub:
            due = min(due, glance.finished_ms + self._policy.history_ms)
        return Row(task, max(1, due), glance.state == _SUCCEEDED, head)

    def begin(self, now_ms: int) -> None:
        """Make the queue and the timers of what was restored.

        A wait that was under way goes on, and is never longer than it was meant to be: the clock of
        the earlier owner may have been another.
        """
        self._take_in()
        for task, data in self._was_open.items():
            try:
                head = decode_head(data)
            except msgspec.MsgspecError:
                self.unreadable.add(task)
                self._archive.change([Row(task, None, succeeded=False, head=data)])
                continue
            if head.due is not None:
                left = max(0, min(head.due.at_ms - now_ms, head.due.delay_ms))
                head = replace(head, due=Due(now_ms + left, left))
            self._open[task] = head
            if head.in_turn:
                self._routes.join(head)
        self._was_open.clear()
        for head in self._open.values():
            self._schedule(head)
        self._held = {task: head for task, head in self._open.items() if head.state in HELD}
        self._counts = Counter(head.state for head in self._open.values())

    def save(self, place: Place, now_ms: int) -> None:
        """Bring the archive up to a place that the journal has by now."""
        self._put_recent()
        unsaved = [task for task in self._unsaved if task in self._open]
        self._archive.change(
            Row(task, None, succeeded=False, head=encode_head(self._open[task])) for task in unsaved
        )
        self._unsaved.clear()
        self._archive.save(place, now_ms)

    def close(self) -> None:
        self._archive.close()

    # Words

    def take(self, task: str, word: w.Word, at: Moment) -> bool:
        """Take a word; return whether the word has an effect.

        A word at which the table fails costs no more than its task, which is `broken` then.
        """
        if task in self.broken or (task in self.unreadable and task not in self._overlay):
            return self._take_unreadable(task, word)
        try:
            before = self.head(task)
            change = apply(task, before, word, at, self._policy)
        except sqlite3.Error:
            raise  # of the archive, and no fault of the word
        except Exception as error:  # noqa: BLE001 - a fault of ours must not stop the others
            self._break(task, error, at.now_ms)
            return False
        if change is None:
            self.ignored += 1
            return False
        self._put(task, before, self._without_old_question(task, change.head))
        if change.beside is not None:
            self._put(change.beside.id, None, change.beside)
        return True

    def _put(self, task: str, before: Head | None, head: Head | None) -> None:
        """Put a head into the overlay."""
        self._overlay[task] = head
        if head is not None:
            is_new = before is None or before.seq != head.seq
            if is_new and head.in_turn and head.state in OPEN:
                self._routes.join(head)
            self._schedule(head)
        if before is not None and before.in_turn and before.state in OPEN:
            self._pass_on(before)

    def _without_old_question(self, task: str, head: Head | None) -> Head | None:
        """A head without a question that a durable head has asked: the executor has it by now."""
        if head is None or not head.ask:
            return head
        durable = self._open.get(task)
        return head if durable is None or durable.ask != head.ask else replace(head, ask="")

    def _take_unreadable(self, task: str, word: w.Word) -> bool:
        if isinstance(word, w.Forget) and task not in self.broken:
            self._overlay[task] = None
            return True
        self.ignored += 1
        return False

    def _break(self, task: str, error: Exception, now_ms: int) -> None:
        info = ErrorInfo.of(error)
        new, head = self._overlay.pop(task, None), self._open.get(task)
        was = self._final(task) if head is None else encode_head(head)
        record = encode_quarantine(was, f"{info.type}: {info.message}", now_ms)
        known = new if head is None else head
        route = known.route if known is not None and known.in_turn else ""
        self.broken[task] = Broken(record, info, route)

    def head(self, task: str) -> Head | None:
        """The head of a task, as the overlay has it."""
        if task in self._overlay:
            return self._overlay[task]
        return self._committed(task)

    def _committed(self, task: str) -> Head | None:
        head = self._open.get(task)
        if head is not None or task in self.unreadable:
            return head
        data = self._final(task)
        return None if data is None else decode_head(data)

    def _final(self, task: str) -> bytes | None:
        return self._recent[task] if task in self._recent else self._archive.get(task)

    def tell_time(self, now_ms: int) -> None:
        """Say to the tasks whose time has come that it has."""
        at = Moment(now_ms)
        while self._timers and self._timers[0][0] <= now_ms:
            _, task, generation = heappop(self._timers)
            head = self.head(task)
            if head is None or head.generation != generation:
                continue
            if head.due is not None and head.due.at_ms <= now_ms:
                self.take(task, w.IsDue(), at)
            elif head.expires_ms and head.expires_ms <= now_ms:
                self.take(task, w.IsTooOld(), at)

    def forget_old(self, now_ms: int) -> None:
        """Forget final tasks whose time is over, or all of them but their ids; and too many."""
        self._put_recent()
        self._leave_out_timers()
        at, most = Moment(now_ms), _AT_ONCE + 2 * self._ended
        self._ended = 0
        for task in self._archive.due(now_ms, most):
            if not self.take(task, w.WindowOver(), at):
                self.take(task, w.HistoryOver(), at)
        too_many = min(most, self._archive.finals - self._most)
        if too_many > 0:
            for task in self._archive.oldest(too_many):
                self.take(task, w.OneTooMany(), at)

    # Questions

    def next_waiting(self, *, suspect: bool = False) -> Head | None:
        """The task that waits longest for an attempt; None: no task waits.

        Args:
            suspect: Whether a suspect is asked for; else a task that is none.
        """
        queue = self._queues[suspect]
        while queue:
            _, task, generation = queue[0]
            head = self.head(task)
            if (
                head is None
                or head.state is not State.ENQUEUED
                or head.generation != generation
                or head.is_suspect is not suspect
                or task in self.broken
                or not self._may_start(head)
            ):
                heappop(queue)
                continue
            return head
        return None

    def _may_start(self, head: Head) -> bool:
        """Whether a task that waits has its turn."""
        return not head.in_turn or self._routes.first(head.route) == (head.seq, head.id)

    def held(self) -> Collection[Head]:
        """The committed heads of tasks whose token an executor holds."""
        return self._held.values()

    def delivering(self) -> Iterator[Head]:
        """The committed heads of tasks whose outcome is on its way."""
        return (head for head in self._open.values() if head.state is State.DELIVERING)

    @property
    def open(self) -> int:
        """Number of open tasks, as committed."""
        return len(self._open)

    @property
    def counts(self) -> Mapping[State, int]:
        """State -> number of open tasks, as committed."""
        return self._counts

    # Commits

    @property
    def has_changes(self) -> bool:
        return bool(self._overlay or self.broken)

    def changes(self) -> list[HeadChange]:
        """The changes that are to be committed."""
        return [self.change(task) for task in self._overlay]

    def change(self, task: str) -> HeadChange:
        """The change of one task that is to be committed."""
        after = self._overlay[task]
        value = None if after is None else encode_head(after)
        return HeadChange(task, self._committed(task), after, value)

    def refuse(self, task: str, destination: str, why: str, now_ms: int) -> None:
        """What destinations were to get of a task in the overlay is refused for good.

        Args:
            task: The task, which ends, or whose outcome sets out.
            destination: What stands for a topic of the cluster that refuses.
            why: The words of the refusal.
            now_ms: Present time, in milliseconds since the epoch.
        """
        head = self._overlay[task]
        if head is not None and head.state in FINAL:
            asked = Destination(destination, PENDING, outcome=head.state, on_cluster=True)
            head = replace(
                head,
                state=State.DELIVERING,
                outcome=head.state,
                history=head.history[:-1],
                destinations=(*head.destinations, asked),
            )
        waits = () if head is None else head.destinations
        for asked in [one for one in waits if one.status == PENDING]:
            if head is not None:
                word = w.Undeliverable(
                    destination=asked.name,
                    generation=head.generation,
                    delivery=head.delivery,
                    why=why,
                )
                change = apply(task, head, word, Moment(now_ms), self._policy)
                head = head if change is None else change.head
        self._overlay[task] = head

    def merge(self, changes: Iterable[HeadChange]) -> None:
        """These changes of the overlay are durable."""
        for change in changes:
            task, _, head, value = change
            self._ended += change.ends
            del self._overlay[task]
            before = self._let_go(task)
            self.unreadable.discard(task)
            if head is None or head.state in FINAL:
                self._recent[task] = value
            else:
                self._keep_open(task, head)
            if before is not None and before.in_turn:
                self._pass_on(before)
        if len(self._recent) >= _RECENT:
            self._put_recent()

    def _keep_open(self, task: str, head: Head) -> None:
        self._recent.pop(task, None)
        self._unsaved.add(task)
        self._open[task] = head
        self._counts[head.state] += 1
        if head.state in HELD:
            self._held[task] = head

    def merge_broken(self) -> None:
        """What stands in place of the heads of broken tasks is durable."""
        for task, broken in self.broken.items():
            self._let_go(task)
            self._recent.pop(task, None)
            self._archive.change([Row(task, None, succeeded=False, head=broken.record)])
            self.unreadable.add(task)
            if broken.route:
                self._call(broken.route)
        self.broken.clear()

    def _let_go(self, task: str) -> Head | None:
        """The task is not open as it was; returns its head if it was."""
        before = self._open.pop(task, None)
        if before is not None:
            self._counts[before.state] -= 1
            self._held.pop(task, None)
        self._unsaved.discard(task)
        return before

    def _put_recent(self) -> None:
        """Put the tasks that have ended, or were forgotten, into the archive."""
        rows = [self._row(task, head) for task, head in self._recent.items() if head is not None]
        gone = [task for task, head in self._recent.items() if head is None]
        self._archive.change(rows, gone)
        self._recent.clear()

    def drop(self) -> None:
        """The changes are void: what they had taken off the queue and the timers is put back."""
        tasks = (*self._overlay, *self.broken)
        routes = {head.route for head in self._overlay.values() if head and head.in_turn}
        routes |= {broken.route for broken in self.broken.values() if broken.route}
        self._overlay.clear()
        self.broken.clear()
        self._routes.tidy(routes)
        for task in tasks:
            if (head := self._open.get(task)) is not None:
                self._schedule(head)

    def _schedule(self, head: Head) -> None:
        """Put the task into the queue, and note its times; what is not so any more is passed."""
        if head.due is not None:
            heappush(self._timers, (head.due.at_ms, head.id, head.generation))
        if head.state is State.ENQUEUED and self._may_start(head):
            self._enqueue(head)
        if head.expires_ms and head.state in {State.ENQUEUED, State.RETRYING}:
            heappush(self._timers, (head.expires_ms, head.id, head.generation))

    def _leave_out_timers(self) -> None:
        """Leave out void timers: those of tasks that have ended may be due in days only."""
        if len(self._timers) > _FEW_TIMERS + 4 * (len(self._open) + len(self._overlay)):
            self._timers = sorted(set(filter(self._is_set, self._timers)))

    def _is_set(self, timer: _Timer) -> bool:
        at_ms, task, generation = timer
        heads = self._open.get(task), self._overlay.get(task)
        return any(
            head is not None
            and head.generation == generation
            and (head.expires_ms == at_ms or (head.due is not None and head.due.at_ms == at_ms))
            for head in heads
        )

    def _enqueue(self, head: Head) -> None:
        heappush(self._queues[head.is_suspect], (head.seq, head.id, head.generation))

    # Routes

    def has_called(self) -> bool:
        """Whether a task has got its turn from another one since the last question."""
        called, self._has_called = self._has_called, False
        return called

    def _has_place(self, seq: int, task: str) -> bool:
        """Whether a task is open since its submission at an offset.

        One that has ended keeps its place until that is durable.
        """
        heads = self._open.get(task), self._overlay.get(task)
        return any(
            head is not None and head.seq == seq and head.in_turn and head.state in OPEN
            for head in heads
        )

    def _pass_on(self, head: Head) -> None:
        """Give the turn to the next one of a route, if this task has left its place."""
        if not self._has_place(head.seq, head.id):
            self._call(head.route)

    def _call(self, route: str) -> None:
        """Put the task of a route whose turn it is into the queue."""
        place = self._routes.first(route)
        head = None if place is None else self.head(place[1])
        if head is not None and head.state is State.ENQUEUED:
            self._enqueue(head)
            self._has_called = True
