"""Transactions of one transactional id, one after the other, each of them one burst.

A transaction has two halves. `Transactions.begin` queues the records; the thread of the engine does
that. `Transaction.finish` sends the offsets and commits; most of that is waiting, so another thread
may do it while the engine runs the next batch. The next transaction begins when `finish` has
returned or raised: no two threads are ever in here together.

A lost answer costs the producer, because a request that is still on its way may end a *later*
transaction (`kafka_etl.kafka.lost_answers` says when). The next transaction then begins with a new
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
from kafka_etl.kafka import classify
from kafka_etl.kafka.broker_silence import BrokerSilence
from kafka_etl.kafka.client_settings import make_client
from kafka_etl.kafka.lost_answers import LostAnswers
from kafka_etl.log import get_logger

_PIECE: Final = 0.3
"""Seconds a call may block before it is made again: a refusal shows at the next call."""
_REQUEST: Final = 2.0
_OFFSETS: Final = 5.0
"""Seconds for the offsets; the first on a far network connect to the group's coordinator, too."""
_SLOW: Final = 2.0
"""Seconds after which waiting for a call is worth telling, and an answer suspected in any case."""
_TAKING_OVER: Final = "taking over the transactional id"
_SMALL: Final = 256 * 1024
"""Bytes that may be on their way while the offsets are sent, which saves a round trip."""
_LOOK: Final = 0.02
_PATIENCE: Final = 30.0
"""Seconds to go on with one transaction before its outcome is left to the broker."""
_ABORT_PATIENCE: Final = 10.0
_OFTEN: Final = 3
"""Renewals within `_OFTEN_S` seconds that are worth telling: the network is not well."""
_OFTEN_S: Final = 60.0


Write = Callable[[Producer], None]


class Transactions:
    """The producer of a transactional id, and its renewals.

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
        self._answers = LostAnswers(settings)  # of the present producer
        self._silence = BrokerSilence()
        self._renewed: list[float] = []

    def open(self) -> Producer:
        """Take over the id: finishes or aborts whatever a predecessor left open."""
        # The client runs callbacks when the old producer is destroyed, which must not happen while
        # an exception is on its way through here: it is let go of now, not when it failed.
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
        producer.poll(0)  # what it has to tell of its first connections
        self._producer = producer
        self._answers = answers
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
        """The producer; a new one if anything may still be on its way from the old."""
        if self._producer is not None:
            self._producer.poll(0)  # the client's log and error callback speak in here
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

    A transaction is made twice when the broker's refusal of an earlier one has left a gap in the
    numbers by which the client counts its records. The first try is aborted, which closes the gap;
    `finish` then writes the records again, in whichever thread it was called.

    Args:
        producer: No transaction of it is open.
        answers: Told what the calls show of lost answers.
        silence: Of the brokers, for what is said of a failure.
        pulse: Called between the pieces of long waits.
        write: Produces the records; called once more if the transaction is made twice.
        size: Of all the records, about, in bytes.
        offsets: To be committed with the records.
        lease: The consumer's proof of membership.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what a transaction is made of
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
        """Begin the transaction and queue its records. Called in the thread of the engine.

        Raises: as `Transactions.begin`.
        """
        self._answers.watch()
        try:
            self._begin_and_write()
        except KafkaException as raised:
            self._close_gap(raised)
            self._again(self._begin_and_write)

    def finish(self) -> None:
        """Send the offsets and commit. Called in any thread, which may wait here for long.

        Raises: as `Transactions.begin`.
        """
        try:
            self._send_and_commit()
        except KafkaException as raised:
            self._close_gap(raised)
            self._again(self._begin_and_write, self._send_and_commit)
        self._producer.poll(0)  # the client's log and error callback speak in here
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
            # The client takes no such record: a header of the wrong type, say.
            self._abort()
            refusal = Refusal(type(error).__name__, str(error))
            raise Aborted(f"producing failed: {error}", refusal=refusal) from error
        failpoint("after_produce")

    def _send_and_commit(self) -> None:
        deadline = monotonic() + _PATIENCE
        if self._size > _SMALL:
            self._drain()
        else:
            self._producer.flush(0)  # waits for nothing, but ends the linger of what is queued
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
        """Make a call until it succeeds or fails for good."""
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
        """Take in that a call is to be made again.

        Args:
            error: Of the call.
            goes_on: Whether the client goes on with the same request when the call's time is over.
            seconds: Since the first call.
        """
        if not (goes_on and error.name() == "_TIMED_OUT"):
            self._answers.suspect()
        self._producer.poll(0)  # the client's log and error callback speak in here
        self._tell("committing", error, seconds)

    def _tell(self, what: str, error: KafkaError, seconds: float) -> None:
        """Tell the pulse the reason of a wait, unless a far network alone explains the wait."""
        if seconds > _SLOW or self._silence.lasts:
            self._pulse(self._silence.explain(what, error))

    def _failed(self, error: KafkaError) -> Aborted | OutcomeUnknown:
        """Translate a failed call into the outcome of the commit."""
        said = self._silence.explain("committing", error)
        # A record too large for the client is refused without any damage to the transaction.
        refusal = classify.refusal(error)
        if classify.of_transaction(error) is classify.Reaction.ABORT or refusal is not None:
            if classify.passing(error):
                self._answers.suspect()  # no answer of a broker: one may be missing
            if self._abort():
                return Aborted(said, refusal=refusal, routine=classify.routine(error))
            return OutcomeUnknown(self._silence.explain("aborting", error))
        explained = self._answers.suspected
        self._answers.suspect()
        return OutcomeUnknown(said, fenced=classify.fenced(error) and not explained)

    def _abort(self) -> bool:
        """Abort, in pieces; returns whether that succeeded. If not, the producer is given up."""
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
