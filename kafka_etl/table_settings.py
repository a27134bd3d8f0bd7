"""Settings that every sink shares whose target is a table, and the columns its rows set."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from kafka_etl.contracts import Column, OffsetSettings, SinkSettings
from kafka_etl.errors import SinkFailed
from kafka_etl.expression import Expression
from kafka_etl.routed_settings import RoutedSettings
from kafka_etl.spelling import did_you_mean


def _one_needs_no_list(key: object) -> object:
    return (key,) if isinstance(key, str) else key


class OffsetTableSettings(OffsetSettings):
    """Where a store keeps the offsets, beside its table.

    Attributes:
        table: Table of the offsets; created if it is missing.
    """

    table: str = Field(default="kafka_etl_offsets", min_length=1)


class TableSettings(SinkSettings):
    """Settings of every sink whose target is a table.

    Attributes:
        table: Name of the table, with its schema if necessary.
        columns: Column -> expression for its value, over `value`, `key`, `headers`, `topic`,
            `partition`, `offset` and `timestamp`; None: the fields of the value by their names.
        extra: Fields of a value without a column, where `columns` is left out. `error`: a dead
            letter that names the field. `ignore`: left out. Any other text: the name of the column
            that gets these fields as one JSON object.
        mode: `insert`: every row is new. `upsert`: a row replaces the columns of the row with its
            key. `replace`: deletes the row with its key, and inserts the whole row.
        key: The columns that tell one row from another, as a list; or column -> expression over the
            record's `key`, with which a tombstone deletes. Needed by `upsert` and `replace`.
        newer: A column by which a row never replaces a newer one; an equal one, or one with null,
            is replaced.
        create: Whether a missing table is created, from the pipeline's schema.
        evolve: Whether nullable columns are added for fields that have none.
    """

    table: str = Field(min_length=1, examples=["orders"])
    columns: dict[str, Expression] | None = None
    extra: str = "error"
    mode: Literal["insert", "upsert", "replace"] = "insert"
    key: Annotated[
        tuple[str, ...] | dict[str, Expression],
        BeforeValidator(
            _one_needs_no_list, json_schema_input_type=str | tuple[str, ...] | dict[str, Expression]
        ),
    ] = ()
    newer: str | None = None
    create: bool = False
    evolve: bool = False

    @model_validator(mode="after")
    def _modes_have_keys(self) -> TableSettings:
        if self.mode != "insert" and not self.key:
            raise ValueError(f"`mode: {self.mode}` needs `key`, the columns that name a row")
        keys = set[str](self.key) if isinstance(self.key, Mapping) else set[str]()
        twice = keys & set(self.columns or {})
        if twice:
            raise ValueError(f"column {min(twice)} has an expression in `columns` and in `key`")
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


class SqlTableSettings(RoutedSettings, TableSettings):
    """Settings of every sink that writes tables of a database.

    Attributes:
        routes: Further tables with the same columns, to which rows may be sent.
    """

    routes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _routes_are_others(self) -> Self:
        if len({self.table, *self.routes}) <= len(self.routes):
            raise ValueError("`routes` should name each table once, and not `table`")
        if self.set is not None and not self.routes:
            raise ValueError("`set: {to: …}` needs `routes`, the tables to choose from")
        return self

    @property
    def destinations(self) -> Collection[str] | None:
        return (self.table, *self.routes)

    def each_table(self) -> tuple[Self, ...]:
        """These settings for each of the tables, in the order in which they are written."""
        return tuple(
            self.model_copy(update={"table": table, "routes": (), "set": None})
            for table in (self.table, *self.routes)
        )


def check_alike(table: str, columns: Sequence[Column], other: str, there: Sequence[Column]) -> None:
    """Check that two tables have the same columns, in whatever order.

    Raises:
        SinkFailed: Some columns differ.
    """
    if set(columns) == set(there):
        return
    differing = {column.name for column in set(columns) ^ set(there)}
    raise SinkFailed(
        f"table {other} is not like {table}: {', '.join(sorted(differing))} differ",
        "Rows go to tables of `routes` as they go to `table`: give them the same columns.",
    )


def mapped_columns(settings: TableSettings, columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns that every row sets, in the order of the table.

    With `columns` (and `key` by expressions): the columns named there; otherwise every column that
    rows may set. Columns that tell one row from another take no null, even where the table does:
    `null = null` is not true, so that neither a row nor a deletion would find its row.

    Args:
        settings: Settings of the sink.
        columns: Columns of the table, as preflight read them.

    Raises:
        SinkFailed: The settings name columns that are not there, or leave out what a row needs.
    """
    by_name = {column.name: column for column in columns}
    named = set(settings.key_columns)
    if settings.columns is not None:
        named |= settings.columns.keys()
    wanted = named | ({settings.newer} if settings.newer else set[str]())
    if settings.extra not in {"error", "ignore"}:
        wanted.add(settings.extra)
    problems = [_unknown(name, by_name) for name in sorted(wanted - by_name.keys())]
    problems += [
        f"column {name} is computed by the target, and no row can set it"
        for name in sorted(wanted & by_name.keys())
        if not by_name[name].writable
    ]
    if settings.columns is not None:
        chosen = wanted
    else:
        chosen = wanted | {column.name for column in columns if column.writable}
    problems += [
        f"column {column.name} needs a value, and `columns` does not set it"
        for column in columns
        if column.name not in chosen and not column.optional and column.writable
    ]
    if problems:
        raise SinkFailed(
            f"table {settings.table} does not fit: {'; '.join(problems)}",
            "Correct sink.with, or the table.",
        )
    keys = set[str]() if settings.mode == "insert" else set(settings.key_columns)
    return tuple(
        replace(column, nullable=False, optional=False) if column.name in keys else column
        for column in columns
        if column.name in chosen
    )


def _unknown(name: str, by_name: Mapping[str, Column]) -> str:
    near = did_you_mean(name, list(by_name))
    there = f"; {near}" if near else f"; it has {', '.join(by_name) or 'none'}"
    return f"there is no column {name}{there}"
