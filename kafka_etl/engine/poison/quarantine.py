"""Quarantine: records that become dead letters without another call of the operators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from kafka_etl.contracts import Refusal
from kafka_etl.engine.poison.crash_suspects import ANY, CrashSuspects, Suspect
from kafka_etl.invocation import Condition, ErrorInfo, Failure, Outcome, Outputs
from kafka_etl.record import Offsets, Partition, SourceRecord, offset_of, partition_of


class Quarantine:
    """Records that killed their workers, and records that the sink refused when committed alone."""

    def __init__(self, suspects: CrashSuspects) -> None:
        self.suspects = suspects
        self._refused: dict[tuple[Partition, int], Refusal] = {}

    def __bool__(self) -> bool:
        """Whether some records must be run apart from others, or not at all."""
        return bool(self._refused) or bool(self.suspects)

    def refuse(self, records: Iterable[SourceRecord], refusal: Refusal) -> None:
        """Quarantine these records: the sink refused a commit that held nothing else."""
        for record in records:
            self._refused[partition_of(record), offset_of(record)] = refusal

    def failure(self, index: int, record: SourceRecord) -> Failure | None:
        """The failure of a record that may not be run again; None: the record may be run.

        Args:
            index: Position of the record in its slice.
            record: The source record.
        """
        refusal = self._refused.get((partition_of(record), offset_of(record)))
        if refusal is not None:
            condition = Condition.RECORD_TOO_LARGE if refusal.too_large else Condition.REFUSED
            return Failure(index, condition, ErrorInfo(refusal.code, refusal.message), "sink")
        suspect = self.suspects.condemned(record)
        return None if suspect is None else _killed(index, suspect)

    def outcome(self, records: Sequence[SourceRecord]) -> Outcome | None:
        """The outcome of a slice whose records may not be run again; None: the slice may be run.

        `stretch` cuts slices so that such a slice holds no other records.
        """
        failures = [self.failure(i, record) for i, record in enumerate(records)]
        failed = tuple(failure for failure in failures if failure is not None)
        return Outcome(Outputs(origins=[]), failed) if failed else None

    def stretch(self, records: Sequence[SourceRecord], most: int) -> int:
        """How many records, from the first on, make the next slice; at most `most`.

        All records of that slice have the same limit on how many may be run together.
        """
        company = self._company(records[0]) if records else ANY
        most = min(most, company or most)
        for count, record in enumerate(islice(records, most)):
            if self._company(record) != company:
                return count
        return most

    def is_alone(self, record: SourceRecord) -> bool:
        """Whether the record may kill the worker, and must therefore be run alone."""
        return self.suspects.company(record) == 1

    def _company(self, record: SourceRecord) -> int:
        """How many records, this one included, may be run together; 0: the record may not run."""
        return 0 if self.failure(0, record) is not None else self.suspects.company(record)

    def committed(self, progress: Offsets) -> None:
        """Forget the records before these committed offsets."""
        self.suspects.committed(progress)
        self._refused = {
            (partition, offset): refusal
            for (partition, offset), refusal in self._refused.items()
            if progress.get(partition, -1) <= offset
        }

    def forget(self, partitions: frozenset[Partition]) -> None:
        """Forget the records of partitions that left the worker."""
        self.suspects.forget(partitions)
        self._refused = {k: v for k, v in self._refused.items() if k[0] not in partitions}


def _killed(index: int, suspect: Suspect) -> Failure:
    times = f"{suspect.deaths} times" if suspect.deaths > 1 else "once"
    what = "the batch of this record" if suspect.offset is None else "this record alone"
    message = f"the worker died {times} with {what} in hand: {suspect.reason}"
    error = ErrorInfo(suspect.condition, message)
    return Failure(index, suspect.condition, error, deaths=suspect.deaths)
