"""Settings of sinks that have many places for rows, such as tables, folders, keys or addresses."""

from __future__ import annotations

from collections.abc import Collection
from typing import Self

from pydantic import model_validator

from kafka_etl.contracts import Settings, SinkSettings
from kafka_etl.expression import Expression


class RowSettings(Settings):
    """Parts of rows besides the value, as expressions that are computed after the operators.

    Attributes:
        to: Where the row goes, as text; null: the sink's own place. What an operator has said with
            `Record.to` stays.
    """

    to: Expression


class RoutedSettings(SinkSettings):
    """Base of the settings of a sink that has many places for rows.

    Attributes:
        set: Where rows go, set by an expression.
    """

    set: RowSettings | None = None

    @model_validator(mode="after")
    def _there_is_a_choice(self) -> Self:
        if self.set is not None and self.destinations is not None and not self.destinations:
            raise ValueError("`set: {to: …}`: with these settings there is one place for all rows")
        return self

    @property
    def destinations(self) -> Collection[str] | None:
        return None
