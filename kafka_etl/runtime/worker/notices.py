"""Notices to hooks: the breaker has opened, or a new kind of dead letter has appeared.

Each hook has a thread and a short queue of its own. Nothing in the pipeline ever waits for a hook:
a notice that a hook does not take is given up after a few tries, counted, and logged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from queue import Full, Queue
from threading import Event, Thread
from time import monotonic
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import orjson

from kafka_etl.config.model import HookSpec, Notice
from kafka_etl.dead_letters import Cause, cause_of
from kafka_etl.engine.poison.breaker import Trip
from kafka_etl.envelope import Provenance
from kafka_etl.invocation import DeadLetter, described
from kafka_etl.log import get_logger

Send = Callable[[bytes], None]
"""Sends one document; raises whatever keeps the document from arriving."""

_QUEUE: Final = 100
_WAITS: Final = (1.0, 3.0)
"""Seconds before the second and the third try, the last one."""
TIMEOUT: Final = 5.0
"""Seconds to wait for a target."""
_LAST: Final = 2.0
"""Seconds that notices may still take when the worker ends."""
_TEXT: Final = 2_000


class Refused(Exception):
    """A hook did not take a notice."""


class _Sent(NamedTuple):
    notice: Notice
    document: bytes


class Hook:
    """One hook, with its thread, which begins at the first notice.

    Args:
        name: Name of the hook in the log; never its URL, which may hold a secret.
        send: Sends one document.
        only: The notices that are sent; None: all.
        waits: Seconds before further tries.
    """

    def __init__(
        self,
        name: str,
        send: Send,
        only: Sequence[Notice] | None = None,
        waits: Sequence[float] = _WAITS,
    ) -> None:
        self._name = name
        self._send = send
        self._only = only
        self._waits = waits
        self._queue: Queue[_Sent | None] = Queue(_QUEUE)
        self._closing = Event()
        self._thread: Thread | None = None
        self._log = get_logger("worker")
        self.counts: Counter[tuple[str, str]] = Counter()

    def put(self, notice: Notice, document: bytes) -> None:
        """Have a document sent; returns at once."""
        if self._only is not None and notice not in self._only:
            return
        try:
            self._queue.put_nowait(_Sent(notice, document))
        except Full:
            self._give_up(notice, f"{_QUEUE} notices wait already")
            return
        if self._thread is None:
            self._thread = Thread(target=self._run, name="hook", daemon=True)
            self._thread.start()

    def close(self, deadline: float) -> None:
        """Send what waits, without further tries, until a time of the monotonic clock."""
        self._closing.set()
        if self._thread is not None:
            with suppress(Full):  # then the thread is awake
                self._queue.put_nowait(None)
            self._thread.join(max(0.0, deadline - monotonic()))

    def _run(self) -> None:
        while not (self._closing.is_set() and self._queue.empty()):
            sent = self._queue.get()
            if sent is not None:
                self._deliver(sent)

    def _deliver(self, sent: _Sent) -> None:
        for wait in (*self._waits, None):
            try:
                self._send(sent.document)
            except Exception as error:  # noqa: BLE001 - whatever it is, the pipeline goes on
                if wait is None or self._closing.wait(wait):
                    known = isinstance(error, Refused)
                    self._give_up(sent.notice, str(error) if known else described(error, _TEXT))
                    return
            else:
                self.counts["notices_sent", sent.notice] += 1
                return

    def _give_up(self, notice: Notice, why: str) -> None:
        self.counts["notices_given_up", notice] += 1
        self._log.warning("a hook did not take a notice", hook=self._name, notice=notice, error=why)


class Notices:
    """Makes the documents of notices, and gives them to the hooks.

    All methods are called on the worker's main thread, and none of them waits but `close`.

    Args:
        hooks: The hooks.
        about: Which pipeline and process the notices come from.
        topic: Topic of the dead letters; None: they go elsewhere.
        now_ms: Present time, in milliseconds since the epoch.
    """

    def __init__(
        self,
        hooks: Sequence[Hook],
        about: Provenance,
        topic: str | None,
        now_ms: Callable[[], int],
    ) -> None:
        self._hooks = hooks
        self._about = about
        self._topic = topic
        self._now_ms = now_ms

    def breaker_opened(self, trip: Trip) -> None:
        """Tell that the pipeline pauses, or ends in a run to the end."""
        more = {"limit": trip.limit, "reason": trip.reason[:_TEXT]}
        self._tell("breaker_opened", more, trip.causes)

    def new_kind(self, letter: DeadLetter) -> None:
        """Tell of the first dead letter of its kind."""
        self._tell("new_kind", {}, [cause_of(letter.failure, letter.record)])

    def counts(self) -> Mapping[tuple[str, str], float]:
        """(metric, notice) -> count since the worker began."""
        total: Counter[tuple[str, str]] = Counter()
        for hook in self._hooks:
            total.update(hook.counts.copy())
        return dict(total)

    def close(self) -> None:
        """Wait up to two seconds for the notices that are not sent yet."""
        deadline = monotonic() + _LAST
        for hook in self._hooks:
            hook.close(deadline)

    def _tell(self, notice: Notice, more: Mapping[str, Any], causes: Sequence[Cause]) -> None:
        if self._hooks:
            document = orjson.dumps(self._document(notice, more, causes))
            for hook in self._hooks:
                hook.put(notice, document)

    def _document(
        self, notice: Notice, more: Mapping[str, Any], causes: Sequence[Cause]
    ) -> dict[str, Any]:
        about, at = self._about, datetime.fromtimestamp(self._now_ms() / 1000, UTC)
        return {
            "version": "1.0",
            "event": notice,
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "pipeline": about.pipeline,
            "config_hash": about.config_hash,
            "group": about.group,
            "worker": about.worker,
            "host": about.host,
            "dead_letter_topic": self._topic,
            **more,
            "kinds": [
                {
                    "fingerprint": cause.fingerprint,
                    "condition": cause.condition,
                    "operator": cause.operator,
                    "operator_version": about.versions.get(cause.operator, ""),
                    "error": cause.error,
                    "count": cause.count,
                    "example": cause.example.id,
                }
                for cause in causes
            ],
        }


def make_hook(spec: HookSpec, pipeline: str, settings: Mapping[str, Any]) -> Hook:
    """Make one hook of the pipeline file.

    Args:
        spec: The hook's settings.
        pipeline: Name of the pipeline, the key of records in a topic.
        settings: Settings of the client for a topic.
    """
    if spec.url is not None:
        from kafka_etl.runtime.worker.http_post import post  # noqa: PLC0415 - few have a hook

        url = spec.url
        return Hook(urlsplit(url).netloc, lambda data: post(url, data), spec.only)
    topic = spec.topic or ""
    key = pipeline.encode()
    return Hook(f"topic {topic}", lambda data: write(settings, topic, key, data), spec.only)


def write(settings: Mapping[str, Any], topic: str, key: bytes, document: bytes) -> None:
    """Write a document to a topic, as one record.

    Raises:
        Refused: The record has not arrived.
        KafkaRefused: The client does not take its settings.
    """
    from kafka_etl.kafka.cluster.topics import Sender  # noqa: PLC0415 - few have a hook

    sender = Sender({**settings, "message.timeout.ms": int(TIMEOUT * 1000)}, topic, 0)
    sender.send(document, key, [])
    failed = sender.finish().failed
    if failed:
        raise Refused(next(iter(failed.values())))
