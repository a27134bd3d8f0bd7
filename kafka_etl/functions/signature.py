"""Signatures of operators: the kind of the argument, of the results, and the settings."""

from __future__ import annotations

import enum
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pydantic import Field, create_model
from pydantic.errors import PydanticUserError

from kafka_etl.contracts import Settings
from kafka_etl.errors import OperatorSignatureError
from kafka_etl.functions.context import Context
from kafka_etl.functions.declare import META_COLUMNS, Declaration
from kafka_etl.functions.value_types import ValueTypes, types_of, types_of_outputs
from kafka_etl.record import Record
from kafka_etl.value_classes import is_typed


class Takes(enum.StrEnum):
    """The kind of the argument of a call, or of an element of its list."""

    VALUE = "value"
    BYTES = "bytes"
    TEXT = "text"
    RECORD = "record"
    TABLE = "pyarrow.Table"
    FRAME = "polars.DataFrame"


TABLES: Final = frozenset((Takes.TABLE, Takes.FRAME))


@dataclass(frozen=True, slots=True)
class Shape:
    """The arguments and results of an operator, as its signature describes them.

    Attributes:
        takes: Kind of the argument, or of an element of its list.
        batch: Whether the argument is a list.
        nullable: Whether the operator is called for null values; else null values pass unchanged.
        may_drop: Whether a returned None drops the record; else None is an error.
        mixes: Whether the outputs of a batch belong to all records of the batch.
        cls: Class with fields of which values become objects; None: plain data.
        container: `dict` or `list`, if the annotation asks for one of them.
        is_async: Whether the operator is a coroutine function or an async generator.
        columns: The columns of `META_COLUMNS` that the operator's table has.
        reads_only: Whether the operator never changes its argument in place.
    """

    takes: Takes = Takes.VALUE
    batch: bool = False
    nullable: bool = False
    may_drop: bool = False
    mixes: bool = False
    cls: type | None = None
    container: type | None = None
    is_async: bool = False
    columns: tuple[str, ...] = ()
    reads_only: bool = False


_TAKES: Final[Mapping[object, Takes]] = {
    Any: Takes.VALUE,
    object: Takes.VALUE,
    dict: Takes.VALUE,
    Mapping: Takes.VALUE,
    list: Takes.VALUE,
    int: Takes.VALUE,
    float: Takes.VALUE,
    bool: Takes.VALUE,
    bytes: Takes.BYTES,
    str: Takes.TEXT,
    Record: Takes.RECORD,
}

_ALLOWED: Final = (
    "dict, list, int, float, bool, str, bytes, Record, a class with fields (dataclass, msgspec "
    "Struct, pydantic model), a list[...] of one of these, pyarrow.Table or polars.DataFrame"
)


def shape_of(function: Callable[..., Any], declared: Declaration, name: str) -> Shape:
    """Read the shape of a callable that takes at least one positional argument.

    Raises:
        OperatorSignatureError: Naming the operator, the parameter and the fix.
    """
    require_keywords(function, name)
    hints = _hints(function, name)
    first = _positional(function)[0]
    takes, batch, nullable = _takes(hints.get(first.name, Any), declared, name, first.name)
    if declared.mixes and not batch:
        raise OperatorSignatureError(
            f"operator {name} says mixes=True but takes one record at a time",
            f"Annotate `{first.name}` with `list[...]`: only a batch operator can mix rows.",
        )
    hint = hints.get(first.name) if takes is Takes.VALUE else None
    return Shape(
        takes,
        batch,
        nullable,
        may_drop=_may_drop(hints, name),
        mixes=declared.mixes,
        cls=_class(hint),
        container=_container(hint, batch=batch),
        is_async=is_async(function),
        columns=_columns(declared, takes, name),
        reads_only=declared.reads_only,
    )


def require_keywords(function: Callable[..., Any], name: str, *, dataclass: bool = False) -> None:
    """Check that the first positional parameter is the only one that needs a value.

    Args:
        function: An operator, or the `__init__` of a class, whose first parameter is `self`.
        name: Name of the operator, for errors.
        dataclass: Whether the function is the `__init__` that a dataclass has got.

    Raises:
        OperatorSignatureError: Naming the operator, the parameter and the fix.
    """
    for parameter in _further(function, name):
        if parameter.default is parameter.empty:
            raise OperatorSignatureError(
                f"operator {name}: parameter `{parameter.name}` has no value",
                "Write `@dataclass(kw_only=True)` to make its fields settings."
                if dataclass
                else f"Put `*` before it (`*, {parameter.name}`) to make it a setting, or annotate "
                "it with `Context`.",
            )


def value_types(function: Callable[..., Any], shape: Shape, name: str) -> tuple[Any, ValueTypes]:
    """The annotation of the values that a callable takes, and the types of those it gives."""
    hints = _hints(function, name)
    given = hints.get("return", Any)
    gives = types_of(dict) if _table(_without_none(given)[0]) else types_of_outputs(given)
    if shape.takes in TABLES or shape.takes is Takes.RECORD:
        return Any, gives
    taken, _ = _without_none(hints.get(_positional(function)[0].name, Any))
    if shape.batch:
        taken = typing.get_args(taken)[0] if typing.get_origin(taken) is list else Any
    return taken, gives


def _columns(declared: Declaration, takes: Takes, name: str) -> tuple[str, ...]:
    if declared.columns is None:
        return META_COLUMNS if takes in TABLES else ()
    unknown = sorted(set(declared.columns) - set(META_COLUMNS))
    if unknown or takes not in TABLES:
        raise OperatorSignatureError(
            f"operator {name}: columns={declared.columns!r} cannot be had",
            f"Only an operator on tables has such columns; there are {META_COLUMNS}.",
        )
    return tuple(declared.columns)


def is_async(function: Any) -> bool:
    """Whether a call has to be awaited, or gives an async generator."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def takes_anything(function: Callable[..., Any]) -> bool:
    """Whether there is a positional parameter; a function without one builds the operator."""
    return bool(_positional(function))


def settings_model(function: Callable[..., Any], name: str, told: str = "") -> type[Settings]:
    """A model of the keyword-only parameters: their names, types and defaults.

    Args:
        function: Function with these parameters.
        name: Name of the operator, for errors.
        told: Docstring that describes the settings.

    Fields are called `set_<name>` inside and `<name>` outside, so that a setting may have any
    name (`schema`, `json`, `copy` are taken in pydantic models).
    """
    plain = isinstance(function, types.FunctionType)  # any other callable may have no hash
    return (_known_model if plain else _model)(function, name, told)


def _model(function: Callable[..., Any], name: str, told: str) -> type[Settings]:
    hints = _hints(function, name, extras=True)  # `Annotated[int, Field(ge=1)]` means its limit
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        hint = hints.get(parameter.name, Any)
        if parameter.kind is parameter.VAR_KEYWORD:
            raise OperatorSignatureError(
                f"operator {name}: `**{parameter.name}` cannot be checked",
                "Name each setting as a keyword-only parameter.",
            )
        if parameter.kind is parameter.KEYWORD_ONLY and hint is not Context:
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[f"set_{parameter.name}"] = (hint, Field(default, alias=parameter.name))
    try:
        model: type[Settings] = create_model(
            f"{name} settings", __base__=Settings, __doc__=told, **fields
        )
        model.misplaced = {
            parameter.name: f"put `*` before `{parameter.name}` in the operator's parameters: only "
            "what follows a `*` is a setting"
            for parameter in _further(function, name)
        }
    except PydanticUserError as error:
        raise OperatorSignatureError(
            f"operator {name}: a setting has a type that cannot be checked: {error.message}",
            "Use plain types, pydantic types or models for keyword-only parameters.",
        ) from error
    return model


_known_model = lru_cache(maxsize=1000)(_model)
"""Likewise, made once: cases build the same operators again and again."""


def arguments(settings: Settings) -> dict[str, Any]:
    """The keyword arguments that a settings model from `settings_model` stands for."""
    return {
        (info.alias or field): getattr(settings, field)
        for field, info in type(settings).model_fields.items()
    }


def contexts(function: Callable[..., Any], context: Context, name: str) -> dict[str, Context]:
    """The arguments for the parameters that are annotated with `Context`."""
    hints = _hints(function, name)
    return {p: context for p, hint in hints.items() if hint is Context and p != "return"}


def prefilled(
    function: Callable[..., Any], values: Mapping[str, Any], context: Context, name: str
) -> Callable[..., Any]:
    """`function` with settings and context in place.

    The settings become the defaults of a copy of a plain function, which costs nothing per call; a
    `functools.partial` with keywords would add 0.1 us to every record.
    """
    given = dict(values) | contexts(function, context, name)
    if not given:
        return function
    if isinstance(function, types.MethodType):
        inner = prefilled(function.__func__, values, context, name)
        return types.MethodType(inner, function.__self__)
    if not isinstance(function, types.FunctionType) or not _owns(function, given):
        return _partial(function, given)
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, None, function.__closure__
    )
    positional = [p for p in inspect.signature(function).parameters.values() if _is_positional(p)]
    defaults = [given.get(p.name, p.default) for p in positional]
    copy.__defaults__ = tuple(d for d in defaults if d is not inspect.Parameter.empty)
    copy.__kwdefaults__ = {**(function.__kwdefaults__ or {}), **given}
    return copy


def _partial(function: Callable[..., Any], given: Mapping[str, Any]) -> Callable[..., Any]:
    def call(argument: Any) -> Any:
        return function(argument, **given)

    return call


def _owns(function: types.FunctionType, names: Mapping[str, Any]) -> bool:
    """Whether the parameters are the function's own and not those of one it wraps."""
    code = function.__code__
    own = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return all(name in own for name in names)


def _positional(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(function).parameters.values() if _is_positional(p)]


def _further(function: Callable[..., Any], name: str) -> Iterator[inspect.Parameter]:
    """The positional parameters after the first one, without those for a `Context`."""
    others = _positional(function)[1:]
    hints = _hints(function, name) if others else {}
    return (parameter for parameter in others if hints.get(parameter.name) is not Context)


def _is_positional(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)


def _hints(function: Callable[..., Any], name: str, *, extras: bool = False) -> dict[str, Any]:
    target = function if hasattr(function, "__annotations__") else type(function).__call__
    try:
        return typing.get_type_hints(target, include_extras=extras)
    except Exception as error:
        broken = next(_unresolved(target), ("?", "?"))
        raise OperatorSignatureError(
            f"operator {name}: the annotation `{broken[1]}` of `{broken[0]}` does not resolve "
            f"({type(error).__name__}: {error})",
            "Import the name at run time (not under TYPE_CHECKING), or leave the annotation out."
            if isinstance(error, NameError)
            else "Correct the annotation, or leave it out.",
        ) from error


def _unresolved(function: Any) -> Iterator[tuple[str, str]]:
    for parameter, hint in inspect.get_annotations(function).items():
        stand_in = types.SimpleNamespace(
            __annotations__={parameter: hint}, __globals__=getattr(function, "__globals__", {})
        )
        try:
            typing.get_type_hints(stand_in, globalns=stand_in.__globals__)
        except Exception:  # noqa: BLE001 - whatever its evaluation raises, this is the one
            yield parameter, str(hint)


def _takes(hint: Any, declared: Declaration, name: str, parameter: str) -> tuple[Takes, bool, bool]:
    """(takes, batch, nullable) of a parameter; a declaration overrules the annotation."""
    hint, nullable = _without_none(hint)
    table = _table(hint)
    if table is not None or declared.takes == "table":
        if nullable:
            raise OperatorSignatureError(
                f"operator {name}: null values have no row in a table",
                f"Annotate `{parameter}` without `| None`: tombstones pass by unchanged.",
            )
        return table or Takes.TABLE, True, False
    element, nullable_element = hint, nullable
    if typing.get_origin(hint) is list:
        element, nullable_element = _without_none(*typing.get_args(hint))
    takes = _element(element)
    match declared.takes:
        case "record":
            return Takes.RECORD, False, nullable
        case "value":
            plain = _element(hint)
            return Takes.VALUE if plain in (None, Takes.RECORD) else plain, False, nullable
        case "batch":
            return takes or Takes.VALUE, True, nullable_element
        case None if takes is not None:
            return takes, element is not hint, nullable_element
        case None:
            raise OperatorSignatureError(
                f"operator {name}: `{parameter}` is annotated with {_shown(hint)}, which no record "
                "can be turned into",
                f"Annotate `{parameter}` with {_ALLOWED}; `| None` to be called for null values "
                "too.",
            )


def _table(hint: Any) -> Takes | None:
    """The kind of table that an annotation names, found by name: neither library is imported."""
    if not isinstance(hint, type):
        return None
    return {
        ("pyarrow", "Table"): Takes.TABLE,
        ("polars", "DataFrame"): Takes.FRAME,
    }.get((hint.__module__.partition(".")[0], hint.__name__))


def _class(hint: Any) -> type | None:
    """The class with fields that the annotation asks for."""
    hint = _innermost(hint)
    return hint if is_typed(hint) and hint is not Record else None


def _container(hint: Any, *, batch: bool) -> type | None:
    """The builtin type that holds others and that each value is plainly said to be."""
    hint, _ = _without_none(hint)
    if batch:
        inner = typing.get_args(hint) if typing.get_origin(hint) is list else (Any,)
        hint, _ = _without_none(*inner)
    kind = typing.get_origin(hint) or hint
    if kind in (dict, Mapping) or typing.is_typeddict(hint):
        return dict
    return list if kind is list else None


def _innermost(hint: Any) -> Any:
    """The annotation without `| None` and `list[...]` around."""
    hint, _ = _without_none(hint)
    if typing.get_origin(hint) is list:
        hint, _ = _without_none(*typing.get_args(hint))
    return hint


def _element(hint: Any) -> Takes | None:
    if typing.is_typeddict(hint) or (is_typed(hint) and hint not in (Context, Record)):
        return Takes.VALUE
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = {_element(option) for option in typing.get_args(hint)}
        return Takes.VALUE if kinds <= {Takes.VALUE, Takes.TEXT} else None
    return _TAKES.get(typing.get_origin(hint) or hint)


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    options = [option for option in typing.get_args(hint) if option is not types.NoneType]
    nullable = len(options) < len(typing.get_args(hint))
    return typing.Union[tuple(options)], nullable  # noqa: UP007 - built at run time


def _may_drop(hints: Mapping[str, Any], name: str) -> bool:
    if "return" not in hints:
        return False
    if hints["return"] is types.NoneType:
        raise OperatorSignatureError(
            f"operator {name} is annotated `-> None`, so it would drop every record",
            "Return the value; return DROP, or annotate `-> dict | None`, to drop some.",
        )
    return _without_none(hints["return"])[1]


def _shown(hint: Any) -> str:
    return getattr(hint, "__qualname__", None) or str(hint)
