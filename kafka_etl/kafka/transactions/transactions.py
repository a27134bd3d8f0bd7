"""Transactions of one transactional id, one after the other.

A transaction has two halves. `Transactions.begin` queues the records, on the engine's thread.
`Transaction.finish` sends the offsets and commits; since `finish` mostly waits, another thread may
call `finish` while the engine runs the next batch. The next transaction begins when `finish` has
returned or raised, so no two threads ever use this module together.

A lost answer costs the producer, because a request that is still on its way may end a *later*
transaction (`lost_answers` says when). The next transaction then begins with a new
producer of the same id, whose initialisation makes the broker refuse all requests of the old
producer. No record is lost or doubled. A slow network alone costs no producer: a call that waits
for its first answer repeats nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from kafka_etl.contracts import Aborted, OutcomeUnknown, Pulse, Refusal
from kafka_etl.failpoints import failpoint
from kafka_etl.kafka.client import classify
from kafka_etl.kafka.client.broker_silence import BrokerSilence
from kafka_etl.kafka.client.settings import make_client
from kafka_etl.kafka.transactions.lost_answers import LostAnswers
from kafka_etl.log import get_logger

_PIECE: Final = 0.3
"""Seconds that a call may block before its repetition, in which the client raises a refusal."""
_REQUEST: Final = 2.0
_OFFSETS: Final = 5.0
"""Seconds to send the offsets; the first time includes a connection to the group coordinator."""
_SLOW: Final = 2.0
"""Seconds of a call after which the pulse is called and an answer counts as perhaps lost."""
_TAKING_OVER: Final = "taking over the transactional id"
_SMALL: Final = 256 * 1024
"""Bytes of records that need not arrive before the offsets are sent, which saves a round trip."""
_LOOK: Final = 0.02
_PATIENCE: Final = 30.0
"""Seconds of repetitions in one transaction before the outcome counts as unknown."""
_ABORT_PATIENCE: Final = 10.0
_OFTEN: Final = 3
"""Renewals of the producer within `_OFTEN_S` seconds that are worth a warning."""
_OFTEN_S: Final = 60.0


Write = Callable[[Producer], None]


class Transactions:
    """The producer of a transactional id, and its renewals.

    Args:
        settings: Settings of the producer.
        topic: An existing topic, for a first request to the brokers; None: none is known.
        pulse: Called between the pieces of long waits.
        taken_over: Called each time that the id was taken over, and raises as `open`; None: nobody
            wants to know.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        topic: str | None,
        pulse: Pulse,
        taken_over: Callable[[], None] | None = None,
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._pulse = pulse
        self._taken_over = taken_over
        self._log = get_logger("sink")
        self._producer: Producer | None = None
        self._answers = LostAnswers(settings)  # the log of the present producer
        self._silence = BrokerSilence()
        self._renewed: list[float] = []

    def open(self) -> Producer:
        """Take over the transactional id, which finishes or aborts a predecessor's transaction.

        Repeats the request, with pulses, until a broker has answered.

        Raises:
            OutcomeUnknown: The client fails in a way that no repetition mends.
            KafkaEtlError: The pipeline must stop: a right is missing, or a setting is refused.
        """
        # The client runs callbacks when the old producer is destroyed, which must not happen while
        # an exception passes through the client: so the old producer is dropped here, not earlier.
        self._producer = None
        answers = LostAnswers(self._settings)
        settings = {**self._settings, **answers.settings, "error_cb": self._on_error}
        producer = make_client(Producer, settings, answers)
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
        producer.poll(0)  # the log lines of its first connections
        if self._taken_over is not None:
            self._taken_over()
        self._producer = producer
        self._answers = answers
        self._silence.over()
        return producer

    def _connect(self, producer: Producer) -> None:
        """Wait for a connection to any broker.

        Without a connection the client's search for the coordinator fails, and is repeated after
        half a second. There are two requests, because the first may be answered over the bootstrap
        connection, which the client then closes.
        """
        if self._topic is not None:
            with suppress(KafkaException):  # a later call raises the same error
                producer.list_topics(self._topic, _REQUEST)
                producer.list_topics(self._topic, _REQUEST)

    def close(self) -> None:
        """Let go of the producer; between two transactions no record is lost by that."""
        self._producer = None

    def begin(
        self, write: Write, size: int, offsets: Sequence[TopicPartition], lease: object
    ) -> Callable[[], None]:
        """Queue everything `write` produces, about `size` bytes, in a new transaction.

        Returns:
            A function that sends the offsets and ends the transaction. The caller calls the
            function once, on any thread, before any other method.

        Raises:
            Aborted: Nothing of the transaction is durable.
            OutcomeUnknown: Only the committed offsets can tell, once `open` has been called.
        """
        if lease is None:
            raise Aborted("the consumer is not a member of its group", routine=True)
        transaction = Transaction(
            self._ready(), self._answers, self._silence, self._pulse, write, size, offsets, lease
        )
        transaction.write()
        return transaction.finish

    def _ready(self) -> Producer:
        """The producer; a new producer if a request of the old one may still be on its way."""
        if self._producer is not None:
            self._producer.poll(0)  # delivers the client's log lines and errors
            if not self._answers.suspected:
                return self._producer
            self._tell_of_renewal()
        return self.open()

    def _tell_of_renewal(self) -> None:
        now = monotonic()
        self._renewed = [at for at in self._renewed if now - at < _OFTEN_S] + [now]
        if len(self._renewed) >= _OFTEN:
            self._renewed.clear()
            self._log.warning(
                "connections to the brokers break often; nothing is lost, but each time a new "
                "producer takes over",
                times=_OFTEN,
                within=f"{_OFTEN_S:.0f}s",
            )
        else:
            self._log.debug("a connection broke during a transaction: a new producer takes over")

    def _on_error(self, error: KafkaError) -> None:
        self._answers.suspect()
        self._silence.note(error)
        self._log.debug("the producer reports", error=classify.said(error))


class Transaction:
    """One transaction: `write`, then `finish`, each called once.

    A refusal of an earlier transaction may leave a gap in the numbers by which the client counts
    its records. The first try is then aborted, which closes the gap, and `write` or `finish` writes
    the records a second time, on the calling thread.

    Args:
        producer: A producer without an open transaction.
        answers: Told of calls whose answer may have been lost.
        silence: Knows whether the brokers answer, for the texts of errors.
        pulse: Called between the pieces of long waits.
        write: Produces the records; called a second time after a gap.
        size: Bytes of all the records, about.
        offsets: Offsets to commit with the records.
        lease: The consumer's proof of membership.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - all parts of a transaction
        self,
        producer: Producer,
        answers: LostAnswers,
        silence: BrokerSilence,
        pulse: Pulse,
        write: Write,
        size: int,
        offsets: Sequence[TopicPartition],
        lease: object,
    ) -> None:
        self._producer = producer
        self._answers = answers
        self._silence = silence
        self._pulse = pulse
        self._write_records = write
        self._size = size
        self._offsets = list(offsets)
        self._lease = lease

    def write(self) -> None:
        """Begin the transaction and queue its records; called on the engine's thread.

        Raises: as `Transactions.begin`.
        """
        self._answers.watch()
        try:
            self._begin_and_write()
        except KafkaException as raised:
            self._close_gap(raised)
            self._again(self._begin_and_write)

    def finish(self) -> None:
        """Send the offsets and commit; called on any thread, and may block for long.

        Raises: as `Transactions.begin`.
        """
        try:
            self._send_and_commit()
        except KafkaException as raised:
            self._close_gap(raised)
            self._again(self._begin_and_write, self._send_and_commit)
        self._producer.poll(0)  # delivers the client's log lines and errors
        self._answers.rest()

    def _close_gap(self, raised: KafkaException) -> None:
        """Abort the first try, if a gap in the numbers was the only fault."""
        error = classify.error_of(raised)
        if not (classify.sequence_gap(error) and self._abort()):
            raise self._failed(error) from raised

    def _again(self, *halves: Callable[[], None]) -> None:
        try:
            for half in halves:
                half()
        except KafkaException as raised:
            raise self._failed(classify.error_of(raised)) from raised

    def _begin_and_write(self) -> None:
        self._producer.begin_transaction()
        failpoint("after_begin")
        try:
            self._write_records(self._producer)
        except KafkaException:
            raise
        except Exception as error:
            # The client does not take the record: a header has the wrong type, say.
            self._abort()
            refusal = Refusal(type(error).__name__, str(error))
            raise Aborted(f"producing failed: {error}", refusal=refusal) from error
        failpoint("after_produce")

    def _send_and_commit(self) -> None:
        deadline = monotonic() + _PATIENCE
        if self._size > _SMALL:
            self._drain()
        else:
            self._producer.flush(0)  # does not wait, but ends the linger of the queued records
        self._insist(self._send_offsets, deadline)
        failpoint("after_send_offsets")
        self._producer.flush(_PIECE)
        self._insist(self._commit, deadline)
        failpoint("after_commit")

    def _drain(self) -> None:
        """Wait for a while until all queued records have arrived.

        `flush` would keep the client's thread busy: until the partitions are in the transaction,
        that thread would ask all the time whether records may be sent.
        """
        until = monotonic() + _PIECE
        while len(self._producer) and monotonic() < until:
            self._producer.poll(_LOOK)

    def _send_offsets(self) -> None:
        self._producer.send_offsets_to_transaction(self._offsets, self._lease, _OFFSETS)

    def _commit(self) -> None:
        self._producer.commit_transaction(_PIECE)

    def _insist(self, call: Callable[[], None], deadline: float) -> None:
        """Repeat a call until the call succeeds, fails for good, or the deadline has passed."""
        started = monotonic()
        while True:
            try:
                call()
            except KafkaException as raised:
                error = classify.error_of(raised)
                again = classify.of_transaction(error) is classify.Reaction.RETRY
                if not again or monotonic() > deadline:
                    raise
                self._wait_on(error, goes_on=call == self._commit, seconds=monotonic() - started)
            else:
                if monotonic() - started > _SLOW:
                    self._answers.suspect()
                self._silence.over()
                return

    def _wait_on(self, error: KafkaError, *, goes_on: bool, seconds: float) -> None:
        """Take in a failed call before its repetition.

        Args:
            error: Error of the failed call.
            goes_on: Whether the client keeps the same request when the call times out, so that
                the repetition sends no second request.
            seconds: Time since the first call.
        """
        if not (goes_on and error.name() == "_TIMED_OUT"):
            self._answers.suspect()
        self._producer.poll(0)  # delivers the client's log lines and errors
        self._tell("committing", error, seconds)

    def _tell(self, what: str, error: KafkaError, seconds: float) -> None:
        """Tell the pulse the reason of a wait, unless a far network alone explains the wait."""
        if seconds > _SLOW or self._silence.lasts:
            self._pulse(self._silence.explain(what, error))

    def _failed(self, error: KafkaError) -> Aborted | OutcomeUnknown:
        """Translate a failed call into the outcome of the commit."""
        said = self._silence.explain("committing", error)
        # The client itself refuses a record that is too large, which leaves the transaction intact.
        refusal = classify.refusal(error)
        if classify.of_transaction(error) is classify.Reaction.ABORT or refusal is not None:
            if classify.passing(error):
                self._answers.suspect()  # the error comes from the client, so an answer may be lost
            if self._abort():
                return Aborted(said, refusal=refusal, routine=classify.routine(error))
            return OutcomeUnknown(self._silence.explain("aborting", error))
        explained = self._answers.suspected
        self._answers.suspect()
        return OutcomeUnknown(said, fenced=classify.fenced(error) and not explained)

    def _abort(self) -> bool:
        """Abort, in calls of `_PIECE` seconds; False: failed, and the producer must be renewed."""
        started = monotonic()
        while True:
            try:
                self._producer.abort_transaction(_PIECE)
                return True
            except KafkaException as raised:
                error = classify.error_of(raised)
                seconds = monotonic() - started
                if not error.retriable() or seconds > _ABORT_PATIENCE:
                    self._answers.suspect()
                    return False
                self._tell("aborting", error, seconds)
