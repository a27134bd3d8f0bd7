"""In the process of an operator: its calls, as its worker sends them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from time import monotonic_ns
from typing import Any, Final

from kafka_etl.engine.pools.call_clock import CallClock
from kafka_etl.engine.pools.event_loop import AsyncLoop
from kafka_etl.engine.pools.pickling import Packed, pack_error, pack_result, packing_of
from kafka_etl.engine.rows.mapping import escaped, exhausted
from kafka_etl.functions.bind import BoundOperator

_KEEP_BACK: Final = 2_000_000
"""Nanoseconds that results may wait for others. What is kept back when the process dies in a later
call is called again."""


def serve(
    make: Callable[[], BoundOperator], connection: Connection[Any, Any], hand: CallClock
) -> None:
    """Build and open an operator, call the operator for the worker's records, and close it.

    The process first sends None, or the error of building and opening; then lists of results; and
    last None, or the error of closing.
    """
    try:
        operator = make()
        loop = AsyncLoop() if operator.is_async else None
        resolve = _unchanged if loop is None else loop.resolve
        resolve(operator.open())
    except BaseException as error:  # noqa: BLE001 - whatever it is, the worker judges it
        connection.send_bytes(pack_error(error))
        return
    calls = _Calls(operator, resolve, connection, hand)
    try:
        connection.send(None)
        while (given := connection.recv()) is not None:
            operator.context.attempt, packed = given
            calls.run(packed)
    except (EOFError, OSError):
        os._exit(1)  # the worker is gone
    try:
        resolve(operator.close())
    except BaseException as error:  # noqa: BLE001 - likewise
        connection.send_bytes(pack_error(error))
    else:
        connection.send(None)


class _Calls:
    def __init__(
        self,
        operator: BoundOperator,
        resolve: Callable[[Any], Any],
        connection: Connection[Any, Any],
        hand: CallClock,
    ) -> None:
        self._call = operator.call
        self._resolve = resolve
        self._unpack = packing_of(operator.shape).unpack
        self._connection = connection
        self._hand = hand
        self._pid = os.getpid()

    def run(self, packed: Sequence[bytes]) -> None:
        """One call after the other; results go back together while calls are quick."""
        done: list[Packed] = []
        sent = monotonic_ns()
        for number, argument in enumerate(packed, 1):
            now = monotonic_ns()
            if done and now - sent > _KEEP_BACK:
                self._connection.send(done)
                done, sent = [], monotonic_ns()
                now = sent
            self._hand.begin(number, now)
            done.append(self._one(argument))
        self._hand.rest()
        self._connection.send(done)

    def _one(self, argument: bytes) -> Packed:
        try:
            result = exhausted(self._resolve(self._call(self._unpack(argument))))
        except BaseException as error:  # noqa: BLE001 - whatever it raises is its record's
            packed: Packed = pack_error(escaped(error))
        else:
            packed = pack_result(result)
        if os.getpid() != self._pid:
            os._exit(1)  # a copy that the operator forked: its calls are not ours
        return packed


def _unchanged(made: Any) -> Any:
    return made
