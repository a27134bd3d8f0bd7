"""Fields that an operator's class has, against the fields that its values will have."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    PlainValidator,
    WrapValidator,
)

from kafka_etl.contracts import Fields
from kafka_etl.functions.value_types import fits, shown, types_of
from kafka_etl.value_classes import is_typed, reads_only_mappings

_READ_FROM: Final[Mapping[type, tuple[type, ...]]] = {
    str: (int, float, bool, bytes),
    bytes: (str,),
    int: (bytes,),
    float: (bytes,),
}
"""Type -> further types that classes with fields may make of its values, by reading them."""
_EARLY: Final = (BeforeValidator, PlainValidator, WrapValidator)


@dataclass(frozen=True, slots=True)
class Field:
    """A field that a class has.

    Attributes:
        names: Names by which it is found in a mapping.
        annotation: Its annotation.
        is_required: Whether a mapping must have it.
    """

    names: tuple[str, ...]
    annotation: Any
    is_required: bool


def misfits(annotation: Any, given: Fields) -> Iterator[str]:
    """Yield what keeps mappings with the given fields from being what an annotation asks for.

    Args:
        annotation: A class with fields, or a TypedDict; other annotations ask for nothing.
        given: The fields of the mappings, and their types.
    """
    try:
        wanted = _fields(annotation)
    except NameError:  # annotations of fields that resolve for type checkers only
        return
    known: set[str | None] = {_tag_of(annotation)}
    for field in wanted or ():
        known.update(field.names)
        name = next((name for name in field.names if name in given), None)
        if name is None:
            if field.is_required:
                yield f"field `{field.names[0]}` is missing"
            continue
        types = given[name]
        if not fits(_read(annotation, types), types_of(field.annotation)):
            yield f"field `{name}` is {shown(types)}, not {shown(types_of(field.annotation))}"
    if wanted is not None and _forbids_others(annotation):
        yield from (f"field `{name}` is one too many" for name in given if name not in known)


def _read(annotation: Any, types: frozenset[type] | None) -> frozenset[type] | None:
    """The types in which a value can arrive at a field: the classes read some types from others."""
    if types is None or not is_typed(annotation):
        return types
    return types.union(*(_READ_FROM.get(one, ()) for one in types))


def _fields(annotation: Any) -> list[Field] | None:
    """The fields that an annotation asks for; None: it asks for none, or it is not clear."""
    if typing.is_typeddict(annotation):
        return list(_fields_of_dict(annotation))
    if not is_typed(annotation) or not reads_only_mappings(annotation):
        return None
    cls: Any = annotation
    if issubclass(cls, msgspec.Struct):
        found = msgspec.structs.fields(cls)
        return [Field((one.encode_name,), one.type, one.required) for one in found]
    of_pydantic = getattr(cls, "__pydantic_fields__", None)
    if of_pydantic is not None:
        return [
            Field(_names(cls, name, info), _annotation(cls, name, info), info.is_required())
            for name, info in of_pydantic.items()
        ]
    hints = typing.get_type_hints(cls)
    return [
        Field((one.name,), hints[one.name], _has_no_default(one))
        for one in dataclasses.fields(cls)
        if one.init
    ]


def _fields_of_dict(annotation: Any) -> Iterator[Field]:
    """The fields of a TypedDict, which knows `NotRequired` only if its annotations are no text."""
    hints = typing.get_type_hints(annotation)
    for name, hint in typing.get_type_hints(annotation, include_extras=True).items():
        said = typing.get_origin(hint)
        is_required = said is typing.Required or name in annotation.__required_keys__
        yield Field((name,), hints[name], is_required and said is not typing.NotRequired)


def _annotation(cls: Any, name: str, info: Any) -> Any:
    """The annotation of a field of pydantic; of one that reads in its own way, nothing."""
    alias = info.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    is_inner = any(isinstance(one, AliasPath) for one in choices)
    if is_inner or _reads_itself(cls, name, info) or _config(cls).get("coerce_numbers_to_str"):
        return Any
    return info.annotation


def _reads_itself(cls: Any, name: str, info: Any) -> bool:
    """Whether a validator sees a field's value before the value is checked."""
    declared = cls.__pydantic_decorators__.field_validators.values()
    early = [one.info for one in declared if one.info.mode != "after"]
    return any(isinstance(one, _EARLY) for one in info.metadata) or any(
        name in one.fields or "*" in one.fields for one in early
    )


def _config(cls: type) -> Mapping[str, Any]:
    return getattr(cls, "model_config", getattr(cls, "__pydantic_config__", None)) or {}


def _names(cls: type, name: str, info: Any) -> tuple[str, ...]:
    """The names by which pydantic finds a field."""
    alias = info.validation_alias or info.alias
    if alias is None:
        return (name,)
    config = _config(cls)
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    names = [str(one.path[0]) if isinstance(one, AliasPath) else one for one in choices]
    return (*names, name) if by_name else tuple(names)


def _tag_of(annotation: Any) -> str | None:
    """The field by which msgspec tells a class from others; it is none of the class."""
    config = getattr(annotation, "__struct_config__", None)
    return None if config is None else config.tag_field


def _has_no_default(field: Any) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _forbids_others(annotation: Any) -> bool:
    """Whether a class takes no mapping with further fields."""
    if not isinstance(annotation, type):
        return False
    if issubclass(annotation, msgspec.Struct):
        return annotation.__struct_config__.forbid_unknown_fields
    return issubclass(annotation, BaseModel) and annotation.model_config.get("extra") == "forbid"
