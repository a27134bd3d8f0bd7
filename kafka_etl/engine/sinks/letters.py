"""Dead letters to another sink: written and acknowledged before the commit of their records."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kafka_etl.contracts import TAKEN, Pulse, RowOrder, Rows, Store, Taken, Writer
from kafka_etl.contracts.rows import Identify
from kafka_etl.engine.sinks.connection import Connection
from kafka_etl.engine.sinks.delivery import Delivery
from kafka_etl.envelope import Encoded
from kafka_etl.errors import DeadLetterRefused
from kafka_etl.invocation import DeadLetter, Outputs


class LetterTable(Writer):
    """A store's own table of dead letters, as a writer of JSON documents.

    Args:
        store: The store, whose rows and offsets stay as they are.
    """

    order = RowOrder.NONE

    def __init__(self, store: Store) -> None:
        self.limits = store.limits
        self._store = store

    def connect(self) -> None:
        """Connect the store."""
        self._store.connect()

    def close(self) -> None:
        """Let go of the store's connection."""
        self._store.close()

    def interrupt(self) -> None:
        """Break the store's call under way."""
        self._store.interrupt()

    def write(self, rows: Rows) -> Taken:
        """Add the documents to the table, in one transaction."""
        self._store.commit(rows.take(()), {}, rows.values)
        return TAKEN


class LetterDelivery:
    """Delivers dead letters to a writer; implements `Letters` of the stream engine.

    Args:
        writer: The target.
        encode: Makes the key, the value and the headers of a dead letter, of a size that the writer
            takes.
        identify: Names a source record, for the ids of dead letters.
        pulse: Called between the pieces of long waits.
        patience: Seconds to wait for a target that cannot be reached; None: without an end.
    """

    def __init__(
        self,
        writer: Writer,
        encode: Callable[[DeadLetter], Encoded],
        identify: Identify,
        pulse: Pulse,
        *,
        patience: float | None = None,
    ) -> None:
        def waits(reason: str) -> None:
            pulse(f"dead letters: {reason}")

        self._writer = writer
        self._encode = encode
        self._identify = identify
        self._connection = Connection(writer, waits, patience=patience)
        self._delivery = Delivery(writer, self._connection)

    def __call__(self, letters: Sequence[DeadLetter]) -> None:
        """Return when the target has acknowledged every dead letter; on the commit thread.

        Raises:
            DeadLetterRefused: The target refuses a dead letter: the pipeline pauses.
            KafkaEtlError: No later try can succeed.
            Abandoned: The worker is stopping.
        """
        encoded = [self._encode(letter) for letter in letters]
        outputs = Outputs(
            values=[letter.value for letter in encoded],
            keys=[letter.key for letter in encoded],
            headers=[letter.headers for letter in encoded],
        )
        rows = Rows(outputs, [letter.record for letter in letters], self._identify)
        refused = self._delivery.deliver(rows)
        for position, verdict in refused.items():
            raise DeadLetterRefused(
                f"the dead letter {rows.ids[position]} was refused: {verdict.code}: "
                f"{verdict.message}"
            )

    def interrupt(self) -> None:
        """Break the writer's call under way; called on the main thread."""
        self._writer.interrupt()

    def close(self) -> None:
        """Let go of the target."""
        self._connection.drop()
