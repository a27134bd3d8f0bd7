"""From what a pipeline names (a function, a class, a factory) to something the engine can call."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka_etl.contracts import Settings
from kafka_etl.declare import Context, declaration_of
from kafka_etl.errors import OperatorSignatureError
from kafka_etl.signature import (
    Shape,
    arguments,
    prefilled,
    settings_model,
    shape_of,
    takes_anything,
)


@dataclass(frozen=True, slots=True)
class BoundOperator:
    """An operator with its settings: ready to be opened and called.

    Attributes:
        name: As the pipeline calls it.
        call: Takes one argument of the kind `shape` says.
        context: Filled in by the engine before each attempt; the operator may hold on to it.
        open: Called once in the worker before the first record.
        close: Called once when the worker stops in good order.
        timeout: Seconds one record may take; enforced from outside the worker.
    """

    name: str
    call: Callable[[Any], Any]
    shape: Shape
    version: str
    context: Context
    open: Callable[[], None]
    close: Callable[[], None]
    timeout: float | None = None


def settings_of(target: Callable[..., Any], name: str) -> type[Settings]:
    """The model of an operator's settings.

    Raises:
        OperatorSignatureError: The target is not an operator.
    """
    if inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target):
        raise OperatorSignatureError(
            f"operator {name} is an `async def`, which is not supported yet",
            "Write a plain function; the worker calls it in a process of its own.",
        )
    if not callable(target):
        raise OperatorSignatureError(
            f"{name} is a {type(target).__name__}, not a function or class",
            "Name a function `f(value)` or a class with `__call__(self, value)`.",
        )
    return settings_model(_constructor(target), name)


def bind(
    target: Callable[..., Any],
    settings: Settings,
    context: Context,
    *,
    version: str = "",
    timeout: float | None = None,
) -> BoundOperator:
    """Put settings and context in place: instantiate a class, call a factory, fill a function.

    Raises:
        OperatorSignatureError: What came out cannot be called with a record.
        Exception: Whatever the class or factory raises for these settings.
    """
    name = context.operator
    declared = declaration_of(target)
    operator: Any = target
    values = arguments(settings)
    if inspect.isclass(target):
        operator = target(**_with_context(target.__init__, values, context))
        values = {}
    elif not takes_anything(target):
        operator = target(**values)
        values = {}
    call = operator if inspect.isroutine(operator) or not callable(operator) else operator.__call__
    if not callable(call) or not takes_anything(call):
        raise OperatorSignatureError(
            f"operator {name} takes no record: {type(operator).__name__} cannot be called with one",
            "Give the function, or the class's `__call__`, a parameter for the record.",
        )
    shape = shape_of(call, declared, name)
    return BoundOperator(
        name=name,
        call=prefilled(call, values, context, name),
        shape=shape,
        version=declared.version or version or _hash_of_source(target),
        context=context,
        open=_hook(operator, "open", context),
        close=_hook(operator, "close", context),
        timeout=timeout,
    )


def _constructor(target: Callable[..., Any]) -> Callable[..., Any]:
    return target.__init__ if inspect.isclass(target) else target


def _with_context(
    constructor: Callable[..., Any], values: dict[str, Any], context: Context
) -> dict[str, Any]:
    wanted = inspect.signature(constructor).parameters.values()
    return values | {p.name: context for p in wanted if p.annotation in (Context, "Context")}


def _hook(operator: object, name: str, context: Context) -> Callable[[], None]:
    method = getattr(operator, name, None)
    if inspect.isroutine(operator) or method is None:
        return lambda: None
    if inspect.signature(method).parameters:
        return lambda: method(context)
    return method  # type: ignore[no-any-return]


def _hash_of_source(target: Callable[..., Any]) -> str:
    """Twelve digits that change with the file the operator stands in."""
    try:
        source = inspect.getsourcefile(target)
        return hashlib.sha256(Path(source or "").read_bytes()).hexdigest()[:12]
    except (OSError, TypeError):
        return ""
