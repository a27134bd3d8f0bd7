"""Renders one dead letter with everything about it, as text for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from kafka_etl.cli.dlq.payload import Payload
from kafka_etl.cli.dlq.rendering import failure, parts_of, plain
from kafka_etl.dead_letters import StoredLetter
from kafka_etl.readable import data_of, indented, shown, time_of, value_of
from kafka_etl.record import SourceRecord

if TYPE_CHECKING:
    from kafka_etl.dead_letters.statuses import BulkAction, Status
    from kafka_etl.dlq.source_records import Neighbours

_BRIEF: Final = 100
_TOLD_ELSEWHERE: Final = frozenset({"history", "requestPayload", "responsePayload"})


@dataclass(frozen=True, slots=True)
class Everything:
    """A dead letter and what is known of it elsewhere.

    Attributes:
        key: Key of the record, as it is shown.
        value: Value of the record, as it is shown.
        status: What became of the dead letter; None: it is open.
        action: The bulk action that changed the status; None: none did, or it is not known.
        neighbours: Records of the source around the one that failed; a text: why not.
        earlier: IDs of earlier dead letters of the record in the same topic.
    """

    letter: StoredLetter
    key: Payload
    value: Payload
    status: Status | None
    action: BulkAction | None
    neighbours: Neighbours | str
    earlier: Sequence[str] = ()

    @property
    def trace(self) -> str:
        """The `traceparent` of the record, by which a tracing system finds its trace."""
        found = [value for name, value in self.letter.headers if name == "traceparent" and value]
        told: object = self.letter.context.get("traceparent")
        trace: object = _object(self.letter.context.get("trace")).get("traceparent")
        own = found[-1].decode("utf-8", "replace") if found else told or trace
        return own if isinstance(own, str) else ""


def as_text(every: Everything) -> str:
    """Render a dead letter completely, for people."""
    letter = every.letter
    version = f" (version {plain(letter.version)})" if letter.version else ""
    written_by = "" if letter.family == "kafka_etl" else f" by {letter.family}"
    record_time = f", {time_of(letter.record_ms)}" if letter.record_ms >= 0 else ""
    lines = [
        f"letter     {letter.at.id}, written {time_of(letter.written_ms)}{written_by}",
        f"record     {letter.source}{record_time}",
        f"status     {_status(every)}",
        f"pipeline   {plain(letter.pipeline)}{_process(letter.context)}",
        f"failure    {failure(letter, 0)}{version}",
        f"kind       fingerprint {plain(letter.fingerprint)}",
        *([f"trace      {plain(every.trace)}"] if every.trace else []),
        f"attempts   {letter.attempts}",
        *_attempts(letter.context),
        *_history(letter.context, every.earlier),
        f"key        ({every.key.title})",
        indented(every.key.text),
        *(f"header     {plain(name)}: {shown(value)}" for name, value in letter.headers),
        f"value      ({every.value.title})",
        indented(every.value.text),
        *_traceback(letter),
        *_neighbours(every),
        *_context(letter.context),
    ]
    return "\n".join(lines)


def as_json(every: Everything) -> str:
    """Render a dead letter completely, as JSON on one line."""
    status, action = every.status, every.action
    told: dict[str, Any] = {"status": "open", "changed": None}
    if status is not None:
        told = {"status": status.status.value, "changed": time_of(status.at_ms)}
        told["action"] = status.action
    if action is not None:
        told |= {"actor": action.actor, "reason": action.reason}
    parts = {
        **parts_of(every.letter),
        "family": every.letter.family,
        "status": told,
        "traceparent": every.trace or None,
        "traceback": every.letter.traceback or None,
        "shown": {"key": _payload(every.key), "value": _payload(every.value)},
        "earlier": list(every.earlier),
        "neighbours": _neighbours_as_json(every),
    }
    return orjson.dumps(parts).decode()


def _payload(payload: Payload) -> dict[str, str]:
    return {"form": payload.form, "text": payload.text, "problem": payload.problem}


def _status(every: Everything) -> str:
    status, action = every.status, every.action
    if status is None:
        return "open"
    text = f"{status.status.value} since {time_of(status.at_ms)}"
    if action is None:
        return text
    reason = f": {plain(action.reason)}" if action.reason else ""
    return f"{text} by {plain(action.actor)}{reason} ({action.kind} {plain(action.id)})"


def _process(context: Mapping[str, Any]) -> str:
    """Host and process that gave the record up."""
    worker = _object(context.get("worker") or context.get("runtime"))
    host, pid = worker.get("host"), worker.get("pid")
    return f", on {plain(str(host))}, process {pid}" if host else ""


def _attempts(context: Mapping[str, Any]) -> Iterator[str]:
    invocation = _object(context.get("invocation"))
    for entry in map(_object, _list(invocation.get("attempts"))):
        number = entry.get("number", entry.get("n"))
        started = entry.get("started_ms", entry.get("startedAt"))
        ended = entry.get("ended_ms", entry.get("endedAt"))
        if not (isinstance(started, int) and isinstance(ended, int)):
            continue
        error = " ".join(plain(str(entry.get("error", ""))).split())
        yield f"  {number}        {time_of(started)}, {ended - started:,} ms: {error}"
    deaths = invocation.get("deaths")
    if isinstance(deaths, int) and deaths:
        yield f"  and {deaths} that ended with the death of the process"


def _history(context: Mapping[str, Any], earlier: Sequence[str]) -> Iterator[str]:
    """Earlier failures of the record, oldest first."""
    entries = list(map(_object, _list(context.get("history"))))
    if entries or earlier:
        yield "earlier"
    for entry in entries:
        at = entry.get("at_ms")
        when = f"{time_of(at)}  " if isinstance(at, int) else ""
        what = entry.get("error") or orjson.dumps(entry.get("headers", entry)).decode()
        where = f" in {entry['operator']}" if entry.get("operator") else ""
        said = " ".join(plain(f"{entry.get('family')}{where}: {what}").split())
        yield f"    {when}{said}"
    if earlier:
        yield f"    its dead letters: {', '.join(earlier)}"


def _traceback(letter: StoredLetter) -> Iterator[str]:
    if letter.traceback:
        yield "traceback"
        yield indented(shown(letter.traceback.rstrip().encode()))
    error = _object(letter.context.get("error"))
    for cause in _list(error.get("causes") or error.get("cause")):
        yield f"    caused by {plain(str(cause))}"


def _neighbours(every: Everything) -> Iterator[str]:
    found, place = every.neighbours, every.letter.source
    if isinstance(found, str):
        yield f"source     {found}"
        return
    yield f"source     {place.topic}[{place.partition}] has {found.begin} to {found.end}"
    if found.begin >= place.offset > 0:
        yield "    before: gone"
    yield from map(_brief, found.before)
    if found.itself is None:
        yield f"  > @{place.offset}  gone"
    else:
        yield f"  > {_brief(found.itself).strip()}"
    yield from map(_brief, found.after)
    if not found.after:
        yield "    after: none yet"


def _brief(record: SourceRecord) -> str:
    at = f"@{record.offset()}  {time_of(record.timestamp()[1])}"
    value = " ".join(shown(record.value(), _BRIEF).split())
    return f"    {at}  key {shown(record.key(), _BRIEF)}  {value}"


def _neighbours_as_json(every: Everything) -> dict[str, Any]:
    found = every.neighbours
    if isinstance(found, str):
        return {"problem": found}
    return {
        "begin": found.begin,
        "end": found.end,
        "before": [_record(one) for one in found.before],
        "itself": None if found.itself is None else _record(found.itself),
        "after": [_record(one) for one in found.after],
    }


def _record(record: SourceRecord) -> dict[str, Any]:
    return {
        "offset": record.offset(),
        "timestamp": time_of(record.timestamp()[1]),
        **data_of("key", record.key()),
        **value_of(record.value()),
    }


def _context(context: Mapping[str, Any]) -> Iterator[str]:
    """The rest of the context, as JSON: what stands above is left out."""
    rest = {name: part for name, part in context.items() if name not in _TOLD_ELSEWHERE}
    if error := _object(rest.get("error")):
        rest["error"] = {name: part for name, part in error.items() if name != "traceback"}
    if rest:
        yield "context"
        yield indented(orjson.dumps(rest, option=orjson.OPT_INDENT_2).decode())


def _object(found: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else {}


def _list(found: object) -> Sequence[Any]:
    return cast("Sequence[Any]", found) if isinstance(found, list) else []
