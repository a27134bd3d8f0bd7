"""The words of an executor, ready for the inbox; no I/O is here."""

from __future__ import annotations

from typing import NamedTuple

from kafka_etl.tasks.head import Failure
from kafka_etl.tasks.keeping import Grant, Said
from kafka_etl.tasks.words import (
    Alive,
    Ended,
    Hello,
    OfAttempt,
    Progress,
    Result,
    Returned,
    Started,
    Why,
    Word,
    encode_word,
)


class Executor(NamedTuple):
    """Who says the words.

    Attributes:
        name: Name of the executor.
        boot: Id of the keeper's start.
    """

    name: str
    boot: str


class Load(NamedTuple):
    """What an executor holds; see `kafka_etl.tasks.words.Alive`."""

    tokens: tuple[str, ...]
    held: int
    draining: bool
    offer: int
    slots: int
    grant_number: int


class LastWord(NamedTuple):
    """The last word of an attempt, and what it brings along."""

    word: Result | Ended | Returned
    value: bytes | None = None


def started(grant: Grant, at_ms: int, pid: int, host: str) -> Said:
    """The operator has begun."""
    word = Started(
        word=f"{grant.token}.started", token=grant.token, at_ms=at_ms, pid=pid, host=host
    )
    return _about(grant, word)


def progress(grant: Grant, number: int, fraction: float, text: str) -> Said:
    """How far the operator is; reports are numbered from 1."""
    return _about(
        grant,
        Progress(
            word=f"{grant.token}.progress-{number}",
            token=grant.token,
            fraction=fraction,
            text=text,
        ),
    )


def result(grant: Grant, rows: bytes, preview: str, seconds: float) -> LastWord:
    """The operator has returned."""
    word = Result(
        word=f"{grant.token}.last",
        token=grant.token,
        preview=preview,
        size=len(rows),
        seconds=round(seconds, 6),
    )
    return LastWord(word, rows)


def ended(
    grant: Grant,
    why: Why,
    error: Failure | None = None,
    retry_after: float | None = None,
    seconds: float = 0.0,
) -> LastWord:
    """The attempt is over without a result."""
    return LastWord(
        Ended(
            word=f"{grant.token}.last",
            token=grant.token,
            why=why,
            error=error,
            retry_after=retry_after,
            seconds=round(seconds, 6),
        )
    )


def returned(grant: Grant) -> LastWord:
    """The grant was not used."""
    return LastWord(Returned(word=f"{grant.token}.last", token=grant.token))


def last(grant: Grant, word: LastWord) -> Said:
    """The last word of an attempt as the keeper says it."""
    return _about(grant, word.word, word.value, last=grant.token)


def alive(executor: Executor, partition: int, number: int, load: Load) -> Said:
    """The executor is well, and holds these tokens of the partition."""
    word = Alive(executor=executor.name, boot=executor.boot, **load._asdict())
    return _of_executor(executor, partition, word, number)


def hello(executor: Executor, partition: int) -> Said:
    """The executor has begun."""
    word = Hello(word=executor.boot, executor=executor.name, boot=executor.boot)
    return _of_executor(executor, partition, word)


def _about(grant: Grant, word: OfAttempt, value: bytes | None = None, last: str = "") -> Said:
    record = encode_word(word, value)
    return Said(grant.partition, grant.task, record.value, record.headers, last)


def _of_executor(executor: Executor, partition: int, word: Word, number: int = 0) -> Said:
    record = encode_word(word)
    return Said(partition, executor.name, record.value, record.headers, number=number)
