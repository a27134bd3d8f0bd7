"""The sink `my-project`: appends records as lines to a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kafka_etl.contracts import (
    TAKEN,
    Again,
    ByteSinkSettings,
    Deployment,
    Guarantee,
    Label,
    Preflight,
    Refused,
    Rows,
    SinkPlugin,
    Taken,
    Unreachable,
    Writer,
)
from pydantic import Field

__all__ = ["SINK", "LineSettings", "LineWriter"]


class LineSettings(ByteSinkSettings):
    """The `with:` block of a pipeline file; unknown keys and wrong types are findings.

    Attributes:
        path: The file, whose folder must exist.
    """

    path: Path = Field(examples=["/tmp/orders.log"])


class LineWriter(Writer):
    """Writes sets of rows; put the client of your system in the file's place."""

    def __init__(self, settings: LineSettings) -> None:
        self._path = settings.path

    def connect(self) -> None:
        """Called before the first set, and again after a set that has failed."""
        if not self._path.parent.is_dir():
            raise Unreachable(f"folder {self._path.parent} does not exist", mend=True)

    def write(self, rows: Rows) -> Taken | Mapping[int, Refused | Again]:
        """Write the rows that fit, and name those that never will: they become dead letters."""
        verdicts: dict[int, Refused | Again] = {}
        lines: list[bytes] = []
        for row in rows:
            if row.value is None or b"\n" in row.value:
                verdicts[row.position] = Refused("NoLine", "the value is no single line")
            else:
                lines.append(row.value + b"\n")
        with self._path.open("ab") as file:
            file.writelines(lines)
        return verdicts or TAKEN


def _build(settings: LineSettings, _deployment: Deployment) -> LineWriter:
    return LineWriter(settings)


def _check(settings: LineSettings, _deployment: Deployment) -> Preflight:
    LineWriter(settings).connect()
    return Preflight()


SINK: SinkPlugin[LineSettings] = SinkPlugin(
    settings=LineSettings,
    label=lambda _settings: Label(Guarantee.AT_LEAST_ONCE, "a set may be written again"),
    build=_build,
    check=_check,
    summary="lines of a file",
)
