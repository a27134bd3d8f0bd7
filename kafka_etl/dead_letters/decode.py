"""The one door to dead letters: whichever system wrote a record, and in whichever format."""

from __future__ import annotations

from kafka_etl.dead_letters.document import decode_envelope
from kafka_etl.dead_letters.foreign import decode_foreign
from kafka_etl.dead_letters.letter import Place, StoredLetter
from kafka_etl.dead_letters.raw import decode_raw
from kafka_etl.record import SourceRecord, offset_of, partition_of


def decode_letter(record: SourceRecord) -> StoredLetter | None:
    """The dead letter that a record of a dead-letter topic is; None: the record is none.

    A dead letter of ours stays ours, whatever headers of other systems stand beside ours.
    """
    letter = decode_raw(record) or decode_foreign(record)
    if letter is not None:
        return letter
    place = partition_of(record)
    at = Place(place.topic, place.number, offset_of(record))
    return decode_envelope(record.value() or b"", at)
