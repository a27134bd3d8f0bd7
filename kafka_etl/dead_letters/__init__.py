"""Dead letters as they are read back from their topic, and the commonest causes of a run."""

from kafka_etl.dead_letters.causes import Cause, Causes, cause_of
from kafka_etl.dead_letters.cuts import cut_parts, restored
from kafka_etl.dead_letters.decode import decode_letter
from kafka_etl.dead_letters.document import decode_envelope
from kafka_etl.dead_letters.letter import Place, StoredLetter
from kafka_etl.dead_letters.raw import decode_raw, stored
from kafka_etl.dead_letters.replayed import ReplayedRecord

__all__ = [
    "Cause",
    "Causes",
    "Place",
    "ReplayedRecord",
    "StoredLetter",
    "cause_of",
    "cut_parts",
    "decode_envelope",
    "decode_letter",
    "decode_raw",
    "restored",
    "stored",
]
