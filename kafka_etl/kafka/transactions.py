"""One transactional producer: a transaction is one burst, and a lost answer costs the producer.

The client does not tell when it repeated a request on its own, and a delayed commit may then end a
*later* transaction. What protects us: after any sign of trouble the next transaction begins with a
new producer of the same id, whose initialisation fences everything the old one may have in
flight. Signs are a word from the error callback, a call slower than the client's own back-off,
and a timeout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from kafka_etl.contracts import Aborted, OutcomeUnknown, Pulse, Refusal
from kafka_etl.failpoints import failpoint
from kafka_etl.kafka import classify
from kafka_etl.kafka.broker_silence import BrokerSilence
from kafka_etl.kafka.client_settings import make_client
from kafka_etl.log import get_logger

_PIECE: Final = 0.3
"""Seconds a call may block before it is made again: a refusal shows at the next call."""
_REQUEST: Final = 2.0
_SLOW: Final = 0.07
"""Below the client's back-off of 100 ms: a call that took longer may have been repeated inside."""
_TAKING_OVER: Final = "taking over the transactional id"
_SMALL: Final = 256 * 1024
"""Bytes that may be on their way while the offsets are sent, which saves a millisecond."""
_LOOK: Final = 0.02
_PATIENCE: Final = 30.0
"""Seconds to go on with one transaction before its outcome is left to the broker."""
_ABORT_PATIENCE: Final = 10.0


Write = Callable[[Producer], None]


class Transactions:
    """Transactions of one id, one after the other.

    Args:
        settings: Of the producer.
        topic: One that exists, to ask about; None: there is none.
        pulse: Called between the pieces of long waits.
    """

    def __init__(self, settings: dict[str, Any], topic: str | None, pulse: Pulse) -> None:
        self._settings = settings
        self._topic = topic
        self._pulse = pulse
        self._log = get_logger("sink")
        self._producer: Producer | None = None
        self._retired: Producer | None = None
        self._answer_may_be_lost = False
        self._silence = BrokerSilence()

    def open(self) -> Producer:
        """Take over the id: finishes or aborts whatever a predecessor left open."""
        self._retired = None
        producer = make_client(Producer, {**self._settings, "error_cb": self._on_error})
        self._connect(producer)
        while True:
            try:
                producer.init_transactions(_REQUEST)
                break
            except KafkaException as raised:
                error = classify.error_of(raised)
                stop = classify.final(error, f"taking over id {self._settings['transactional.id']}")
                if stop is not None:
                    raise stop from raised
                if not (error.retriable() or classify.passing(error)):
                    raise OutcomeUnknown(
                        self._silence.explain(_TAKING_OVER, error),
                        fenced=classify.fenced(error),
                    ) from raised
                self._pulse(self._silence.explain(_TAKING_OVER, error))
            producer.poll(0)
        self._producer = producer
        self._answer_may_be_lost = False
        self._silence.over()
        return producer

    def _connect(self, producer: Producer) -> None:
        """Wait for a connection to any broker.

        Without one the client asks for its coordinator in vain, and again after half a second.
        The first question may be answered over the bootstrap connection, which then ends.
        """
        if self._topic is not None:
            with suppress(KafkaException):  # what is wrong is said by the call that needs it
                producer.list_topics(self._topic, _REQUEST)
                producer.list_topics(self._topic, _REQUEST)

    def close(self) -> None:
        """Let go; between transactions nothing is lost by it."""
        self._producer = None

    def begin(
        self, write: Write, size: int, offsets: Sequence[TopicPartition], lease: object
    ) -> Callable[[], None]:
        """Queue everything `write` produces, about `size` bytes, in a new transaction.

        Returns:
            What ends the transaction, with the offsets in it; to be called once, from any thread,
            before anything else is.

        Raises:
            Aborted: Nothing of it happened.
            OutcomeUnknown: Only the committed offsets can tell, once `open` has been called.
        """
        if lease is None:
            raise Aborted("the consumer is not a member of its group", routine=True)
        producer = self._ready()

        def end() -> None:
            self._guarded(
                producer,
                lambda: self._end(producer, size, offsets, lease),
                lambda: self._transact(producer, write, size, offsets, lease),
            )

        self._guarded(
            producer,
            lambda: self._start(producer, write),
            lambda: self._start(producer, write),
        )
        return end

    def _guarded(
        self, producer: Producer, act: Callable[[], None], again: Callable[[], None]
    ) -> None:
        """Do a part of a transaction, and say what its failure means."""
        try:
            act()
        except KafkaException as raised:
            error = classify.error_of(raised)
            if not (classify.sequence_gap(error) and self._abort(producer)):
                raise self._failed(producer, error) from raised
            # The refusal of an earlier transaction left a gap in the client's numbering.
            try:
                again()
            except KafkaException as failed:
                raise self._failed(producer, classify.error_of(failed)) from failed

    def _transact(
        self,
        producer: Producer,
        write: Write,
        size: int,
        offsets: Sequence[TopicPartition],
        lease: object,
    ) -> None:
        self._start(producer, write)
        self._end(producer, size, offsets, lease)

    def _start(self, producer: Producer, write: Write) -> None:
        producer.begin_transaction()
        failpoint("after_begin")
        self._write(producer, write)
        failpoint("after_produce")

    def _end(
        self, producer: Producer, size: int, offsets: Sequence[TopicPartition], lease: object
    ) -> None:
        deadline = monotonic() + _PATIENCE
        if size > _SMALL:
            self._sent(producer)  # first, so that the time of the next call is its own
        else:
            producer.flush(0)  # waits for nothing, but ends the linger of what is queued
        self._timed(
            lambda: producer.send_offsets_to_transaction(list(offsets), lease, _REQUEST), deadline
        )
        failpoint("after_send_offsets")
        producer.flush(_PIECE)  # what is left: this, too, is no time of the next call
        self._timed(lambda: producer.commit_transaction(_PIECE), deadline)
        failpoint("after_commit")

    @staticmethod
    def _sent(producer: Producer) -> None:
        """Wait until everything has arrived, for a while.

        `flush` would have the client's thread look all the time whether it may send yet, until the
        partitions are in the transaction.
        """
        until = monotonic() + _PIECE
        while len(producer) and monotonic() < until:
            producer.poll(_LOOK)

    def _ready(self) -> Producer:
        """The producer; a new one if anything may still be on its way from the old."""
        if self._producer is not None:
            self._producer.poll(0)  # the error callback speaks in here
        if self._answer_may_be_lost:
            self._log.info("renewing the producer: an answer may have been lost")
            self._retire()
        return self._producer or self.open()

    def _write(self, producer: Producer, write: Write) -> None:
        try:
            write(producer)
        except KafkaException:
            raise
        except Exception as error:
            # The client takes no such record: a header of the wrong type, say.
            self._abort(producer)
            refusal = Refusal(type(error).__name__, str(error))
            raise Aborted(f"producing failed: {error}", refusal=refusal) from error

    def _timed(self, call: Callable[[], None], deadline: float) -> None:
        """Make a call until it succeeds or fails for good; note whether it was slow."""
        while True:
            started = monotonic()
            try:
                call()
                self._silence.over()
                return
            except KafkaException as raised:
                error = classify.error_of(raised)
                again = classify.of_transaction(error) is classify.Verdict.RETRY
                if not again or monotonic() > deadline:
                    raise
                self._answer_may_be_lost = True
                if self._producer is not None:
                    self._producer.poll(0)  # the error callback speaks in here
                self._pulse(self._silence.explain("committing", error))
            finally:
                if monotonic() - started > _SLOW:
                    self._answer_may_be_lost = True

    def _failed(self, producer: Producer, error: KafkaError) -> Aborted | OutcomeUnknown:
        """What a failed call means for the settlement."""
        # A record too large for the client is refused without any damage to the transaction.
        refusal = classify.refusal(error)
        if classify.of_transaction(error) is classify.Verdict.ABORT or refusal is not None:
            if self._abort(producer):
                said = self._silence.explain("committing", error)
                return Aborted(said, refusal=refusal, routine=classify.routine(error))
            return OutcomeUnknown(self._silence.explain("aborting", error))
        self._retire()
        said = self._silence.explain("committing", error)
        return OutcomeUnknown(said, fenced=classify.fenced(error) and not self._answer_may_be_lost)

    def _retire(self) -> None:
        """Use this producer no more.

        It is let go of in `open`: the client runs callbacks when it is destroyed, which must not
        happen while an exception is on its way through here.
        """
        self._retired, self._producer = self._producer, None

    def _abort(self, producer: Producer) -> bool:
        """Abort, in pieces; whether it succeeded. If not, the producer is dropped."""
        deadline = monotonic() + _ABORT_PATIENCE
        while True:
            try:
                producer.abort_transaction(_PIECE)
                return True
            except KafkaException as raised:
                error = classify.error_of(raised)
                if not error.retriable() or monotonic() > deadline:
                    self._retire()
                    return False
                self._pulse(self._silence.explain("aborting", error))

    def _on_error(self, error: KafkaError) -> None:
        self._answer_may_be_lost = True
        self._silence.note(error)
        self._log.debug("the producer reports", error=classify.said(error))
