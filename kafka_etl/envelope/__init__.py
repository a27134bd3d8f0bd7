"""Dead letters and successes as messages: format `raw`, and format `envelope`.

- `raw`: a Kafka record, the original byte for byte, with everything about the failure in headers.
- `envelope`: one JSON document for a target of bytes, in the shape of a function service.
"""

from kafka_etl.envelope.document import (
    LetterFormat,
    OutputTooLarge,
    encode_failure,
    encode_letter,
    encode_success,
)
from kafka_etl.envelope.families import (
    FOREIGN,
    PREFIX,
    Family,
    Texts,
    number_in,
    taken_apart,
    told,
)
from kafka_etl.envelope.fingerprints import fingerprint_of, is_users, normalised, own_frame
from kafka_etl.envelope.raw import (
    Encoded,
    Provenance,
    encode_raw,
    fingerprint,
    fingerprint_of_failure,
)

__all__ = [
    "FOREIGN",
    "PREFIX",
    "Encoded",
    "Family",
    "LetterFormat",
    "OutputTooLarge",
    "Provenance",
    "Texts",
    "encode_failure",
    "encode_letter",
    "encode_raw",
    "encode_success",
    "fingerprint",
    "fingerprint_of",
    "fingerprint_of_failure",
    "is_users",
    "normalised",
    "number_in",
    "own_frame",
    "taken_apart",
    "told",
]
