"""Binding: from the function, class or factory a pipeline names to a callable operator."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from kafka_etl.contracts import Settings
from kafka_etl.errors import OperatorSignatureError
from kafka_etl.functions.context import Context
from kafka_etl.functions.declare import Declaration, declaration_of
from kafka_etl.functions.signature import (
    Shape,
    arguments,
    contexts,
    is_async,
    prefilled,
    require_keywords,
    settings_model,
    shape_of,
    takes_anything,
    value_types,
)
from kafka_etl.functions.value_types import ValueTypes, types_of


class Order(StrEnum):
    """Which records wait for each other when several are run at once."""

    KEY = "key"
    PARTITION = "partition"
    NONE = "none"


class Isolation(StrEnum):
    """Where an operator runs."""

    NONE = "none"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class BoundOperator:
    """An operator with its settings: ready to be opened and called.

    Attributes:
        name: Name of the operator in the pipeline.
        call: Takes one argument of the kind that `shape` describes.
        argument: Annotation of the values that the operator takes.
        gives: Types of the values that the operator gives, as its annotation names them.
        context: Filled in by the engine before each attempt; the operator may keep the object.
        open: Called once in the worker before the first record; may be a coroutine function.
        close: Called once when the worker stops in good order; likewise.
        timeout: Seconds that one record may take. The daemon kills a worker that takes longer; an
            async call is cancelled, and the process of an isolated operator is killed.
        concurrency: Records in hand at the same time.
        order: Which of these records wait for each other.
        isolation: Whether the operator runs in processes of its own, one for each record in hand.
    """

    name: str
    call: Callable[[Any], Any]
    shape: Shape
    version: str
    context: Context
    open: Callable[[], Any]
    close: Callable[[], Any]
    timeout: float | None = None
    concurrency: int = 1
    order: Order = Order.KEY
    isolation: Isolation = Isolation.NONE
    argument: Any = Any
    gives: ValueTypes = None

    @property
    def accepts(self) -> ValueTypes:
        """Types of the values that the operator takes, as its annotation names them."""
        return types_of(self.argument)

    @property
    def is_async(self) -> bool:
        """Whether the calls or the hooks of the operator need an event loop."""
        return self.shape.is_async or is_async(self.open) or is_async(self.close)


def settings_of(target: Callable[..., Any], name: str) -> type[Settings]:
    """The model of an operator's settings.

    Raises:
        OperatorSignatureError: The target is not an operator.
    """
    if not callable(target):
        raise OperatorSignatureError(
            f"{name} is a {type(target).__name__}, not a function or class",
            "Name a function `f(value)` or a class with `__call__(self, value)`.",
        )
    try:
        constructor = _constructor(target)
        require_keywords(constructor, name, dataclass=is_dataclass(target))
        return settings_model(constructor, name, inspect.getdoc(target) or "")
    except ValueError as error:  # of inspect
        raise OperatorSignatureError(
            f"operator {name} does not tell which parameters it has: {error}",
            f"Wrap it in a function of your own: `def {name}(value: dict) -> dict`.",
        ) from error


def bind(  # noqa: PLR0913 - the policies of one operator; its one caller names them
    target: Callable[..., Any],
    settings: Settings,
    context: Context,
    *,
    version: str = "",
    timeout: float | None = None,
    concurrency: int = 1,
    order: Order = Order.KEY,
    isolation: Isolation = Isolation.NONE,
) -> BoundOperator:
    """Put settings and context in place: instantiate a class, call a factory, fill a function.

    Raises:
        OperatorSignatureError: What came out cannot be called with a record.
        Exception: Whatever the class or factory raises for these settings.
    """
    name = context.operator
    operator: Any = target
    values = arguments(settings)
    if is_async(target) and not takes_anything(target):
        raise OperatorSignatureError(
            f"operator {name} takes no record: it is an `async def` without a parameter for one",
            "Give it one; what makes an operator must be a plain function.",
        )
    if inspect.isclass(target) or not takes_anything(target):
        operator = target(**values, **contexts(_constructor(target), context, name))
        values = {}
    call = operator if inspect.isroutine(operator) or not callable(operator) else operator.__call__
    if not callable(call) or not takes_anything(call):
        made = type(operator).__name__
        raise OperatorSignatureError(
            f"operator {name}: `{target.__name__}()` has no parameter for the record, and gives no "
            f"operator: what it returns is of type {made}"
            if inspect.isfunction(target)
            else f"operator {name} takes no record: {made} cannot be called with one",
            "Give the function, or the class's `__call__`, a parameter for the record.",
        )
    declared = _declared(target, operator, call)
    shape = shape_of(call, declared, name)
    argument, gives = value_types(call, shape, name)
    return BoundOperator(
        name=name,
        call=prefilled(call, values, context, name),
        shape=shape,
        version=declared.version or version or _hash_of_source(target),
        context=context,
        open=_hook(operator, "open", context),
        close=_hook(operator, "close", context),
        timeout=timeout,
        concurrency=concurrency,
        order=order,
        isolation=isolation,
        argument=argument,
        gives=gives,
    )


def _declared(*places: object) -> Declaration:
    """The declaration of `@operator`, at the named object or at the object a factory returns."""
    found = (declaration_of(place) for place in places)
    return next((d for d in found if d != Declaration()), Declaration())


def _constructor(target: Callable[..., Any]) -> Callable[..., Any]:
    """Whose keyword-only parameters are the settings."""
    if not inspect.isclass(target):
        return target
    return _nothing_to_set if target.__init__ is object.__init__ else target.__init__


def _nothing_to_set() -> None:
    """Stands for the `__init__` that a class does not have."""


def _hook(operator: object, name: str, context: Context) -> Callable[[], Any]:
    method = getattr(operator, name, None)
    if inspect.isroutine(operator) or method is None:
        return lambda: None
    if inspect.signature(method).parameters:
        return partial(method, context)
    return method  # type: ignore[no-any-return]


def _hash_of_source(target: Callable[..., Any]) -> str:
    """Twelve digits that change with the file the operator stands in."""
    try:
        source = inspect.getsourcefile(target)
        return hashlib.sha256(Path(source or "").read_bytes()).hexdigest()[:12]
    except (OSError, TypeError):
        return ""
