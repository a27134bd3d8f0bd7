"""The rows to blame: found in transactions that are all rolled back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import psycopg

from kafka_etl.contracts import Refused, Unreachable
from kafka_etl_connectors.postgres.connection import Connection, fault, refused
from kafka_etl_connectors.postgres.parts import BadValue, Part
from kafka_etl_connectors.postgres.tables import TablesWriter
from kafka_etl_connectors.postgres.verdict import Fault

_SAVEPOINTS: Final = 32
"""In a transaction; past 64 the server's other transactions suffer."""
_ALL_BAD: Final = 64
"""Rows refused alike, while none is accepted, of which no dead letters are made."""
_FOREIGN_KEY: Final = "23503"
_LEAST_STRIDE: Final = 64


class Blame:
    """The search for all rows of a commit that the server refuses.

    A range of rows is written behind a savepoint. If the server refuses the range and COPY names a
    line, the range is cut there; else in the middle. What was accepted stays during the search, so
    that the second of two rows with one key is the bad one.

    Args:
        connection: The connection, outside a transaction.
        writer: Writes rows.
        begin: Begins a transaction.
        part: The rows.
    """

    def __init__(
        self,
        connection: Connection,
        writer: TablesWriter,
        begin: Callable[[], None],
        part: Part,
    ) -> None:
        self._connection = connection
        self._writer = writer
        self._begin = begin
        self._part = part
        self._accepted: list[int] = []
        self._refused: dict[int, Refused] = {}

    def find(self) -> dict[int, Refused]:
        """Position -> verdict of every bad row.

        Raises:
            Unreachable: Many rows are refused alike, and none is accepted.
            psycopg.Error: The server is away, or its error is no row's.
        """
        self._search([(0, len(self._part))])
        while retry := self._without_parent():
            known, before = dict(self._refused), len(self._accepted)
            for position in retry:
                del self._refused[position]
            self._search([(position, position + 1) for position in reversed(retry)])
            if len(self._accepted) == before:
                self._refused = known
                break
        self._check_not_everybody()
        return self._refused

    def _check_not_everybody(self) -> None:
        """Whoever refuses everybody alike is the one to mend, and no row is to blame.

        Raises:
            Unreachable: Many rows are refused alike, and none is accepted.
        """
        codes = {verdict.code for verdict in self._refused.values()}
        if not self._accepted and len(self._refused) >= _ALL_BAD and len(codes) == 1:
            raise Unreachable(
                f"PostgreSQL refuses every row ({codes.pop()}); look at the table's constraints "
                "and triggers",
                mend=True,
            )

    def _without_parent(self) -> list[int]:
        """Rows whose foreign key may be a row that was written after them."""
        return [at for at, verdict in self._refused.items() if verdict.code == _FOREIGN_KEY]

    def _search(self, todo: list[tuple[int, int]]) -> None:
        """Write ranges, last of the list first, and cut those that are refused."""
        while todo:
            self._begin()
            try:
                self._again()
                for _ in range(_SAVEPOINTS):
                    if not todo:
                        break
                    begin, end = todo.pop()
                    todo += self._try(begin, end)
            finally:
                if not self._connection.closed:
                    self._connection.execute("ROLLBACK")

    def _again(self) -> None:
        """Write what was accepted in an earlier transaction."""
        if self._accepted:
            self._writer.write(self._connection, self._part.pick(sorted(self._accepted)))
            self._writer.clear(self._connection)

    def _try(self, begin: int, end: int) -> list[tuple[int, int]]:
        """Write a range; return what is to be tried next, the first of it last."""
        self._connection.execute("SAVEPOINT rows")
        try:
            self._writer.write(self._connection, self._part.slice(begin, end))
            self._writer.clear(self._connection)
            self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except BadValue as error:
            verdict = Refused(type(error.error).__name__, str(error))
            at: int | None = begin + error.position
        except psycopg.Error as error:
            if fault(error) is not Fault.ROW:
                raise
            verdict = refused(error)
            line = copied_line(error.diag.context)
            at = None if line is None else begin + line - 1
        else:
            self._connection.execute("RELEASE SAVEPOINT rows")
            self._accepted += range(begin, end)
            return []
        self._connection.execute("ROLLBACK TO SAVEPOINT rows")
        if end - begin > 1:
            return _cut(begin, end, at)
        self._refused[begin] = verdict
        return []


def _cut(begin: int, end: int, at: int | None) -> list[tuple[int, int]]:
    """The pieces of a range, last one first; `at` is the row that COPY named."""
    if at is None or not begin <= at < end:
        middle = (begin + end) // 2
        return [(middle, end), (begin, middle)]
    # Where bad rows are near each other, the client does not send all the rest after each of them.
    stride = min(end, at + 1 + max(_LEAST_STRIDE, 4 * (at - begin)))
    pieces = [(stride, end), (at + 1, stride), (at, at + 1), (begin, at)]
    return [piece for piece in pieces if piece[0] < piece[1]]


def copied_line(context: str | None) -> int | None:
    """The line that COPY names, from 1, in whatever language the server speaks.

    A wrong number does no harm: every row is tried alone before it is refused.
    """
    for text in (context or "").splitlines():
        found = re.match(r'COPY (?:"(?:[^"]|"")*"|[^\s,]+)\D*(\d+)', text)
        if found is not None:
            return int(found[1])
    return None
