"""A sink made of a store: rows and offsets in one transaction of the target.

The store's offsets are the truth. Kafka's are a copy, which is made after each commit, at most once
a second: for lag tools, for the notes on deaths, and as a mark by which a store that has lost its
offsets is noticed. Dead letters go to Kafka before the store commits, unless the store keeps them
in a table of its own.

An error of the store needs no understanding: the sink is opened again, the offsets are asked for,
and the compare-and-set of the next commit decides what had become durable.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from kafka_etl.contracts import (
    Abandoned,
    Aborted,
    Conflict,
    Move,
    OutcomeUnknown,
    Pulse,
    Refused,
    RefusedRows,
    RollingStore,
    Rows,
    RowsRefused,
    Store,
    StoredOffset,
    Unreachable,
)
from kafka_etl.contracts.rows import Identify
from kafka_etl.engine.sinks.connection import Connection, said
from kafka_etl.engine.sinks.followed import OffsetLedger
from kafka_etl.errors import KafkaEtlError, SinkBlocked, StoreOffsetsUnclear
from kafka_etl.invocation import DeadLetter, Outputs, Settlement, Tenure
from kafka_etl.log import get_logger
from kafka_etl.record import Offsets, Partition

_MIRROR_EVERY: Final = 1.0
_TRIES: Final = 3
"""Failures in a row before the batch is halved."""
_ALONE: Final = 4
"""Failures of a record alone, while no other record is accepted, before the pipeline pauses."""
_CONFLICTS: Final = 5
_WITHIN: Final = 60.0
_LETTERS: Final = 1_000
"""Dead letters that wait for a roll before they make one."""

EncodeLetter = Callable[[DeadLetter], bytes]


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """Whose offsets these are.

    Attributes:
        kind: The store's kind, such as `postgres`.
        name: Name of the offsets in the store.
        group: The consumer group.
        topic_ids: Topic -> Kafka's id of the topic.
    """

    kind: str
    name: str
    group: str
    topic_ids: Mapping[str, str]

    @property
    def mark(self) -> str:
        """The text beside the group's offsets that says where the truth is."""
        return f"store={self.kind}/{self.name}"


@dataclass(slots=True)
class _Trouble:
    """Failures of the store in a row.

    Attributes:
        until: Progress of the settlement that failed first: a commit that reaches it is past the
            trouble.
        failures: Failures since the last commit.
        accepted: Commits that succeeded since the first failure.
    """

    until: Offsets
    failures: int = 0
    accepted: int = 0


@dataclass(slots=True)
class _Open:
    """What a rolling store has taken and not yet made durable."""

    letters: list[DeadLetter] = field(default_factory=list[DeadLetter])
    settlement: Settlement | None = None


class StoredSink:
    """Commits rows and offsets in a store; see `kafka_etl.contracts.OffsetKeeper`.

    Args:
        store: The target.
        ledger: Where the copy of the offsets goes, and the dead letters.
        identity: Whose offsets these are.
        identify: Names a source record, for the ids of rows.
        pulse: Called between the pieces of long waits.
        patience: Seconds to wait for a target that cannot be reached; None: without an end.
        encode_letter: Encodes a dead letter for the store's own table; None: letters go to the
            ledger.
    """

    def __init__(  # noqa: PLR0913 - the parts of the sink
        self,
        store: Store,
        ledger: OffsetLedger,
        identity: StoreIdentity,
        identify: Identify,
        pulse: Pulse,
        *,
        patience: float | None = None,
        encode_letter: EncodeLetter | None = None,
    ) -> None:
        self._store = store
        self._rolling = store if isinstance(store, RollingStore) else None
        self.rolls = self._rolling is not None
        self._ledger = ledger
        self._identity = identity
        self._identify = identify
        self._connection = Connection(store, pulse, patience=patience)
        self._encode_letter = encode_letter
        self.generations: dict[Partition, int] = {}
        self._open = _Open()
        self._trouble: _Trouble | None = None
        self._conflicts: deque[float] = deque(maxlen=_CONFLICTS)
        self._to_mirror: dict[Partition, int] = {}
        self._notes: Mapping[Partition, str] = {}
        self._mirrored_at = 0.0
        self._ledger_is_open = False
        self._log = get_logger("sink")

    def open(self) -> None:
        """Connect the store, waiting for a target that is away, then open the ledger."""
        self._connection.ensure()
        self._ledger_is_open = False
        self._open_ledger()
        if self._rolling is not None:
            self._rolling.discard(tuple(self.generations))
            self._open = _Open()

    def standing(self, arrivals: Offsets) -> Offsets:
        """See `kafka_etl.contracts.OffsetKeeper`."""
        self._open_ledger()
        try:
            stored = dict(self._asked(arrivals))
            missing = {
                tp: StoredOffset(
                    at, 0, self._identity.topic_ids.get(tp.topic, ""), self._identity.group
                )
                for tp, at in arrivals.items()
                if tp not in stored
            }
            if missing:  # partitions that were added since preflight; or another worker is quicker
                self._store.place(missing, overwrite=False)
                stored |= self._asked(missing)
        except (Abandoned, KafkaEtlError):
            raise
        except Exception as error:
            raise self._away(error) from error
        self._connection.worked()
        for tp, at in stored.items():
            self._check(tp, at)
            self.generations[tp] = at.generation
            # The last owner may have died before it copied.
            if tp in self._to_mirror or arrivals.get(tp) != at.next:
                self._to_mirror[tp] = at.next
        return {tp: at.next for tp, at in stored.items()}

    def begin(self, settlement: Settlement) -> Callable[[], None]:
        """See `kafka_etl.contracts.Sink`; everything is done on the commit thread."""
        return lambda: self._commit(settlement)

    def tick(
        self,
        tenure: Callable[[], Tenure],
        *,
        final: bool,
        paused: bool = False,
        leaving: Collection[Partition] = (),
    ) -> Offsets:
        """See `kafka_etl.contracts.OffsetKeeper`."""
        del paused
        durable: Offsets = {}
        if self._rolling is not None:
            durable = self._roll(self._rolling, final=final, leaving=leaving)
        for tp in leaving:
            self._to_mirror.pop(tp, None)  # their next owner copies
        if final or monotonic() - self._mirrored_at >= _MIRROR_EVERY:
            self._mirror(tenure())
        return durable

    def interrupt(self) -> None:
        """Break the store's call under way; called on the main thread."""
        self._store.interrupt()

    def close(self) -> None:
        """Let go of the store and the ledger."""
        self._connection.drop()
        self._ledger.close()

    # Offsets

    def _asked(self, partitions: Collection[Partition]) -> Mapping[Partition, StoredOffset]:
        self._connection.ensure()
        return self._store.offsets(partitions)

    def _check(self, tp: Partition, at: StoredOffset) -> None:
        """Check that a stored offset is this group's, of this topic.

        Raises:
            StoreOffsetsUnclear: The offset belongs to another group, or to an older topic.
        """
        known = self._identity.topic_ids.get(tp.topic, "")
        if at.topic_id and known and at.topic_id != known:
            raise StoreOffsetsUnclear(
                f"{self._identity.mark} stands at offset {at.next:,} of {tp}, but the topic was "
                f"made anew since (its id was {at.topic_id}, and is {known})"
            )
        if at.group and at.group != self._identity.group:
            raise StoreOffsetsUnclear(
                f"{self._identity.mark} is written by group {at.group}, and this pipeline is group "
                f"{self._identity.group}",
                "Give each pipeline offsets of its own: sink.with.offsets.name, or source.with."
                "group.",
            )

    def _mirror(self, tenure: Tenure) -> None:
        """Copy the durable offsets to the group; a failure costs nothing but the copy."""
        for tp in tenure.departed:
            self._to_mirror.pop(tp, None)  # their next owner copies
        if not self._to_mirror:
            return
        self._mirrored_at = monotonic()
        progress = dict(self._to_mirror)
        notes = {tp: f"{self._identity.mark} {self._notes.get(tp, '')}" for tp in progress}
        copy = Settlement(Outputs(), (), progress, tenure.lease, notes)
        try:
            self._in_ledger(copy)
        except (Aborted, OutcomeUnknown) as failed:
            self._log.debug("the group's offsets are not copied yet", reason=failed.reason)
        else:
            self._to_mirror = {}

    def _open_ledger(self) -> None:
        if not self._ledger_is_open:
            self._ledger.open()
            self._ledger_is_open = True

    def _in_ledger(self, settlement: Settlement) -> None:
        self._open_ledger()
        try:
            self._ledger.begin(settlement)()
        except OutcomeUnknown:
            self._ledger_is_open = False
            raise

    # Commits

    def _commit(self, settlement: Settlement) -> None:
        self._notes = settlement.notes
        if settlement.notes and dict(settlement.progress) == dict(settlement.begins):
            self._to_mirror |= settlement.progress  # notes alone: advice, beside unchanged offsets
            self._mirror(settlement.held())
            return
        letters: Sequence[bytes] = ()
        if settlement.dead_letters and self._encode_letter is not None:
            letters = [self._encode_letter(letter) for letter in settlement.dead_letters]
        elif self._rolling is None:
            self._write_first(settlement, settlement.new_letters())
        moves = {
            tp: Move(settlement.begins.get(tp, at), at, self.generations.get(tp, 0))
            for tp, at in settlement.progress.items()
        }
        rows = Rows(settlement.outputs, settlement.sources(), self._identify)
        try:
            self._connection.ensure()
            self._store.commit(rows, moves, letters)
        except (Abandoned, KafkaEtlError):
            raise
        except RefusedRows as refused:
            if not refused.rows.keys() <= set(range(len(rows))):
                unknown = ValueError(
                    f"the store refused rows {sorted(refused.rows)} of {len(rows)}"
                )
                raise self._failed(unknown, settlement) from refused
            raise RowsRefused(refused.rows) from refused
        except Conflict as conflict:
            raise self._conflict(conflict) from conflict
        except Exception as error:
            raise self._failed(error, settlement) from error
        self._taken(settlement)

    def _write_first(self, settlement: Settlement, letters: Sequence[DeadLetter]) -> None:
        """Write dead letters, and what the source owes, to Kafka before the store commits."""
        if letters or self._ledger.owes:
            lease = settlement.held().lease
            self._in_ledger(Settlement(Outputs(), tuple(letters), {}, lease))

    def _taken(self, settlement: Settlement) -> None:
        if self._rolling is None:
            self._connection.worked()
        trouble = self._trouble
        if trouble is not None:
            trouble.failures, trouble.accepted = 0, trouble.accepted + 1
            if all(settlement.progress.get(tp, -1) >= at for tp, at in trouble.until.items()):
                self._trouble = None
        if self._rolling is None:
            self._to_mirror |= settlement.progress
            if settlement.notes or monotonic() - self._mirrored_at >= _MIRROR_EVERY:
                self._mirror(settlement.held())
        elif self._encode_letter is None:
            self._open.letters += settlement.dead_letters
        self._open.settlement = settlement

    def _roll(self, store: RollingStore, *, final: bool, leaving: Collection[Partition]) -> Offsets:
        """Close the files that are due; the dead letters of their records are written before."""
        full = len(self._open.letters) >= _LETTERS
        settlement = self._open.settlement
        if settlement is None or not store.due(final=final or full, leaving=leaving):
            return {}
        try:
            self._write_first(settlement, self._open.letters)
            self._open.letters = []
            self._connection.ensure()
            durable = store.roll(final=final or full, leaving=leaving)
        except (Abandoned, KafkaEtlError, Aborted, OutcomeUnknown):
            raise
        except Conflict as conflict:
            store.discard(conflict.partitions)
            raise self._conflict(conflict) from conflict
        except Exception as error:
            if final:
                raise self._away(error) from error
            self._connection.failed(error)
            return {}
        self._connection.worked()
        self._to_mirror |= durable
        return durable

    # Errors

    def _conflict(self, conflict: Conflict) -> Aborted:
        if conflict.lost:
            self._connection.rest(1.0, f"the sink: {conflict.lost}")
            return Aborted(conflict.lost, moved=conflict.partitions)
        self._ledger_is_open = False  # opening it tells whether this worker is still wanted
        now = monotonic()
        self._conflicts.append(now)
        if len(self._conflicts) == _CONFLICTS and now - self._conflicts[0] < _WITHIN:
            raise StoreOffsetsUnclear(
                f"another daemon keeps moving {conflict} of {self._identity.mark} ({_CONFLICTS} "
                f"times in {_WITHIN:.0f} s)",
                "Stop one of the two, or give them offsets of their own: sink.with.offsets.name.",
            )
        if len(self._conflicts) > 1:
            self._connection.rest(0.1 * len(self._conflicts), f"{conflict} moved in the store")
        return Aborted(f"moved in the store: {conflict}", routine=True, moved=conflict.partitions)

    def _away(self, error: Exception) -> OutcomeUnknown:
        """The store gives no answer: wait, and ask for the offsets once it is back."""
        self._connection.failed(error)
        return OutcomeUnknown(f"the sink: {said(error)}", halve=False)

    def _failed(self, error: Exception, settlement: Settlement) -> OutcomeUnknown | RowsRefused:
        """What follows from an error whose cause is not known.

        The batch is read again, and halved from the third failure on. A record that fails alone is
        refused only if others were accepted since the first failure.

        Raises:
            SinkBlocked: A record fails alone, and no other is accepted.
        """
        trouble = self._trouble = self._trouble or _Trouble(dict(settlement.progress))
        trouble.failures += 1
        if isinstance(error, Unreachable) and (error.mend or trouble.failures < _TRIES):
            return self._away(error)
        if len(settlement.records) > 1 or trouble.failures < _TRIES:
            self._connection.failed(error)
            halve = trouble.failures >= _TRIES or trouble.accepted > 0
            return OutcomeUnknown(f"the sink: {said(error)}", halve=halve)
        if trouble.accepted and len(settlement.outputs):
            self._connection.drop()
            code = "Timeout" if isinstance(error, Unreachable) else "Failed"
            verdict = Refused(code, said(error))
            return RowsRefused(dict.fromkeys(range(len(settlement.outputs)), verdict))
        if isinstance(error, Unreachable) or trouble.failures < _ALONE:
            return self._away(error)
        self._connection.drop()
        raise SinkBlocked(f"the sink takes no row any more: {said(error)}") from error
