"""Finds the right place of a key that stands at a wrong place in a pipeline file."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel

from kafka_etl.config.model import PipelineSpec
from kafka_etl.config.report import Loc, show_loc
from kafka_etl.kafka.settings import KafkaSinkSettings, KafkaSourceSettings


def home_of(key: str, at: Loc) -> str:
    """Return a hint at the place of a key that is unknown at `at`.

    A place within `at` comes first. The hint is empty if no place, or more than one, has the key.
    """
    here = _without_numbers(at)
    homes = [home for home in _HOMES.get(key, []) if home != here]
    if here and (within := [home for home in homes if home[: len(here)] == here]):
        homes = within
    if () in homes:
        return f"`{key}` belongs at the top of the file"
    if homes == [("operators",)]:
        return f"`{key}` belongs beside the `use` of an operator"
    return f"`{key}` belongs under `{show_loc(homes[0])}`" if len(homes) == 1 else ""


def owner_of(key: str, at: Loc) -> str:
    """Return a hint at the plug-in that has a setting which is unknown at `at`; empty: none."""
    is_kafkas = at[1:] == ("with",) and at in _HOMES.get(key, [])
    return f"`{key}` is a setting of {at[0]} `kafka`" if is_kafkas else ""


def models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the pydantic models that a type annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from models_of(argument)


def _without_numbers(loc: Loc) -> Loc:
    return tuple(part for part in loc if isinstance(part, str))


def _keys_under(model: type[BaseModel], at: Loc) -> Iterator[tuple[str, Loc]]:
    for name, info in model.model_fields.items():
        key = info.alias or name
        yield key, at
        for inner in models_of(info.annotation):
            yield from _keys_under(inner, (*at, key))


def _homes() -> dict[str, list[Loc]]:
    homes: dict[str, list[Loc]] = {}
    parts: tuple[tuple[type[BaseModel], Loc], ...] = (
        (PipelineSpec, ()),
        (KafkaSourceSettings, ("source", "with")),
        (KafkaSinkSettings, ("sink", "with")),
    )
    for model, at in parts:
        for key, home in _keys_under(model, at):
            under_operator = home[:1] == ("operators",) and len(home) > 1
            # `retry` and its keys belong to the pipeline first; a case repeats names of records.
            if not under_operator and home[:1] != ("tests",):
                homes.setdefault(key, []).append(home)
    return homes


_HOMES: Final = _homes()
