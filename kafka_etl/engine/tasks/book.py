"""The tasks of one partition, and the changes that are not committed yet.

Words change an overlay; `merge` takes the overlay over once its commit has landed, and `drop`
forgets the overlay once its commit has failed. Nobody else sees a change before the merge.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from heapq import heappop, heappush
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from kafka_etl.invocation import ErrorInfo
from kafka_etl.tasks import words as w
from kafka_etl.tasks.head import Due, Head, decode_head, encode_head, encode_quarantine
from kafka_etl.tasks.policy import Moment, Policy
from kafka_etl.tasks.states import FINAL, HELD, OPEN, State
from kafka_etl.tasks.table import apply

_FORGET_AT_ONCE: Final = 1_000
"""Final tasks that one look forgets at most, so that a downtime makes no storm."""


class HeadChange(NamedTuple):
    """One task's change in a commit: from the head before to the head after it.

    Attributes:
        before: None: the task is new.
        after: None: the task is forgotten.
    """

    task: str
    before: Head | None
    after: Head | None

    @property
    def ends(self) -> bool:
        """Whether the task has come to a final state."""
        was_open = self.before is None or self.before.state in OPEN
        return was_open and self.after is not None and self.after.state in FINAL


class Broken(NamedTuple):
    """A task at which a word has failed.

    Attributes:
        record: What stands in place of the task's head from now on.
    """

    record: bytes
    error: ErrorInfo


class _Glance(msgspec.Struct, frozen=True):
    """What of a head decides whether the task is open, and when a final one is forgotten."""

    state: State
    finished_ms: int = 0
    forget_ms: int = 0
    is_stub: bool = False


_glance: Final = msgspec.json.Decoder(_Glance).decode


class Book:
    """The tasks of one partition of the inbox.

    Args:
        policy: The rules of the pipeline.

    Attributes:
        unreadable: Ids whose heads cannot be read: they stay taken, until somebody forgets them.
        broken: Task -> the word that has failed at it; unreadable once that is committed.
        ignored: Number of words without an effect.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._open: dict[str, Head] = {}
        self._final: dict[str, bytes] = {}
        self._overlay: dict[str, Head | None] = {}
        self._queue: list[tuple[int, str, int]] = []
        self._timers: list[tuple[int, str, int]] = []
        self.unreadable: set[str] = set()
        self.broken: dict[str, Broken] = {}
        self.ignored = 0

    def restore(self, task: str, head: bytes | None) -> None:
        """Take in a head of the journal; None: the task is forgotten."""
        self._open.pop(task, None)
        self._final.pop(task, None)
        self.unreadable.discard(task)
        if head is None:
            return
        try:
            if _glance(head).state in FINAL:
                self._final[task] = head
            else:
                self._open[task] = decode_head(head)
        except msgspec.MsgspecError:
            self.unreadable.add(task)

    def begin(self, now_ms: int) -> None:
        """Make the queue and the timers of what was restored.

        A wait that was under way goes on, and is never longer than it was meant to be: the clock of
        the earlier owner may have been another.
        """
        for task, head in self._open.items():
            if head.due is not None:
                left = max(0, min(head.due.at_ms - now_ms, head.due.delay_ms))
                self._open[task] = replace(head, due=Due(now_ms + left, left))
            self._schedule(self._open[task])

    # Words

    def take(self, task: str, word: w.Word, at: Moment) -> bool:
        """Take a word; return whether the word has an effect.

        A word at which the table fails costs no more than its task, which is `broken` then.
        """
        if task in self.broken or (task in self.unreadable and task not in self._overlay):
            return self._take_unreadable(task, word)
        try:
            change = apply(task, self.head(task), word, at, self._policy)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not stop the others
            self._break(task, error, at.now_ms)
            return False
        if change is None:
            self.ignored += 1
            return False
        self._overlay[task] = change.head
        if change.head is not None:
            self._schedule(change.head)
        if change.beside is not None:
            self._overlay[change.beside.id] = change.beside
        return True

    def _take_unreadable(self, task: str, word: w.Word) -> bool:
        if isinstance(word, w.Forget) and task not in self.broken:
            self._overlay[task] = None
            return True
        self.ignored += 1
        return False

    def _break(self, task: str, error: Exception, now_ms: int) -> None:
        info = ErrorInfo.of(error)
        self._overlay.pop(task, None)
        head = self._open.get(task)
        was = self._final.get(task) if head is None else encode_head(head)
        record = encode_quarantine(was, f"{info.type}: {info.message}", now_ms)
        self.broken[task] = Broken(record, info)

    def head(self, task: str) -> Head | None:
        """The head of a task, as the overlay has it."""
        if task in self._overlay:
            return self._overlay[task]
        return self._committed(task)

    def _committed(self, task: str) -> Head | None:
        head = self._open.get(task)
        if head is None and (final := self._final.get(task)) is not None:
            head = decode_head(final)
        return head

    def tell_time(self, now_ms: int) -> None:
        """Say to the tasks whose time has come that it has."""
        at = Moment(now_ms)
        while self._timers and self._timers[0][0] <= now_ms:
            _, task, generation = heappop(self._timers)
            head = self.head(task)
            if head is None or head.generation != generation:
                continue
            if head.state is State.RETRYING:
                self.take(task, w.IsDue(), at)
            elif head.expires_ms and head.expires_ms <= now_ms:
                self.take(task, w.IsTooOld(), at)

    def forget_old(self, now_ms: int, history_ms: int) -> None:
        """Forget final tasks whose time is over, or all of them but their ids."""
        at, found = Moment(now_ms), 0
        for task, head in list(self._final.items()):
            glance = _glance(head)
            if glance.forget_ms <= now_ms:
                found += self.take(task, w.WindowOver(), at)
            elif not glance.is_stub and glance.finished_ms + history_ms <= now_ms:
                found += self.take(task, w.HistoryOver(), at)
            if found == _FORGET_AT_ONCE:
                return

    # Questions

    def next_waiting(self) -> Head | None:
        """The task that waits longest for an attempt; None: no task waits."""
        while self._queue:
            _, task, generation = self._queue[0]
            head = self.head(task)
            if head is None or head.state is not State.ENQUEUED or head.generation != generation:
                heappop(self._queue)
                continue
            return head
        return None

    def held(self) -> Iterator[Head]:
        """The committed heads of tasks whose token an executor holds."""
        return (head for head in self._open.values() if head.state in HELD)

    @property
    def open(self) -> int:
        """Number of open tasks, as committed."""
        return len(self._open)

    @property
    def counts(self) -> Mapping[State, int]:
        """State -> number of open tasks, as committed."""
        found: dict[State, int] = {}
        for head in self._open.values():
            found[head.state] = found.get(head.state, 0) + 1
        return found

    # Commits

    @property
    def has_changes(self) -> bool:
        return bool(self._overlay or self.broken)

    def changes(self) -> list[HeadChange]:
        """The changes that are to be committed."""
        return [
            HeadChange(task, self._committed(task), after) for task, after in self._overlay.items()
        ]

    def refuse(self, task: str, destination: str, why: str, now_ms: int) -> None:
        """A destination refuses for good what it was to get of a task that ends in the overlay."""
        head = self._overlay[task]
        if head is None:
            return
        delivering = replace(
            head, state=State.DELIVERING, outcome=head.state, history=head.history[:-1]
        )
        word = w.Undeliverable(destination=destination, why=why)
        change = apply(task, delivering, word, Moment(now_ms), self._policy)
        if change is not None:
            self._overlay[task] = change.head

    def merge(self, tasks: Collection[str]) -> None:
        """The changes of these tasks are durable."""
        for task in tasks:
            head = self._overlay.pop(task)
            self._open.pop(task, None)
            self._final.pop(task, None)
            self.unreadable.discard(task)
            if head is None:
                continue
            if head.state in FINAL:
                self._final[task] = encode_head(head)
                continue
            self._open[task] = head

    def merge_broken(self) -> None:
        """What stands in place of the heads of broken tasks is durable."""
        for task in self.broken:
            self._open.pop(task, None)
            self._final.pop(task, None)
            self.unreadable.add(task)
        self.broken.clear()

    def drop(self) -> None:
        """The changes are void: what they had taken off the queue and the timers is put back."""
        for task in (*self._overlay, *self.broken):
            if (head := self._open.get(task)) is not None:
                self._schedule(head)
        self._overlay.clear()
        self.broken.clear()

    def _schedule(self, head: Head) -> None:
        """Put the task into the queue, and note its times; what is not so any more is passed."""
        if head.due is not None:
            heappush(self._timers, (head.due.at_ms, head.id, head.generation))
        if head.state is State.ENQUEUED:
            heappush(self._queue, (head.seq, head.id, head.generation))
        if head.expires_ms and head.state in {State.ENQUEUED, State.RETRYING}:
            heappush(self._timers, (head.expires_ms, head.id, head.generation))
