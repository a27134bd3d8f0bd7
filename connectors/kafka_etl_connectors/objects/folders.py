"""The folder of each row's file, from a template such as `{topic}/dt={timestamp:%Y-%m-%d}/`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import repeat
from string import Formatter
from typing import Any, Final

from kafka_etl.contracts import Refused, Rows
from kafka_etl.record import Partition

_FIELDS: Final = ("topic", "partition", "timestamp", "to", "table")
_DAY: Final = 86_400_000
_UNITS: Final = {"%S": 1_000, "%M": 60_000, "%H": 3_600_000}
"""Directive of a time -> milliseconds within which its text is the same; others: a day."""
_DIRECTIVES: Final = "aAbBdHIjmMpSuUVwWyYG"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER: Final = "__HIVE_DEFAULT_PARTITION__"
"""The name that readers of partitioned folders give to a value that is not there."""
_SEGMENT: Final = re.compile(r"[^_.\x00-\x1f\x7f/\\][^\x00-\x1f\x7f/\\]*")
_LONGEST: Final = 512

Groups = dict[str, list[int]]
"""Folder -> positions of its rows."""


class FolderTemplate:
    """A template, compiled.

    Args:
        text: The template; its fields are those of `_FIELDS`.
        table: Text of the field `table`.

    Raises:
        ValueError: The template cannot be used; the message says why.
    """

    def __init__(self, text: str, table: str = "table") -> None:
        self._parts: list[tuple[str, str, str]] = []
        units = {_DAY}
        for literal, name, form, conversion in Formatter().parse(text):
            if name is not None and (name not in _FIELDS or conversion):
                raise ValueError(f"`{{{name}}}` should be one of {', '.join(_FIELDS)}")
            if form and name != "timestamp":
                raise ValueError(f"`{{{name}:{form}}}`: only a timestamp has a form")
            units |= _units(form or "")
            self._parts.append((literal, name or "", form or "%Y-%m-%d"))
        names = {name for _, name, _ in self._parts}
        self._table = table
        self._unit = min(units)
        self._timed, self._sent = "timestamp" in names, "to" in names
        self._check(text)

    @property
    def names_destination(self) -> bool:
        """Whether the folder depends on where a row is sent."""
        return self._sent

    def groups(self, partition: Partition, rows: Rows, positions: Sequence[int]) -> Groups:
        """The rows at these positions, all of one partition, by folder.

        A row without a place is under the empty folder.
        """
        if not self._timed and not self._sent:
            return {self._fill(partition, "", ""): list(positions)}
        stamps = _stamps(rows, positions) if self._timed else [0]
        unit = self._unit
        if not self._sent and min(stamps) >= 0 and min(stamps) // unit == max(stamps) // unit:
            return {self._folder(partition, stamps[0] // unit, None): list(positions)}
        units = [at // unit for at in stamps] if self._timed else repeat(0)
        names = rows.destinations if self._sent else None
        sent = repeat(None) if names is None else [names[p] for p in positions]
        found: dict[tuple[int, str | None], list[int]] = defaultdict(list)
        for key, position in zip(zip(units, sent, strict=False), positions, strict=False):
            found[key].append(position)
        groups: Groups = {}
        for (at, to), members in found.items():
            groups.setdefault(self._folder(partition, at, to), []).extend(members)
        return groups

    def refusal(self, rows: Rows, position: int) -> Refused:
        """Why a row has no folder."""
        to = None if rows.destinations is None else rows.destinations[position]
        if to is None:
            return Refused("NoDestination", "the path names {to}, and the row is sent nowhere")
        return Refused("BadDestination", f"{to!r:.100} cannot be a folder's name")

    def _folder(self, partition: Partition, at: int, to: str | None) -> str:
        if self._sent and not (to and is_path(to)):
            return ""
        when: datetime | None = None
        if at >= 0:
            try:
                when = _EPOCH + timedelta(milliseconds=at * self._unit)
            except OverflowError:
                when = None
        return self._fill(partition, when, to or "")

    def _fill(self, partition: Partition, when: datetime | str | None, to: str) -> str:
        texts: Mapping[str, Callable[[str], str]] = {
            "": lambda _: "",
            "topic": lambda _: partition.topic,
            "partition": lambda _: str(partition.number),
            "timestamp": lambda form: when.strftime(form) if isinstance(when, datetime) else _NEVER,
            "to": lambda _: to,
            "table": lambda _: self._table,
        }
        filled = "".join(literal + texts[name](form) for literal, name, form in self._parts)
        return filled.rstrip("/") + "/"

    def _check(self, text: str) -> None:
        filled = self._fill(Partition("topic", 0), _EPOCH, "to").rstrip("/")
        if not is_path(filled):
            raise ValueError(
                f"`{text}` should be folders with `/` between, none beginning with `_` or `.`"
            )


def is_path(text: str) -> bool:
    """Whether the text can be folders below the data's place.

    Names that begin with `_` or `.` are left to the offsets, and unread by others.
    """
    return len(text) <= _LONGEST and all(map(_SEGMENT.fullmatch, text.split("/")))


def _units(form: str) -> set[int]:
    directives = re.findall(r"%(.?)", form)
    unknown = [d for d in directives if d not in _DIRECTIVES or not d]
    if unknown:
        raise ValueError(f"`%{unknown[0]}` is no part of a folder's time; there are %Y %m %d %H …")
    alike = {"I": "H", "p": "H"}
    return {_UNITS.get(f"%{alike.get(d, d)}", _DAY) for d in directives}


def _stamps(rows: Rows, positions: Sequence[int]) -> list[int]:
    """Milliseconds of each row: its own, else those of its source record; -1 for none."""
    own = None if rows.timestamps is None else [rows.timestamps[p] for p in positions]
    if own is not None and min(own) > 0:
        return own
    whole = len(positions) == len(rows)
    sources: Any = rows.sources if whole else [rows.sources[p] for p in positions]
    kinds: list[Any] = list(set(map(type, sources)))
    if len(kinds) > 1 or kinds[0] is type(None):
        found = [-1 if source is None else source.timestamp()[1] for source in sources]
    else:
        read: Callable[[Any], tuple[int, int]] = kinds[0].timestamp  # 20 ns a record, called so
        found = [at for _, at in map(read, sources)]
    if own is None:
        return found
    return [mine if mine > 0 else at for mine, at in zip(own, found, strict=True)]
