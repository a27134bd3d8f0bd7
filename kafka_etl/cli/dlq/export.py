"""`kafka-etl dlq export`: dead letters as JSON lines or Parquet, one row each."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kafka_etl.cli.cluster import KafkaOption, PipelineOption
from kafka_etl.cli.dlq.bulk import Fingerprint, Letters, Where, find_letters, tell
from kafka_etl.cli.dlq.filters import opened_index, parse_where, told
from kafka_etl.cli.dlq.finding import Given
from kafka_etl.cli.options import Sets, parse_sets

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.dead_letters.statuses import LetterPlace, LetterStatus, Statuses
    from kafka_etl.dlq.exchange import LetterLine

_STATUSES: Final = ("open", "replaying", "replayed", "dropped")


def export(  # noqa: PLR0913 - one parameter per option
    where: Given,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FILE|-", help="JSON lines, or Parquet (`.parquet`)."
        ),
    ] = Path("-"),
    status: Annotated[
        list[str], typer.Option("--status", help=f"{', '.join(_STATUSES)}; default: all.")
    ] = [],  # noqa: B006 - typer reads it, nobody changes it
    fits: Where = None,
    fingerprint: Fingerprint = [],  # noqa: B006 - likewise
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    sets: Sets = [],  # noqa: B006 - likewise
) -> None:
    """Write dead letters as rows of flat columns; change nothing in Kafka.

    Key and value are text if they are UTF-8, otherwise base64, as the columns `key_encoding` and
    `value_encoding` say. `kafka-etl dlq import` turns the rows into the same dead letters again.

    Example: kafka-etl dlq export pipeline.yaml -o letters.parquet --status open
    """
    for one in status:
        if one not in _STATUSES:
            raise typer.BadParameter(
                f"`{one}` is not one of {', '.join(_STATUSES)}", param_hint="--status"
            )
    letters = find_letters(where, parse_sets(sets), kafka=kafka, pipeline=pipeline)
    places = _places(letters, fits, fingerprint)
    statuses = letters.statuses.read()
    lines = _lines(letters, statuses, places, frozenset(status) or frozenset(_STATUSES))
    count = _write(output, told(lines, "letters written"))
    place = "on standard output" if str(output) == "-" else f"in {output}"
    tell(f"{count:,} dead letters of {letters.topic} are {place}")


def _places(
    letters: Letters, fits: str | None, fingerprints: list[str]
) -> Collection[LetterPlace] | None:
    """Find the letters that are wanted by the index; None: all of them are."""
    if fits is None and not fingerprints:
        return None
    where = parse_where(fits)
    with opened_index(letters.found) as index:
        return {
            row.place
            for kind in fingerprints or (None,)
            for row in index.letters(where, kind, status=None)
        }


def _lines(
    letters: Letters,
    statuses: Statuses,
    places: Collection[LetterPlace] | None,
    wanted: Collection[str],
) -> Iterator[LetterLine]:
    """Read the letters, and make a row of each."""
    from kafka_etl.dead_letters.decode import decode_letter
    from kafka_etl.dead_letters.statuses import LetterPlace
    from kafka_etl.dlq.exchange import line_of
    from kafka_etl.kafka.cluster.topics import read_ranges

    ranges = letters.found.ranges if places is None else letters.ranges(places)
    for record in read_ranges(letters.found.cluster.consumer, ranges):
        place = LetterPlace.of(record)
        status: LetterStatus = statuses.of(place)
        if status.value not in wanted or not (places is None or place in places):
            continue
        letter = decode_letter(record)
        if letter is not None:
            yield line_of(record, letter, status)


def _write(output: Path, lines: Iterator[LetterLine]) -> int:
    """Write rows; a file is there only when it is complete."""
    from kafka_etl.dlq.exchange import is_parquet, write_parquet

    if str(output) == "-":
        return _write_lines(sys.stdout.buffer, lines)
    draft = output.with_name(f"{output.name}.part")
    try:
        if is_parquet(output):
            count = write_parquet(draft, lines)
        else:
            with draft.open("wb") as file:
                count = _write_lines(file, lines)
        draft.replace(output)
    except OSError as error:
        said = error.strerror or str(error)
        raise typer.BadParameter(f"{output}: {said}", param_hint="--output") from error
    finally:
        with suppress(OSError):  # it is gone, or nothing was ever written there
            draft.unlink()
    return count


def _write_lines(file: Any, lines: Iterator[LetterLine]) -> int:
    import msgspec

    count = 0
    for line in lines:
        file.write(msgspec.json.encode(line) + b"\n")
        count += 1
    file.flush()
    return count
