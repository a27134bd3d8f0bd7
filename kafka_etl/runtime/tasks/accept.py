"""The operator that accepts tasks: each record of the source becomes a submission in the inbox.

The record stays as its bytes are, and is decoded only where the id asks for that. So a record that
nobody can decode becomes a task, too: one that is Invalid, and says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from kafka_etl.config.build import build_source_codecs
from kafka_etl.config.document import Document
from kafka_etl.contracts import Codec, Unavailable
from kafka_etl.expression import Expression
from kafka_etl.functions.declare import operator
from kafka_etl.kafka.tasks.open_tasks import OpenTasks, OwnersNotes
from kafka_etl.plugins import PluginRegistry
from kafka_etl.record import Headers, Record, offset_of, partition_of
from kafka_etl.tasks.head import Failure, Origin
from kafka_etl.tasks.placing import Order, route_of
from kafka_etl.tasks.placing import partition_of as partition_of_task
from kafka_etl.tasks.words import Submit, encode_input, id_problem

PARTITION: Final = "p"
"""Header with the number of the partition, which the sink reads."""
_ID: Final = "task-id"
_INVALID_ID, _UNDECODABLE = "InvalidId", "DecodeError"


def submit(
    *,
    partitions: int,
    order: Order = "none",
    id: Expression | None = None,  # noqa: A002 - the user's word
    source: dict[str, Any] | None = None,
    door: Door | None = None,
) -> Callable[[Record | None], Record]:
    """Make a submission of each record, whose value stays as it is.

    Args:
        partitions: Number of partitions of the inbox.
        order: Whether tasks of one key run one after the other.
        id: Id of the task; None: the header `task-id`, else topic, partition and offset.
        source: A pipeline with the codecs of the source, for the id; None: the id is made of the
            record as it comes.
        door: How many tasks may be open; None: any number.
    """
    open_tasks = None
    if door is not None:
        open_tasks = OpenTasks(OwnersNotes(door.kafka, door.inbox, door.group), door.most)
    identify = _by_header if id is None else _by_expression(id, source)

    @operator(reads_only=True)
    def accept(record: Record | None) -> Record:  # a record without a value is one, too
        origin = None if record is None else record.source
        if record is None or origin is None:
            raise ValueError("a task needs a record of the source")
        if open_tasks is not None and open_tasks.is_full():
            raise Unavailable(f"{open_tasks.most:,} tasks are open, as many as `max_open` allows")
        tp, offset = partition_of(origin), offset_of(origin)
        place = f"{tp.topic}-{tp.number}-{offset}"
        task, invalid = place, None
        try:
            found = identify(record)
            task = place if found is None else found
            if (problem := id_problem(task)) is not None:
                invalid = Failure(_INVALID_ID, f"the id is no id: {problem}")
        except Unavailable:
            raise
        except _Undecodable as error:
            invalid = Failure(_UNDECODABLE, str(error))
        except Exception as error:  # noqa: BLE001 - an expression fails in any way on any data
            invalid = Failure(_INVALID_ID, f"there is no id: {type(error).__name__}: {error}")
        route = route_of(origin.key()) if order == "key" else ""
        word = Submit(
            word=token_hex(8),
            route=route,
            origin=Origin(tp.topic, tp.number, offset, timestamp=record.timestamp),
            invalid=invalid,
        )
        if invalid is not None:
            task = place
        headers = encode_input(word, None, origin.key(), record.headers).headers
        number = partition_of_task(route or task, partitions)
        return record.replace(
            key=task.encode(), headers=[*headers, (PARTITION, str(number).encode())]
        )

    return accept


@dataclass(frozen=True, slots=True)
class Door:
    """How many tasks may be open.

    Attributes:
        kafka: Settings of consumers.
        inbox: Topic of the words.
        group: The owners' group.
        most: Number of open tasks from which on no record is accepted.
    """

    kafka: dict[str, Any]
    inbox: str
    group: str
    most: int


class _Undecodable(ValueError):
    """The record cannot be decoded."""


def _by_header(record: Record) -> str | None:
    found = record.header(_ID)
    return None if found is None else _text(found)


def _by_expression(
    id_: Expression, source: dict[str, Any] | None
) -> Callable[[Record], str | None]:
    compute = id_.on_record()
    if source is None or not id_.names & {"value", "key"}:
        return lambda record: _text(compute(record))
    value_codec, key_codec = _codecs(source, Path.cwd())

    def identify(record: Record) -> str:
        origin, headers = record.source, record.headers
        changes: dict[str, Any] = {}
        if origin is not None and "value" in id_.names:
            changes["value"] = _decoded("value", value_codec, origin.value(), headers)
        if origin is not None and "key" in id_.names:
            changes["key"] = _decoded("key", key_codec, origin.key(), headers)
        return _text(compute(record.replace(**changes)))

    return identify


def id_by_hand(id_: Expression, source: dict[str, Any], folder: Path, body: bytes) -> str:
    """The id of a task that is submitted by hand: the one of a record with this value.

    Args:
        id_: As in `submit`; likewise `source`.
        source: A pipeline with the codecs of the source.
        folder: Folder of the pipeline file.
        body: The input.

    Raises:
        ValueError: The expression gives no id for this input, or asks for more than an input.
    """
    others = sorted(id_.names - {"value"})
    if others:
        raise ValueError(f"`{id_}` asks for the {' and '.join(others)} of a record of the source")
    codec, _ = _codecs(source, folder)
    record = Record(_decoded("value", codec, body, []), None, [], -1)
    try:
        return _text(id_.on_record()(record))
    except Exception as error:  # an expression fails in any way on any data
        raise ValueError(f"`{id_}` gives none: {type(error).__name__}: {error}") from error


def _codecs(source: dict[str, Any], folder: Path) -> tuple[Codec, Codec]:
    """The codecs of the source's values and keys."""
    document = Document(folder / "accept", source, {}, {}, [])
    return build_source_codecs(document, PluginRegistry.installed())


def _decoded(part: str, codec: Codec, data: bytes | None, headers: Headers) -> Any:
    if data is None:
        return None
    try:
        return codec.decode(data) if codec.decode_with is None else codec.decode_with(data, headers)
    except Unavailable:
        raise
    except Exception as error:
        said = f"the {part} is no {codec.name}: {type(error).__name__}: {error}"
        raise _Undecodable(said) from error


def _text(found: object) -> str:
    """The text of an id.

    Raises:
        TypeError: It is nothing that could name a task.
    """
    if isinstance(found, bytes):
        return found.decode()
    if isinstance(found, str | int | float) and not isinstance(found, bool):
        return str(found)
    raise TypeError(f"a text or a number names a task, and no {type(found).__name__}")
