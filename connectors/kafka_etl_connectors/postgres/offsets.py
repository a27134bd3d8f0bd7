"""The table of offsets: made, read, and moved by a compare-and-set."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, LiteralString

from psycopg import sql

from kafka_etl.contracts import Conflict, Move, StoredOffset
from kafka_etl.record import Partition
from kafka_etl_connectors.postgres.connection import Connection, identifier

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS {table} (
  name text NOT NULL, cluster text NOT NULL, topic text NOT NULL, "partition" integer NOT NULL,
  topic_id text NOT NULL, next bigint NOT NULL, generation bigint NOT NULL, "group" text NOT NULL,
  PRIMARY KEY (name, cluster, topic, "partition")
) WITH (fillfactor = 50)"""
_READ: Final = """
SELECT topic, "partition", next, generation, topic_id, "group" FROM {table}
WHERE name = %s AND cluster = %s
  AND (topic, "partition") IN (SELECT * FROM unnest(%s::text[], %s::integer[]))"""
_PLACE: Final = """
INSERT INTO {table} (name, cluster, topic, "partition", topic_id, next, generation, "group")
SELECT %s, %s, v.* FROM unnest(
  %s::text[], %s::integer[], %s::text[], %s::bigint[], %s::bigint[], %s::text[]) AS v
ORDER BY 3, 4
ON CONFLICT (name, cluster, topic, "partition") """
_KEEP: Final = "DO NOTHING"
_OVERWRITE: Final = """DO UPDATE SET topic_id = excluded.topic_id, next = excluded.next,
  generation = excluded.generation, "group" = excluded."group\""""
# The rows are locked in the order of their key, so that two workers cannot lock each other out.
_MOVE: Final = """
WITH held AS (
  SELECT o.topic, o."partition", v.next
  FROM {table} AS o
  JOIN unnest(%s::text[], %s::integer[], %s::bigint[], %s::bigint[], %s::bigint[])
    AS v (topic, "partition", at, next, generation)
    ON o.topic = v.topic AND o."partition" = v."partition"
  WHERE o.name = %s AND o.cluster = %s AND o.next = v.at AND o.generation = v.generation
  ORDER BY o.topic, o."partition" FOR UPDATE OF o
)
UPDATE {table} AS o SET next = held.next FROM held
WHERE o.name = %s AND o.cluster = %s AND o.topic = held.topic AND o."partition" = held."partition"
RETURNING o.topic, o."partition\""""


class OffsetTable:
    """The offsets of one name and one Kafka cluster.

    Args:
        table: Name of the table.
        name: Name under which the offsets stand.
        cluster: Kafka's id of the cluster.
    """

    def __init__(self, table: str, name: str, cluster: str) -> None:
        self._table = identifier(table)
        self._of = (name, cluster)
        self._move = self._sql(_MOVE).as_bytes(None)

    def ddl(self) -> sql.Composed:
        """The statement that makes the table."""
        return self._sql(_TABLE)

    def read(
        self, connection: Connection, partitions: Collection[Partition]
    ) -> dict[Partition, StoredOffset]:
        """Where these partitions stand; unknown ones are left out."""
        asked = sorted(set(partitions))
        topics, numbers = [tp.topic for tp in asked], [tp.number for tp in asked]
        found = connection.execute(self._sql(_READ), (*self._of, topics, numbers)).fetchall()
        return {Partition(row[0], row[1]): StoredOffset(*row[2:]) for row in found}

    def other_cluster(self, connection: Connection) -> str:
        """Another cluster that has offsets of this name, while this one has none; else empty."""
        query = self._sql("SELECT DISTINCT cluster FROM {table} WHERE name = %s")
        found = {row[0] for row in connection.execute(query, (self._of[0],)).fetchall()}
        return "" if self._of[1] in found or not found else min(found)

    def place(
        self, connection: Connection, offsets: Mapping[Partition, StoredOffset], *, overwrite: bool
    ) -> None:
        """Write where partitions stand."""
        order = sorted(offsets)
        at = [offsets[tp] for tp in order]
        connection.execute(
            self._sql(_PLACE + (_OVERWRITE if overwrite else _KEEP)),
            (
                *self._of,
                [tp.topic for tp in order],
                [tp.number for tp in order],
                [stored.topic_id for stored in at],
                [stored.next for stored in at],
                [stored.generation for stored in at],
                [stored.group for stored in at],
            ),
        )

    def move(self, connection: Connection, moves: Mapping[Partition, Move]) -> None:
        """Move all partitions within the transaction under way.

        Raises:
            Conflict: Some partitions stand elsewhere.
        """
        order = sorted(moves)
        to = [moves[tp] for tp in order]
        found = connection.execute(
            self._move,
            (
                [tp.topic for tp in order],
                [tp.number for tp in order],
                [move.begin for move in to],
                [move.next for move in to],
                [move.generation for move in to],
                *self._of,
                *self._of,
            ),
        ).fetchall()
        missed = moves.keys() - {Partition(*row) for row in found}
        if missed:
            raise Conflict(missed)

    def _sql(self, text: LiteralString) -> sql.Composed:
        return sql.SQL(text).format(table=self._table)
