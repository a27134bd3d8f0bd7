"""Checking a document against the models, every problem at once."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from kafka_etl.config.document import Document
from kafka_etl.config.report import Finding, Loc, did_you_mean
from kafka_etl.contracts import Settings
from kafka_etl.errors import Code

S = TypeVar("S", bound=Settings)


def check(
    model: type[S], data: Mapping[str, Any], document: Document, at: Loc = ()
) -> S | list[Finding]:
    """An instance of `model`, or what is wrong with `data`, which stands at `at` in the file."""
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        return [_finding(model, document, at, details) for details in error.errors()]


def _finding(model: type[BaseModel], document: Document, at: Loc, details: Any) -> Finding:
    loc = _known(tuple(details["loc"]), model)
    place = (*at, *loc)
    allowed = sorted(_keys(_model_at(model, loc[:-1])))
    match details["type"]:
        case "extra_forbidden":
            key = str(loc[-1])
            return document.finding(
                Code.UNKNOWN_KEY,
                f"unknown key `{key}`",
                place,
                at_key=True,
                allowed=allowed,
                hint=did_you_mean(key, allowed),
            )
        case "missing":
            message = f"`{loc[-1]}` is missing"
            return document.finding(
                Code.MISSING_KEY, message, place[:-1], at_key=True, allowed=allowed
            )
        case "literal_error" | "enum":
            expected = str(details.get("ctx", {}).get("expected", ""))
            message = f"`{loc[-1]}` should be {expected.replace(chr(39), '')}"
            return document.finding(Code.INVALID_VALUE, message, place)
        case _:
            message = details["msg"].removeprefix("Value error, ")
            name = f"`{loc[-1]}`: " if loc else ""
            return document.finding(Code.INVALID_VALUE, f"{name}{message}", place)


def _known(loc: Loc, model: type[BaseModel]) -> Loc:
    """The location without the names pydantic adds for the options of a union."""
    known: list[str | int] = []
    for part in loc:
        keys = _keys(_model_at(model, tuple(known)))
        if isinstance(part, int) or not keys or part in keys or part is loc[-1]:
            known.append(part)
    return tuple(known)


def _model_at(model: type[BaseModel], loc: Loc) -> type[BaseModel] | None:
    current: type[BaseModel] | None = model
    for part in loc:
        if current is None or isinstance(part, int):
            continue
        hint = next(
            (
                info.annotation
                for name, info in current.model_fields.items()
                if part in (name, info.alias)
            ),
            None,
        )
        current = next(_models(hint), None)
    return current


def _models(hint: Any) -> Iterator[type[BaseModel]]:
    """The models an annotation mentions."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        yield hint
    for argument in typing.get_args(hint):
        yield from _models(argument)


def _keys(model: type[BaseModel] | None) -> set[str]:
    if model is None:
        return set()
    return {info.alias or name for name, info in model.model_fields.items()}
