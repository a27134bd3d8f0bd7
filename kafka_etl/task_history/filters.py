"""What users give to select tasks, besides the filter: states by name, and a time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from kafka_etl.spelling import did_you_mean
from kafka_etl.tasks.states import FINAL, OPEN, State
from kafka_etl.units import moment

_GROUPS: Final = {"open": OPEN, "final": FINAL}
_UNREADABLE: Final = "Unreadable"


def states_of(texts: Iterable[str]) -> frozenset[str] | None:
    """States by their names, also several with commas between, and `open` and `final`.

    Returns:
        The states; None: any state.

    Raises:
        ValueError: A text names no state.
    """
    known = {state.lower(): frozenset({state.value}) for state in State}
    known[_UNREADABLE.lower()] = frozenset({_UNREADABLE})
    known |= {name: frozenset(s.value for s in states) for name, states in _GROUPS.items()}
    found: frozenset[str] = frozenset()
    for text in [one for several in texts for one in several.split(",")]:
        name = text.strip().lower()
        if name not in known:
            near = did_you_mean(name, known)
            said = f"`{text}` is no state{f'; {near}' if near else ''}: {', '.join(known)}"
            raise ValueError(said)
        found |= known[name]
    return found or None


def since_of(text: str | None) -> int:
    """A time in milliseconds since the epoch; of a duration, so long ago; 0: none was given.

    Raises:
        ValueError: The text is no time.
    """
    if text is None:
        return 0
    now = datetime.now(UTC)
    try:
        return moment(f"-{text}", now)[0]
    except ValueError:
        pass
    try:
        return moment(text, now)[0]
    except ValueError:
        raise ValueError(
            f"`{text}` is no time; write 2h, 2026-11-28, or 2026-11-28T10:00 (UTC)"
        ) from None
