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
from kafka_etl.envelope.fingerprints import fingerprint_of, normalised
from kafka_etl.envelope.raw import (
    FOREIGN,
    PREFIX,
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
    "LetterFormat",
    "OutputTooLarge",
    "Provenance",
    "encode_failure",
    "encode_letter",
    "encode_raw",
    "encode_success",
    "fingerprint",
    "fingerprint_of",
    "fingerprint_of_failure",
    "normalised",
]
