"""How a plain function becomes an operator: what it takes, gives and can be set.

Everything follows from the signature. The first parameter's annotation says what the operator
takes, keyword-only parameters are its settings, a `Context` parameter is filled in::

    def to_eur(order: dict, *, rate: float = 0.92) -> dict: ...

`@operator` is optional and returns the function unchanged.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class _Drop(enum.Enum):
    DROP = "DROP"

    def __repr__(self) -> str:
        return "DROP"


DROP: Final = _Drop.DROP
"""Returned by an operator: this record ends here on purpose. Counted, never silent."""


@dataclass(slots=True)
class Context:
    """What an operator may know about its invocation; passed to a parameter annotated with it.

    Attributes:
        pipeline: The pipeline's name.
        operator: The operator's name in the pipeline.
        worker: `<app>.<pipeline>.<instance>.<worker>`.
        attempt: Number of the current attempt, from 1.
    """

    pipeline: str = ""
    operator: str = ""
    worker: str = ""
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Declaration:
    """What `@operator` adds to a signature."""

    takes: Literal["value", "record", "batch"] | None = None
    mixes: bool = False
    version: str = ""


def operator(
    *,
    takes: Literal["value", "record", "batch"] | None = None,
    mixes: bool = False,
    version: str = "",
) -> Callable[[F], F]:
    """Say about an operator what its signature cannot; the function is returned unchanged.

    Args:
        takes: Overrules the annotation of the first parameter.
        mixes: The batch operator mixes rows (aggregates, sorts, joins): it is never split, and
            its outputs belong to all records of the slice.
        version: Shown in dead letters; default: of the distribution, or a hash of the source.
    """

    def declare(target: F) -> F:
        target.__kafka_etl__ = Declaration(takes, mixes, version)  # type: ignore[attr-defined]
        return target

    return declare


def declaration_of(target: object) -> Declaration:
    declared = getattr(target, "__kafka_etl__", None)
    return declared if isinstance(declared, Declaration) else Declaration()
