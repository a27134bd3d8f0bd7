"""The clerks of a daemon: processes that answer requests about tasks, apart from the main loop.

The daemon has no Kafka client, and its main loop waits for nobody. A few threads have a process
each, which is started when it is first needed, and killed when an answer takes too long.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from queue import Full, Queue
from typing import Final

from kafka_etl.errors import ClerkBusy
from kafka_etl.runtime.child import OperatorChild
from kafka_etl.runtime.tasks.requests import Answered, Asked

_MODULE: Final = "kafka_etl.runtime.tasks.clerk"
_CLERKS: Final = 2
_WAITING: Final = 16
"""Requests that wait for a clerk, at most."""
_PATIENCE: Final = 60.0
"""Seconds that a clerk may take, the start of its process included."""

_Errand = tuple[Asked, "Future[Answered]"]


class Clerks:
    """All clerks; `ask` is for any thread but the main one."""

    def __init__(self) -> None:
        self._errands: Queue[_Errand] = Queue(_WAITING)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._children: set[OperatorChild] = set()
        self._is_closed = False

    def ask(self, asked: Asked) -> Answered:
        """Have a clerk answer a request, and wait for the answer.

        Raises:
            ClerkBusy: Too many requests wait, or the answer takes too long.
        """
        answer: Future[Answered] = Future()
        with self._lock:
            if self._is_closed:
                raise ClerkBusy("the daemon is being stopped")
            if len(self._threads) < _CLERKS:
                self._threads.append(threading.Thread(target=self._serve, daemon=True))
                self._threads[-1].start()
        try:
            self._errands.put_nowait((asked, answer))
        except Full:
            raise ClerkBusy(f"{_WAITING} requests about tasks wait already") from None
        try:
            return answer.result(2 * _PATIENCE)
        except TimeoutError:
            raise ClerkBusy(f"no clerk was free for {2 * _PATIENCE:.0f} s") from None

    def close(self) -> None:
        """Kill the clerks; what they were asked is not answered."""
        with self._lock:
            self._is_closed = True
            children = list(self._children)
        for child in children:
            child.end()

    # In the thread of a clerk: a process ends with the thread that has started it

    def _serve(self) -> None:
        child: OperatorChild | None = None
        while True:
            asked, told = self._errands.get()
            if child is not None and child.exit_status() is not None:  # it has died in between
                self._end(child)
                child = None
            try:
                child = child or self._start()
            except (OSError, ClerkBusy) as error:
                told.set_exception(ClerkBusy(f"no clerk can be started: {error}"))
                continue
            answered = _answer(child, asked)
            if answered is None:
                self._end(child)
                child = None
                told.set_exception(ClerkBusy(f"no answer within {_PATIENCE:.0f} s"))
            else:
                told.set_result(answered)

    def _start(self) -> OperatorChild:
        with self._lock:
            if self._is_closed:
                raise ClerkBusy("the daemon is being stopped")
            child = OperatorChild(_MODULE)
            self._children.add(child)
            return child

    def _end(self, child: OperatorChild) -> None:
        child.end()
        child.close()
        with self._lock:
            self._children.discard(child)


def _answer(child: OperatorChild, asked: Asked) -> Answered | None:
    """The answer of a clerk; None: it takes too long, or has died."""
    child.send(asked)
    try:
        if not child.connection.poll(_PATIENCE):
            return None
        found: Answered = child.connection.recv()
    except (EOFError, OSError):
        return None
    return found
