"""Delivery: rows to a writer in sets, until the target has answered for every row.

Rows whose verdict is `Again` wait for the next wave, and later rows of their keys wait behind them.
An exception is the target's fault until proven to be a row's: the set is written again after a
back-off. If the writer's sets are repeatable, a set that keeps failing is halved; a row that fails
alone is condemned only if the target has accepted another row meanwhile. If the target accepts
none, the pipeline pauses, and no row becomes a dead letter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kafka_etl.contracts import (
    TAKEN,
    Abandoned,
    Again,
    Refused,
    RowOrder,
    Rows,
    Unreachable,
    Writer,
)
from kafka_etl.engine.sinks.connection import Connection, said
from kafka_etl.errors import KafkaEtlError, SinkBlocked, SinkFailed
from kafka_etl.log import get_logger
from kafka_etl.retry import Backoff

_TRIES: Final = 3
"""Failures of a set before the set is halved."""
_ALONE: Final = 8
"""Rows that fail alone, without another that is accepted, before the pipeline pauses."""
_TRIES_AGAIN: Final = 10
"""Tries of a row with verdict `Again` that is not patient; then the row is refused, if the target
has accepted others meanwhile, or all but a few: whoever refuses everybody is away."""
_LONGEST: Final = 300.0
_AGAIN: Final = Backoff(initial=0.2, max=30.0, jitter="none")


@dataclass(frozen=True, slots=True)
class _Suspect:
    """Verdict of ours: the row failed alone, with this error."""

    error: Exception


Verdicts = dict[int, Refused | Again | _Suspect]
"""Position of a row -> its verdict; rows that are not named are acknowledged."""


@dataclass(slots=True)
class _Wave:
    """The rows that are still to be written.

    Attributes:
        pending: Rows that were to be written in this wave.
        accepted: Rows that the target has accepted so far.
        alone: Rows that failed alone since the target has last accepted one.
        waits: Position -> verdicts `Again` so far.
        tries: Position -> those of them that count.
        suspects: Position -> `accepted` when the row first failed.
        retried: Rows that failed alone in an earlier wave.
    """

    pending: int = 0
    accepted: int = 0
    alone: int = 0
    waits: dict[int, int] = field(default_factory=dict[int, int])
    tries: dict[int, int] = field(default_factory=dict[int, int])
    suspects: dict[int, int] = field(default_factory=dict[int, int])
    retried: set[int] = field(default_factory=set[int])


class Delivery:
    """Delivers rows to a writer. Called on the commit thread.

    Args:
        writer: The writer.
        connection: The writer's connection.
        max_attempts: Failures of a set that is not repeatable, before the pipeline pauses.
    """

    def __init__(self, writer: Writer, connection: Connection, max_attempts: int = 10) -> None:
        self._writer = writer
        self._connection = connection
        self._max_attempts = max_attempts
        self._log = get_logger("sink")

    def deliver(self, rows: Rows) -> dict[int, Refused]:
        """Return when the target has answered for every row.

        Returns:
            Position -> verdict of the rows that the target refuses.

        Raises:
            SinkBlocked: The target accepts no row at all; the pipeline pauses.
            SinkFailed: The writer has given an impossible answer.
            KafkaEtlError: No later try can succeed.
            Abandoned: The worker is stopping.
        """
        refused = self._too_large(rows)
        wave = _Wave()
        pending: Sequence[int] = range(len(rows))
        if refused:
            pending = [position for position in pending if position not in refused]
        while pending:
            waiting, after, reason = self._wave(rows, pending, wave, refused)
            pending = sorted(waiting)
            if pending:
                self._connection.rest(after, reason)
        return refused

    def _too_large(self, rows: Rows) -> dict[int, Refused]:
        """The verdicts of rows that are larger than the target takes, and are never sent."""
        most = self._writer.limits.row_bytes
        sizes = None if most is None else _sizes(rows)
        if most is None or sizes is None or max(sizes, default=0) <= most:
            return {}
        return {
            position: Refused(
                "RowTooLarge", f"{size:,} bytes, the target takes {most:,}", too_large=True
            )
            for position, size in enumerate(sizes)
            if size > most
        }

    def _wave(
        self, rows: Rows, pending: Sequence[int], wave: _Wave, refused: dict[int, Refused]
    ) -> tuple[list[int], float, str]:
        """Write all pending rows once, but those behind a row of their key that must wait.

        Returns:
            The rows for the next wave, the seconds to wait before it, and the reason.
        """
        wave.pending = len(pending)
        waiting: list[int] = []
        held: set[Any] = set()
        after, reason = 0.0, ""
        for positions in self._sets(rows, pending):
            ready = [p for p in positions if rows.keys[p] not in held] if held else positions
            if len(ready) < len(positions):
                waiting += sorted(set(positions) - set(ready))
            if not ready:
                continue
            for position, verdict in self._write(rows, ready, wave).items():
                wait = self._judge(position, verdict, wave)
                if isinstance(wait, Refused):
                    refused[position] = wait
                    continue
                waiting.append(position)
                after = max(after, wait)
                reason = _reason(verdict)
                if rows.keys[position] is not None and self._writer.order is not RowOrder.NONE:
                    held.add(rows.keys[position])
        return waiting, after, reason

    def _sets(self, rows: Rows, pending: Sequence[int]) -> Iterator[Sequence[int]]:
        """Cut rows into sets by the writer's limits; with order `key` no set holds a key twice."""
        limits, by_key = self._writer.limits, self._writer.order is RowOrder.KEY
        keys = rows.keys
        if by_key and len(pending) == len({k for k in map(keys.__getitem__, pending) if k}):
            by_key = False
        sizes = _sizes(rows)
        small = sizes is None or sum(sizes) <= limits.bytes
        if not by_key and small and len(pending) <= limits.rows:
            yield pending
            return
        part: list[int] = []
        size = 0
        seen: set[Any] = set()
        for position in pending:
            key, more = keys[position], 0 if sizes is None else sizes[position]
            full = len(part) >= limits.rows or (part and size + more > limits.bytes)
            if full or (by_key and key is not None and key in seen):
                yield part
                part, size = [], 0
                seen.clear()
            part.append(position)
            size += more
            seen.add(key)
        if part:
            yield part

    def _write(self, rows: Rows, positions: Sequence[int], wave: _Wave) -> Verdicts:
        """Write one set until the target has answered, halving where that is safe."""
        failures = 0
        whole = rows if len(positions) == len(rows) else rows.take(positions)
        while True:
            self._connection.ensure()
            try:
                answer = self._writer.write(whole)
            except (Abandoned, KafkaEtlError):
                raise
            except Exception as error:  # noqa: BLE001 - whatever a target's client raises
                failures += 1
                verdicts = self._after(error, failures, rows, positions, wave)
                if verdicts is not None:
                    return verdicts
                self._connection.failed(error)
            else:
                self._connection.worked()
                verdicts = _checked(answer, positions)
                taken = len(positions) - len(verdicts)
                if taken:
                    wave.accepted += taken
                    wave.alone = 0
                return verdicts

    def _after(  # noqa: PLR0911 - one return for each thing that may follow
        self,
        error: Exception,
        failures: int,
        rows: Rows,
        positions: Sequence[int],
        wave: _Wave,
    ) -> Verdicts | None:
        """What follows from a failed call; None: the set is written again after a back-off.

        `Unreachable` is an outage, and never pauses the pipeline. After three in a row, with a
        connection in between, the set is halved all the same: one row may be what hangs the target.
        """
        away = isinstance(error, Unreachable)
        self._log.debug("writing failed", rows=len(positions), error=said(error))
        if isinstance(error, Unreachable) and error.mend:
            return None
        if not self._writer.repeatable:
            if failures >= self._max_attempts and not away:
                raise SinkBlocked(f"the sink fails again and again: {said(error)}") from error
            return None
        if failures < _TRIES:
            return None
        if len(positions) > 1:
            self._connection.drop()
            half = len(positions) // 2
            return {
                **self._write(rows, positions[:half], wave),
                **self._write(rows, positions[half:], wave),
            }
        wave.alone += 1
        known = wave.suspects.setdefault(positions[0], wave.accepted)
        if known < wave.accepted:  # others were accepted between two failures of this row
            self._connection.drop()
            return {positions[0]: Refused("Timeout" if away else "Failed", said(error))}
        if positions[0] in wave.retried or wave.alone > _ALONE:
            if away:  # no row at all is accepted
                return None
            self._connection.drop()
            raise SinkBlocked(f"the sink takes no row any more: {said(error)}") from error
        self._connection.drop()
        return {positions[0]: _Suspect(error)}

    def _judge(
        self, position: int, verdict: Refused | Again | _Suspect, wave: _Wave
    ) -> Refused | float:
        """The refusal of a row, or the seconds to wait before its next try."""
        if isinstance(verdict, Refused):
            return verdict
        if isinstance(verdict, _Suspect):
            wave.retried.add(position)
            return 0.0
        waits = wave.waits[position] = wave.waits.get(position, 0) + 1
        if not verdict.patient:
            tries = wave.tries[position] = wave.tries.get(position, 0) + 1
            known = wave.suspects.setdefault(position, wave.accepted)
            others = known < wave.accepted or (wave.accepted and wave.pending <= _ALONE)
            if tries >= _TRIES_AGAIN and others:
                return Refused("Again", f"{verdict.reason} (after {tries} tries)")
        return min(_LONGEST, verdict.after or _AGAIN.delay(waits, lambda: 1.0))


def _reason(verdict: Refused | Again | _Suspect) -> str:
    if isinstance(verdict, Again):
        return f"the sink's target asks to try again: {verdict.reason}"
    return f"the sink: {said(verdict.error)}" if isinstance(verdict, _Suspect) else ""


def _sizes(rows: Rows) -> list[int] | None:
    """Bytes of each row's value; None: the values are not bytes."""
    if rows.table is not None or (len(rows) and isinstance(rows.values[0], tuple)):
        return None
    return [0 if value is None else len(value) for value in rows.values]


def _checked(answer: Any, positions: Sequence[int]) -> Verdicts:
    """The writer's answer by the rows' own positions.

    Raises:
        SinkFailed: The answer is none; `None` is a forgotten `return`.
    """
    if answer is TAKEN:
        return {}
    if not isinstance(answer, Mapping):
        raise SinkFailed(
            f"the sink's `write` returned {answer!r:.100}",
            "Return TAKEN, or a mapping of positions to Refused or Again.",
        )
    verdicts: Verdicts = {}
    given: Mapping[Any, Any] = answer  # pyright: ignore[reportUnknownVariableType]
    for at, verdict in given.items():
        if type(at) is not int or not 0 <= at < len(positions):
            raise SinkFailed(f"the sink's `write` named row {at!r:.100} of {len(positions)}")
        if not isinstance(verdict, Refused | Again):
            raise SinkFailed(f"the sink's `write` gave row {at} the verdict {verdict!r:.100}")
        verdicts[positions[at]] = verdict
    return verdicts
