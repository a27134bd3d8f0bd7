"""A chain that tells of the exceptions in its attempts, for a user who debugs an operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass

from kafka_etl.engine.attempt.chain import Chain
from kafka_etl.engine.rows.faults import GroupFault, NamedFaults
from kafka_etl.engine.rows.flow import Flow
from kafka_etl.invocation import Outputs
from kafka_etl.record import SourceRecord


@dataclass(frozen=True, slots=True)
class WatchedChain(Chain):
    """A chain whose exceptions are noted while they still have their frames.

    Attributes:
        noted: Called with the exception of each fault.
    """

    _: KW_ONLY
    noted: Callable[[BaseException], None]

    def attempt(self, records: Sequence[SourceRecord]) -> tuple[Outputs, Flow]:
        """Run records through all stages, as `Chain.attempt` does."""
        try:
            outputs, flow = Chain.attempt(self, records)  # slots: `super()` would not find it
        except GroupFault as failed:
            self.noted(failed.fault.error)
            raise
        except NamedFaults as named:
            for fault in named.faults.values():
                self.noted(fault.error)
            raise
        except BaseException as error:
            self.noted(error)
            raise
        for fault in flow.faults.values():
            self.noted(fault.error)
        return outputs, flow
