"""`kafka-etl explain`: shows what an error code means, why the error happens, and what to do."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kafka_etl.terminal import wrapped

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.explanations import Example, Explanation

_WIDEST: Final = 100
_GAP: Final = "   "
_FORM: Final = re.compile(r"[A-Z]*\[?E?(\d{3})\]?:?")
"""A code as people copy it: `E104`, `e104`, `104`, `error[E104]:`."""


def explain(
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE", help="A code such as E104; without one, all codes are listed."
        ),
    ] = None,
) -> None:
    """Explain an error code: what happened, why, what to do, and an example.

    Example: kafka-etl explain E104
    """
    from kafka_etl.explanations import explanation_of, known_codes

    known = known_codes()
    if code is None:
        for each in known:
            typer.echo(f"{each}  {explanation_of(each).title}")
        return
    wanted = _plain(code)
    if wanted not in known:
        from kafka_etl.spelling import did_you_mean

        near = did_you_mean(wanted, known)
        advice = f"{near} " if near else ""
        raise typer.BadParameter(
            f"there is no error code {code}; {advice}`kafka-etl explain` lists all codes",
            param_hint="CODE",
        )
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    typer.echo("\n".join(rendered(explanation_of(wanted), width)))


def _plain(code: str) -> str:
    form = _FORM.fullmatch(code.upper())
    return f"E{form[1]}" if form else code.upper()


def rendered(explanation: Explanation, width: int) -> Iterator[str]:
    """Yield the lines of an explanation, for a terminal of this width."""
    yield f"{explanation.code}: {explanation.title}"
    yield ""
    yield from _paragraphs(explanation.text, width)
    yield ""
    yield "What to do:"
    yield from _paragraphs(explanation.next_step, width, "  ")
    if explanation.wrong:
        yield ""
        yield from _compared(explanation.wrong, explanation.right, width)


def _paragraphs(text: str, width: int, indent: str = "") -> Iterator[str]:
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield ""
        yield from wrapped(paragraph, width, indent)


def _compared(wrong: Sequence[Example], right: Sequence[Example], width: int) -> Iterator[str]:
    """Yield both examples side by side, or one below the other where they are too wide for that.

    Lines that only one of them has are marked: `-` in the wrong one, `+` in the right one.
    """
    bad, good = _lines(wrong), _lines(right)
    left = ["Wrong:", *_marked(bad, good, "-")]
    right_side = ["Right:", *_marked(good, bad, "+")]
    widest = max(map(len, left))
    if widest + len(_GAP) + max(map(len, right_side)) > width:
        yield from [*left, "", *right_side]
        return
    for one, other in zip_longest(left, right_side, fillvalue=""):
        yield f"{one.ljust(widest)}{_GAP}{other}".rstrip()


def _lines(examples: Sequence[Example]) -> list[str]:
    """The lines of all parts, with an empty line between two parts."""
    return "\n".join(example.text for example in examples).splitlines()


def _marked(lines: Sequence[str], others: Sequence[str], mark: str) -> list[str]:
    return [f"  {' ' if not line or line in others else mark} {line}".rstrip() for line in lines]
