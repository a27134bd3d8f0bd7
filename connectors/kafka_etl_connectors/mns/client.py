"""The service's client behind two calls: `send` some bodies, and `look` at the target.

The client has no types, is silent only without a logger and `debug`, has no timeout of its own for
HTTPS, and encodes only text; hence this module is the only one that knows the client.
"""

from __future__ import annotations

import socket
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from kafka_etl.contracts import Again, Refused, Unreachable, require_extra
from kafka_etl_connectors.mns.settings import MnsSettings
from kafka_etl_connectors.mns.verdict import verdict

Judged = Refused | Again | Unreachable


def require_client() -> None:
    """Check that the client is installed, without importing it.

    Raises:
        ExtraMissing: The client is not installed.
    """
    require_extra("mns", "the sink mns needs the package aliyun-mns-sdk, thus", "mns")


class ServiceError(Exception):
    """The service refused a request as a whole.

    Attributes:
        judged: What the error means.
    """

    def __init__(self, judged: Judged) -> None:
        super().__init__(str(judged))
        self.judged = judged


class Target:
    """A queue or a topic. Opens its connection with the first request.

    Args:
        settings: Address, credentials and target.

    Raises:
        ExtraMissing: The client is not installed.
    """

    def __init__(self, settings: MnsSettings) -> None:
        require_client()
        accounts: Any = import_module("mns.account")
        self._errors: Any = import_module("mns.mns_exception")
        account = accounts.Account(
            settings.endpoint,
            settings.access_key_id,
            settings.access_key_secret.get_secret_value(),
            settings.security_token.get_secret_value(),
        )
        self._client: Any = account.mns_client
        self._client.set_connection_timeout(settings.timeout)
        self._client.http.conn.timeout = settings.timeout  # the client's own is for HTTP alone
        self._settings = settings
        self._queue: Any = None
        if settings.queue is not None:
            self._queue = account.get_queue(settings.queue)
            self._queue.set_encoding(False)  # bodies come encoded: the client's own takes text only
        self._topic: Any = None if settings.topic is None else account.get_topic(settings.topic)

    @property
    def in_batches(self) -> bool:
        """Whether a request may hold several messages: a topic takes one."""
        return self._topic is None

    def look(self) -> None:
        """Read the target's attributes.

        Raises:
            ServiceError: The service refuses, for example because the target does not exist.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the client's, about its own parts
            self._call((self._topic or self._queue).get_attributes)

    def send(self, bodies: Sequence[str]) -> Mapping[int, Judged]:
        """Send messages in one request.

        Returns:
            Position -> what the error of this message means; empty: all messages are taken.

        Raises:
            ServiceError: The service refused the request as a whole, or did not answer.
        """
        if self._topic is not None:
            (body,) = bodies
            published = import_module("mns.topic").TopicMessage(body)
            return self._call(self._topic.publish_message, published)
        made: Any = import_module("mns.queue").Message
        settings = self._settings
        batch = [made(body, settings.delay_seconds, settings.priority) for body in bodies]
        if len(batch) == 1:
            return self._call(self._queue.send_message, batch[0])
        return self._call(self._queue.batch_send_message, batch)

    def _call(self, call: Any, *arguments: Any) -> Mapping[int, Judged]:
        try:
            call(*arguments)
        except self._errors.MNSServerException as error:
            if not error.sub_errors:
                raise ServiceError(verdict(error.type, error.message)) from error
            return {
                position: verdict(entry["ErrorCode"], entry.get("ErrorMessage", ""))
                for position, entry in enumerate(error.sub_errors)
                if "ErrorCode" in entry
            }
        except self._errors.MNSClientException as error:
            reason = f"{self._settings.endpoint}: {error.message or 'no answer'}"
            raise ServiceError(Unreachable(reason[:500])) from error
        return {}

    def close(self) -> None:
        """Close the connection."""
        self._client.close_connection()

    def interrupt(self) -> None:
        """Break the request that is under way, and make no other; any thread may call this."""
        connection: Any = self._client.http.conn
        connection.auto_open = 0  # the client repeats a request whose connection was cut
        open_socket: socket.socket | None = connection.sock
        if open_socket is not None:
            try:
                open_socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is closed already
