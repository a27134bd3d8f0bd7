"""Settings that every sink shares whose target is a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from kafka_etl.contracts import SinkSettings
from kafka_etl.expression import Expression


def _one_needs_no_list(key: object) -> object:
    return (key,) if isinstance(key, str) else key


class TableSettings(SinkSettings):
    """Settings of every sink whose target is a table.

    Attributes:
        table: Name of the table, with its schema if need be.
        columns: Column -> expression for its value, over `value`, `key`, `headers`, `topic`,
            `partition`, `offset` and `timestamp`; None: the fields of the value by their names.
        extra: Fields of a value without a column, where `columns` is left out. `error`: a dead
            letter that names the field. `ignore`: left out. Any other text: the name of the column
            that gets these fields as one JSON object.
        mode: `insert`: every row is new. `upsert`: a row replaces the columns of the row with its
            key. `replace`: deletes the row with its key, and inserts the whole row.
        key: The columns that tell one row from another, as a list; or column -> expression over the
            record's `key`, with which a tombstone deletes. Needed by `upsert` and `replace`.
        newer: A column by which a row only replaces an older one.
        create: Whether a missing table is created, from the pipeline's schema.
        evolve: Whether nullable columns are added for fields that have none.
    """

    table: str = Field(min_length=1)
    columns: dict[str, Expression] | None = None
    extra: str = "error"
    mode: Literal["insert", "upsert", "replace"] = "insert"
    key: Annotated[
        tuple[str, ...] | dict[str, Expression], BeforeValidator(_one_needs_no_list)
    ] = ()
    newer: str | None = None
    create: bool = False
    evolve: bool = False

    @model_validator(mode="after")
    def _modes_have_keys(self) -> TableSettings:
        if self.mode != "insert" and not self.key:
            raise ValueError(f"`mode: {self.mode}` needs `key`, the columns that name a row")
        if self.mode == "insert" and isinstance(self.key, Mapping):
            raise ValueError("`key` with expressions is for `mode: upsert` and `replace`")
        return self

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Names of the columns that tell one row from another."""
        return tuple(self.key)

    @property
    def deletes(self) -> bool:
        """Whether a tombstone deletes the row with its key: all of the key is in the record's."""
        return isinstance(self.key, Mapping) and all(
            expression.names <= {"key", "topic", "partition"} for expression in self.key.values()
        )
