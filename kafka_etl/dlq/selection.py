"""The dead letters that a bulk action is for, and those that it must leave alone."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from kafka_etl.dead_letters import Place
from kafka_etl.dead_letters.statuses import LetterPlace, LetterStatus, Statuses
from kafka_etl.plan_files import PLAN_LENGTH


@dataclass(frozen=True, slots=True)
class Found:
    """A dead letter that fits a filter.

    Attributes:
        at: Where the letter is.
        source: Where the record is that failed.
        failure: Condition, operator and error, on one line.
    """

    at: LetterPlace
    source: Place
    fingerprint: str
    failure: str


class LeftOut(StrEnum):
    """Why a letter that fits is left alone."""

    REPLAYED = "replayed before"
    DROPPED = "dropped before"
    CLAIMED = "in a replay that has not ended"


@dataclass(frozen=True, slots=True)
class Selection:
    """The letters of a bulk action, in the order of their places.

    Attributes:
        words: The filter in words.
        letters: What the action is for.
        left_out: Reason -> number of letters that fit and are left alone.
    """

    words: str
    letters: Sequence[Found]
    left_out: Mapping[LeftOut, int]

    def plan(self, *details: str) -> str:
        """Digest of what is to happen: the letters, and details such as the target."""
        digest = hashlib.sha256()
        for text in (self.words, *details):
            digest.update(text.encode() + b"\0")
        for found in self.letters:
            digest.update(f"{found.at} ".encode())
        return digest.hexdigest()[:PLAN_LENGTH]


def select(words: str, found: Iterable[Found], statuses: Statuses, *, again: bool) -> Selection:
    """Select letters by their statuses.

    Args:
        words: The filter in words.
        found: The letters that fit the filter.
        statuses: Statuses of the topic.
        again: Whether to take letters that were replayed or dropped before.
    """
    letters: list[Found] = []
    left_out: Counter[LeftOut] = Counter()
    for letter in found:
        reason = _reason(statuses.of(letter.at), again=again)
        if reason is None:
            letters.append(letter)
        else:
            left_out[reason] += 1
    return Selection(words, sorted(letters, key=lambda letter: letter.at), left_out)


def _reason(status: LetterStatus, *, again: bool) -> LeftOut | None:
    if status is LetterStatus.REPLAYING:
        return LeftOut.CLAIMED
    if not again and status is LetterStatus.REPLAYED:
        return LeftOut.REPLAYED
    if not again and status is LetterStatus.DROPPED:
        return LeftOut.DROPPED
    return None
