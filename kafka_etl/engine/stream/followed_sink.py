"""A sink made of a writer: outputs are written first, then offsets are committed. At least once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from time import monotonic, sleep
from typing import Final, Protocol, TypeVar

from kafka_etl.contracts import Abandoned, Aborted, Pulse, Refusal, Writer
from kafka_etl.errors import KafkaEtlError, Permanent, SinkFailed
from kafka_etl.invocation import ErrorInfo, Settlement
from kafka_etl.log import get_logger
from kafka_etl.retry import Backoff

T = TypeVar("T")

_PIECE: Final = 0.1
"""Seconds between two pulses."""
_SLOW: Final = 2.0
"""Seconds of one call after which the pipeline's state says what the worker waits for."""
_CLOSING: Final = 5.0
_REOPENING: Final = Backoff(initial=0.2, max=10.0, jitter="none")


class OffsetLedger(Protocol):
    """Where offsets and dead letters are committed once the outputs are acknowledged."""

    def open(self) -> None: ...

    def begin(self, settlement: Settlement) -> Callable[[], None]: ...

    def close(self) -> None: ...


class FollowedSink:
    """Writes outputs, then commits offsets and dead letters in one transaction.

    The writer is called on a thread of its own, one call at a time. The worker's main thread waits
    for the call in pieces and gives a sign of life in between, so a slow target is slow and the
    worker is not killed for it.

    Args:
        writer: The target.
        ledger: Where offsets and dead letters go.
        pulse: Called between the pieces of long waits.
        patience: Seconds to wait for a target that cannot be opened; None: without an end.
    """

    def __init__(
        self,
        writer: Writer,
        ledger: OffsetLedger,
        pulse: Pulse,
        *,
        patience: float | None = None,
    ) -> None:
        self._writer = writer
        self._ledger = ledger
        self._pulse = pulse
        self._patience = patience
        self._thread = ThreadPoolExecutor(1, "writer")
        self._is_open = False
        self._log = get_logger("sink")

    def open(self) -> None:
        """Open the writer, waiting for a target that is away, then the ledger.

        Raises:
            SinkFailed: The target stayed away for longer than `patience`.
            Abandoned: The worker is stopping.
        """
        if not self._is_open:
            self._open_writer()
            self._is_open = True
        self._ledger.open()

    def commit(self, settlement: Settlement) -> None:
        """Write the outputs, then commit offsets and dead letters.

        Raises:
            Aborted: The writer refused the outputs by raising `Permanent`, or failed with another
                error, after which the outputs are tried again.
            Abandoned: The worker is stopping.
        """
        if len(settlement.outputs):
            try:
                self._call(lambda: self._writer.write(settlement.outputs), "writing to the sink")
            except (Abandoned, KafkaEtlError):
                raise
            except Permanent as error:
                raise Aborted(str(error), refusal=Refusal("Permanent", str(error))) from error
            except Exception as error:
                raise Aborted(f"the sink failed: {_said(error)}") from error
        self._ledger.begin(settlement)()

    def close(self) -> None:
        """Close the writer and the ledger; a writer that does not end in time is left behind."""
        closing = self._thread.submit(self._writer.close)
        self._thread.shutdown(wait=False)
        try:
            closing.result(_CLOSING)
        except Exception as error:  # noqa: BLE001 - any error of a target; the worker is ending
            self._log.warning("closing the sink failed", error=_said(error))
        self._ledger.close()

    def _open_writer(self) -> None:
        until = None if self._patience is None else monotonic() + self._patience
        failures = 0
        while True:
            try:
                self._call(self._writer.open, "opening the sink")
                return
            except (Abandoned, KafkaEtlError):
                raise
            except Exception as error:
                reason = f"the sink cannot be opened: {_said(error)}"
                if until is not None and monotonic() > until:
                    raise SinkFailed(reason) from error
            failures += 1
            self._rest(_REOPENING.delay(failures, lambda: 1.0), reason)

    def _rest(self, seconds: float, reason: str) -> None:
        until = monotonic() + seconds
        while (remaining := until - monotonic()) > 0:
            self._pulse(reason)
            sleep(min(_PIECE, remaining))

    def _call(self, call: Callable[[], T], doing: str) -> T:
        """Make a call on the writer's thread; its result, or whatever the call raised."""
        future = self._thread.submit(call)
        started = monotonic()
        while not _is_done(future, _PIECE):
            waited = monotonic() - started
            if waited > _SLOW:
                self._pulse(f"{doing}, for {waited:.0f} s now")
        return future.result()


def _is_done(future: Future[T], seconds: float) -> bool:
    """Wait for a future; whether the future is done."""
    try:
        future.exception(seconds)
    except NotYet:
        return False
    return True


def _said(error: BaseException) -> str:
    info = ErrorInfo.of(error)
    return f"{info.type}: {info.message}"
