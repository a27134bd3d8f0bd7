"""Documents too large for a message of their target: kept as objects, whose URI the message has.

The pattern is known as claim check.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from kafka_etl.contracts import Abandoned, Pulse, Unreachable
from kafka_etl.engine.sinks.connection import Connection, said
from kafka_etl.errors import KafkaEtlError
from kafka_etl.extras import require_extra

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_CLIENT: Final[dict[str, Any]] = {
    "timeout": timedelta(seconds=30),
    "connect_timeout": timedelta(seconds=5),
}
_RETRY: Final[dict[str, Any]] = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
_FOR_USERS: Final = {"FileNotFoundError", "PermissionDeniedError", "UnauthenticatedError"}
"""Names of the client's errors that waiting alone does not end."""


class Objects:
    """Objects below one URL; a door for `Connection`.

    Args:
        url: `file:///FOLDER`, or a bucket and a prefix, such as `s3://BUCKET/PREFIX`. Account and
            endpoint of a bucket are read from the environment, as the provider's tools read them.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._store: ObjectStore | None = None

    def connect(self) -> None:
        """Make the client, which connects with the first request."""
        from obstore.store import from_url  # noqa: PLC0415 - an extra

        make: Any = from_url  # typed for each provider apart
        if self._url.startswith("file:"):
            self._store = make(self._url, mkdir=True)
        else:
            self._store = make(self._url, client_options=_CLIENT, retry_config=_RETRY)

    def close(self) -> None:
        """Let go of the client."""
        self._store = None

    def put(self, name: str, content: bytes) -> str:
        """Write an object, and return its URI."""
        import obstore  # noqa: PLC0415

        if self._store is None:
            raise Unreachable("the place of the claim check is not connected")
        obstore.put(self._store, name, content)
        return f"{self._url.rstrip('/')}/{name}"


class ClaimCheck:
    """Keeps documents until they are claimed. Called on the commit thread.

    Args:
        url: See `Objects`.
        pulse: Called between the pieces of long waits.
        patience: Seconds to wait for a place that cannot be reached; None: without an end.

    Raises:
        ExtraMissing: The client is not installed.
    """

    def __init__(self, url: str, pulse: Pulse, *, patience: float | None = None) -> None:
        require_extra("objects", "`claim_check` needs the package", "obstore")

        def waits(reason: str) -> None:
            pulse(f"claim check: {reason}")

        self._objects = Objects(url)
        self._connection = Connection(self._objects, waits, patience=patience)

    def __call__(self, document: bytes) -> str:
        """Return the URI under which the document is kept now.

        The name of the object is the document's SHA-256, so that a repeat of the same document
        makes no second object.

        Raises:
            SinkFailed: The place stayed away for longer than `patience`.
            SinkBlocked: The place refuses everybody, for five minutes now.
            Abandoned: The worker is stopping.
        """
        name = f"{hashlib.sha256(document).hexdigest()}.json"
        while True:
            self._connection.ensure()
            try:
                uri = self._objects.put(name, document)
            except (Abandoned, KafkaEtlError):
                raise
            except Exception as error:  # noqa: BLE001 - whatever the client raises
                mend = type(error).__name__ in _FOR_USERS
                self._connection.failed(Unreachable(said(error), mend=mend))
            else:
                self._connection.worked()
                return uri
