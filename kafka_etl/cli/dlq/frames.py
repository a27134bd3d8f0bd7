"""Renders the traceback of an exception, with the local variables of the user's own code."""

from __future__ import annotations

import linecache
import reprlib
import traceback
from collections.abc import Callable, Iterator, Mapping
from types import FrameType, FunctionType, ModuleType, TracebackType
from typing import Any, Final

from kafka_etl.envelope import is_users
from kafka_etl.invocation import CAUSE, CONTEXT, SUPPRESSED, TRACEBACK, described

_FIRST: Final = 5
_LAST: Final = 20
"""Frames at the start and at the end of a traceback that are rendered: recursion makes many."""
_LOCALS: Final = 40
_TEXT: Final = 300
_READ: Final = 10_000
_UNSAID: Final = (ModuleType, FunctionType, type)

Hide = Callable[[str], str]


def failing_frame(error: BaseException) -> TracebackType | None:
    """The traceback of an exception, from the first frame of the user's code if there is one."""
    found: TracebackType | None = TRACEBACK.__get__(error)
    at = found
    while at is not None:
        if _is_users(at.tb_frame):
            return at
        at = at.tb_next
    return found


def with_locals(error: BaseException, hide: Hide) -> str:
    """Render an exception with its causes, the first cause first.

    A frame of the user's own code has its local variables below its line, each on one line of
    limited length. Nothing that a class of the user does in `__repr__` or `__str__` raises here.

    Args:
        error: The exception, with its traceback.
        hide: Takes secrets out of a text.
    """
    parts: list[str] = []
    for one, link in _chain(error):
        lines = [f"\n{link}\n"] if link else []
        lines += _frames(one, hide)
        lines.append(hide(described(one, _READ)))
        parts.append("\n".join(lines))
    return "\n".join(parts)


def _chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """The exception and its causes, the first cause first, with the link to the one before."""
    chain: list[tuple[BaseException, str]] = []
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        cause: BaseException | None = CAUSE.__get__(at)
        context: BaseException | None = None if SUPPRESSED.__get__(at) else CONTEXT.__get__(at)
        if cause is not None:
            link = "From the exception above came this one:"
        else:
            link = "While the exception above was handled, this one came:"
        following = context if cause is None else cause
        ends = following is None or id(following) in seen
        chain.append((at, "" if ends else link))
        at = following
    return chain[::-1]


def _frames(error: BaseException, hide: Hide) -> Iterator[str]:
    found = list(traceback.walk_tb(failing_frame(error)))
    if found:
        yield "Traceback (most recent call last):"
    for number, (frame, line) in enumerate(found):
        if _FIRST <= number < len(found) - _LAST:
            if number == _FIRST:
                yield f"  … {len(found) - _FIRST - _LAST:,} frames …"
            continue
        code = frame.f_code
        yield f'  File "{code.co_filename}", line {line}, in {code.co_name}'
        source = linecache.getline(code.co_filename, line, frame.f_globals).strip()
        if source:
            yield f"    {hide(source)}"
        if _is_users(frame):
            yield from _locals(frame, hide)


def _is_users(frame: FrameType) -> bool:
    return is_users(frame.f_code.co_filename)


def _locals(frame: FrameType, hide: Hide) -> Iterator[str]:
    values: Mapping[str, Any] = frame.f_locals
    names = [
        name
        for name, value in values.items()
        if not name.startswith("__") and not issubclass(type(value), _UNSAID)
    ]
    for name in names[:_LOCALS]:
        yield f"      {name} = {bounded(values[name], hide)}"
    if len(names) > _LOCALS:
        yield f"      … {len(names) - _LOCALS:,} further variables"


def bounded(value: object, hide: Hide) -> str:
    """Render a value on one line of limited length, without secrets; never raises."""
    try:
        text = " ".join(hide(_Repr(hide).repr(value)).split())
        return _cut("".join(c if c.isprintable() else "�" for c in text))
    except BaseException as broken:  # noqa: BLE001 - `__repr__` is user code
        return f"<repr raised {type(broken).__name__}>"


class _Repr(reprlib.Repr):
    """Renders values in limited size; secrets are hidden before texts are cut."""

    def __init__(self, hide: Hide) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 20
        self.maxstring = self.maxother = _TEXT
        self._hide = hide

    def repr_str(self, x: str, level: int) -> str:
        return super().repr_str(self._hide(x[:_READ]), level)

    def repr_bytes(self, x: bytes, _level: int) -> str:
        return _cut(self._hide(repr(x[:_READ])))

    def repr_instance(self, x: Any, level: int) -> str:
        try:
            text = repr(x)
        except BaseException as broken:  # noqa: BLE001 - `__repr__` is user code
            return f"<repr raised {type(broken).__name__}>"
        del level
        return _cut(self._hide(text))


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}…"
