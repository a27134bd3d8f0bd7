"""Patterns of topic names that mean the same to Python and to the Kafka client.

The client matches with the POSIX regular expressions of the system's C library, `validate` and
preflight with Python's. Only patterns are accepted that both read alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_TOKEN: Final = re.compile(
    r"""
      (?P<atom>   [A-Za-z0-9_.-] | \\[.\-+*?|^$(){}\[\]\\] | \[\^?[A-Za-z0-9._-]+\] )
    | (?P<repeat> [*+?] | \{[0-9]{1,3}(?:,[0-9]{0,3})?\} )
    | (?P<open>   \((?!\?) )
    | (?P<close>  \) )
    | (?P<bar>    \| )
    | (?P<begin>  \^ )
    | (?P<end>    \$ )
    """,
    re.VERBOSE,
)
_RANGE: Final = re.compile(r"(.)-(.)")
_MOST: Final = 255
"""Largest number of repetitions that every C library supports."""
_INSTEAD: Final = {
    r"\d": "write [0-9]",
    r"\D": "write [^0-9]",
    r"\w": "write [A-Za-z0-9_]",
    r"\W": "write [.-], all else that a topic may have in its name",
    r"\s": "no topic has a space in its name",
    r"\S": "write a dot",
    r"\b": "write out what may stand there",
    r"\B": "write out what may stand there",
    r"\A": "write ^",
    r"\Z": "write $",
}
_GROUPS: Final = [
    ("(?:", "write ( without ?:"),
    ("(?P<", "write ( without a name"),
    ("(?i", "write both letters, as [Oo]rders"),
    ("(?=", "write out what may stand there"),
    ("(?!", "write out what may stand there, or list the topics by name"),
    ("(?<", "write out what may stand there"),
    ("(?", "write ( without ?"),
]


def is_pattern(entry: str) -> bool:
    """Whether an entry among topics is a regular expression, and no name."""
    return entry.startswith("^")


def matches(pattern: str, topic: str) -> bool:
    """Whether the client would read the topic: like the client, search for a match anywhere."""
    return re.search(pattern, topic) is not None


def objection(pattern: str) -> str | None:
    """The reason why a pattern cannot be used, and a replacement; None: the pattern is fine."""
    try:
        _walk(pattern)
        re.compile(pattern)
    except _Unfit as unfit:
        return str(unfit)
    except re.error as error:
        return f"is not a regular expression: {error}"
    return None


class _Unfit(Exception):
    pass


def _walk(pattern: str) -> None:
    """Check the pattern token by token.

    Raises:
        _Unfit: The pattern has a construct that Python and POSIX do not share; the text describes
            the first one.
    """
    depth = 0
    before = "open"  # a pattern begins like an alternative
    for kind, text in _tokens(pattern):
        if kind == "repeat":
            _check_repeat(before, text)
        elif kind in {"bar", "close"} and before in {"open", "bar", "begin"}:
            raise _Unfit("has an empty alternative: make the whole optional with ?")
        elif kind == "begin" and before not in {"open", "bar"}:
            raise _Unfit("has a ^ where no alternative begins: write \\^ for the sign itself")
        elif before == "end" and kind not in {"bar", "close"}:
            raise _Unfit("has a $ where no alternative ends: write \\$ for the sign itself")
        elif kind == "atom" and text.startswith("["):
            _check_set(text)
        depth += (kind == "open") - (kind == "close")
        if depth < 0:
            raise _Unfit("has a ) too many")
        before = kind
    if depth:
        raise _Unfit("has a ( too many")
    if before in {"open", "bar"}:
        raise _Unfit("has an empty alternative: make the whole optional with ?")


def _tokens(pattern: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(pattern):
        token = _TOKEN.match(pattern, at)
        if token is None:
            raise _Unfit(_reason(pattern[at:]))
        yield token.lastgroup or "", token[0]
        at = token.end()


def _check_repeat(before: str, text: str) -> None:
    if before == "repeat":
        raise _Unfit(f"repeats what is repeated already with `{text}`: keep the first")
    if before not in {"atom", "close"}:
        raise _Unfit(f"has a `{text}` with nothing before it to repeat")
    if any(int(number) > _MOST for number in re.findall(r"[0-9]+", text)):
        raise _Unfit(f"has `{text}`: at most {_MOST} repetitions can be asked for")


def _check_set(text: str) -> None:
    """Refuse a bare hyphen inside a set, and any bare hyphen in a set with ranges."""
    members = text[1:-1].removeprefix("^")
    rest = _RANGE.sub("", members)
    if "-" in rest.strip("-") or (rest != members and "-" in rest):
        raise _Unfit(f"has `{text}`: a hyphen that means itself stands alone, outside the set")


def _reason(rest: str) -> str:
    """The construct that Python and POSIX do not share, and a replacement."""
    foreign = "which the Kafka client does not know"
    if rest.startswith("\\"):
        escape = rest[:2]
        advice = _INSTEAD.get(escape, "leave out the backslash")
        return f"has `{escape}`, {foreign}: {advice}"
    if rest.startswith("("):
        opening, advice = next(group for group in _GROUPS if rest.startswith(group[0]))
        return f"has `{opening}`, {foreign}: {advice}"
    if rest.startswith("["):
        return (
            f"has `{rest.partition(']')[0]}]`: between brackets stand letters, digits, dots, "
            "underscores, hyphens, and ranges as 0-9, without a backslash"
        )
    if rest.startswith("{"):
        return "has a { that counts nothing: write {2}, {2,} or {2,5}"
    return f"has `{rest[0]}`, which no topic has in its name"
