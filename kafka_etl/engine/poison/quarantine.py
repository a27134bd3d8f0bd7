"""Records that become dead letters without another call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from kafka_etl.contracts import Refusal
from kafka_etl.engine.poison.crash_suspects import ANY, CrashSuspects, Suspect
from kafka_etl.invocation import Condition, ErrorInfo, Failure, Outcome, Outputs
from kafka_etl.record import Offsets, Partition, SourceRecord, offset_of, partition_of


class Quarantine:
    """Records that killed their workers, and records the sink refused when they came alone."""

    def __init__(self, suspects: CrashSuspects) -> None:
        self.suspects = suspects
        self._refused: dict[tuple[Partition, int], Refusal] = {}

    def __bool__(self) -> bool:
        """Whether there are records that must be run apart from others, or not at all."""
        return bool(self._refused) or bool(self.suspects)

    def refuse(self, records: Iterable[SourceRecord], refusal: Refusal) -> None:
        """The sink refused these, and nothing else was in the commit."""
        for record in records:
            self._refused[partition_of(record), offset_of(record)] = refusal

    def failure(self, index: int, record: SourceRecord) -> Failure | None:
        """Why the record may not be run again; `index` is its place in the slice."""
        refusal = self._refused.get((partition_of(record), offset_of(record)))
        if refusal is not None:
            condition = Condition.RECORD_TOO_LARGE if refusal.too_large else Condition.REFUSED
            return Failure(index, condition, ErrorInfo(refusal.code, refusal.message), "sink")
        suspect = self.suspects.condemned(record)
        return None if suspect is None else _killed(index, suspect)

    def outcome(self, records: Sequence[SourceRecord]) -> Outcome | None:
        """The outcome of records that may not be run again; slices are cut to hold no others."""
        failures = [self.failure(i, record) for i, record in enumerate(records)]
        failed = tuple(failure for failure in failures if failure is not None)
        return Outcome(Outputs(origins=[]), failed) if failed else None

    def stretch(self, records: Sequence[SourceRecord], most: int) -> int:
        """How many records from the first on, up to `most`, make a slice of like ones."""
        company = self._company(records[0]) if records else ANY
        most = min(most, company or most)
        for count, record in enumerate(islice(records, most)):
            if self._company(record) != company:
                return count
        return most

    def is_alone(self, record: SourceRecord) -> bool:
        """Whether the record may kill the worker, and nothing else may be in hand then."""
        return self.suspects.company(record) == 1

    def _company(self, record: SourceRecord) -> int:
        """With how many records, itself included, it may be run; 0: not at all."""
        return 0 if self.failure(0, record) is not None else self.suspects.company(record)

    def committed(self, progress: Offsets) -> None:
        """Progress was committed: what lies behind it is dealt with."""
        self.suspects.committed(progress)
        self._refused = {
            (partition, offset): refusal
            for (partition, offset), refusal in self._refused.items()
            if progress.get(partition, -1) <= offset
        }

    def forget(self, partitions: frozenset[Partition]) -> None:
        self.suspects.forget(partitions)
        self._refused = {k: v for k, v in self._refused.items() if k[0] not in partitions}


def _killed(index: int, suspect: Suspect) -> Failure:
    times = f"{suspect.deaths} times" if suspect.deaths > 1 else "once"
    what = "the batch of this record" if suspect.offset is None else "this record alone"
    message = f"the worker died {times} with {what} in hand: {suspect.reason}"
    error = ErrorInfo(suspect.condition, message)
    return Failure(index, suspect.condition, error, deaths=suspect.deaths)
