"""Checks a document against pydantic models, and reports all problems at once."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeGuard, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from kafka_etl.config.document import Document
from kafka_etl.config.homes import home_of, models_of, owner_of
from kafka_etl.config.parse import is_list, is_mapping
from kafka_etl.config.report import CLIENTS, KAFKA_EXAMPLE, Finding, Loc, show_loc
from kafka_etl.contracts import Settings
from kafka_etl.errors import Code
from kafka_etl.kafka.client.allowed_settings import is_known
from kafka_etl.spelling import did_you_mean
from kafka_etl.units import parse_duration, show_duration

S = TypeVar("S", bound=Settings)

_WANTED: Final[Mapping[str, str]] = {
    "string_type": "text",
    "bytes_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "set_type": "a list",
    "datetime_type": "a date and time",
    "datetime_from_date_parsing": "a date and time",
}
_LIMITS: Final = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def check(
    model: type[S], data: Mapping[str, Any], document: Document, at: Loc = ()
) -> S | list[Finding]:
    """Validate a part of a document.

    Args:
        model: Model of the part.
        data: The part as plain data.
        document: The document, for the positions of findings.
        at: Place of the part in the document.

    Returns:
        An instance of `model`, or the findings.
    """
    try:
        checked = model.model_validate(dict(data))
    except ValidationError as error:
        return [
            _finding(model, document, at, problems)
            for problems in _by_place(_Problem(details, data) for details in error.errors())
        ]
    findings = [
        document.finding(Code.INVALID_VALUE, f"{_name(loc)} should be {wanted}", (*at, *loc))
        for loc, wanted in _switches_as_numbers(checked, data)
    ]
    return findings or checked


def _switches_as_numbers(checked: Any, given: Any, at: Loc = ()) -> Iterator[tuple[Loc, str]]:
    """Yield where `true` or `false` stands for a number, which pydantic allows; and what for."""
    if isinstance(checked, BaseModel) and is_mapping(given):
        for name, info in type(checked).model_fields.items():
            key = info.alias or name
            if key in given:
                yield from _switches_as_numbers(getattr(checked, name), given[key], (*at, key))
    elif _is_tuple(checked) and is_list(given):
        for index, (one, of_one) in enumerate(zip(checked, given, strict=False)):
            yield from _switches_as_numbers(one, of_one, (*at, index))
    elif isinstance(given, bool) and type(checked) in (int, float):
        yield at, _WANTED["int_type" if type(checked) is int else "float_type"]


class _Problem:
    """One error of pydantic, with its place in the data.

    Attributes:
        type: Pydantic's type of the error.
        message: Pydantic's text of the error.
        context: Pydantic's further data, such as the limit of a number.
        loc: Place in the data, without the names that pydantic adds for the options of a union.
        given: Data at the place.
    """

    def __init__(self, details: Any, data: Any) -> None:
        self.type: str = details["type"]
        self.message: str = details["msg"]
        self.context: Mapping[str, Any] = details.get("ctx", {})
        place: list[str | int] = []
        for part in details["loc"]:
            if is_mapping(data) or is_list(data):
                with contextlib.suppress(LookupError, TypeError):
                    data = data[part]
                    place.append(part)
        if self.type == "missing":
            place.append(details["loc"][-1])
        self.loc: Loc = tuple(place)
        self.given: Any = data

    @property
    def choices(self) -> list[str]:
        """The values that an enumeration allows; empty for another type of error."""
        if self.type not in {"enum", "literal_error"}:
            return []
        found = re.findall(r"'([^']*)'|(\w+)", str(self.context["expected"]))
        return [quoted or bare.lower() for quoted, bare in found if bare != "or"]

    @property
    def objections(self) -> list[str]:
        """The objections in words: one, or one for each choice of an enumeration."""
        if self.type in _WANTED:
            return [f"should be {_WANTED[self.type]}"]
        if self.choices:
            return [f"should be {choice}" for choice in self.choices]
        for limit, words in _LIMITS.items():
            if limit in self.context:
                return [f"should be {words} {_in_unit_of(self.given, self.context[limit])}"]
        if self.type == "pattern_regex":
            return [f"is not a regular expression: {_flaw(str(self.given))}"]
        if self.type == "value_error":
            return [self.message.removeprefix("Value error, ")]
        message = self.message.replace(" after validation", "")
        return [re.sub(r"^(Input|String|Tuple|List|Dictionary|Value) should", "should", message)]


def _is_tuple(checked: Any) -> TypeGuard[tuple[Any, ...]]:
    return isinstance(checked, tuple)


def _by_place(problems: Iterable[_Problem]) -> Iterator[Sequence[_Problem]]:
    """Group problems by place; each group becomes one finding.

    For a value of a union, pydantic reports a problem for each type of the union. A problem at a
    place that contains another problem's place is left out: the user did not mean its type.
    """
    found: dict[Loc, list[_Problem]] = {}
    for problem in problems:
        found.setdefault(problem.loc, []).append(problem)
    for loc, at_loc in found.items():
        if not any(len(other) > len(loc) and other[: len(loc)] == loc for other in found):
            yield at_loc


def _finding(
    model: type[BaseModel], document: Document, at: Loc, problems: Sequence[_Problem]
) -> Finding:
    problem = problems[0]
    loc = problem.loc
    place = (*at, *loc)
    # Without a text to point at, the name has to say where it is.
    name = _name(place) if document.lines else f"`{show_loc(loc)}`"
    if problem.type in {"extra_forbidden", "missing"}:
        allowed = sorted(_keys(_model_at(model, loc[:-1])))
        if problem.type == "missing":
            message = f"{name} is missing"
            return document.finding(
                Code.MISSING_KEY, message, place[:-1], at_key=True, allowed=allowed
            )
        return _unknown(model, document, place, allowed)
    if (lost := _astray_in_client(document, problem, place)) is not None:
        return lost
    choices = [choice for problem in problems for choice in problem.choices]
    example = _example(model, loc) if problem.type == "string_pattern_mismatch" else None
    objection = _objection(problems) if example is None else f" should look like `{example}`"
    hint = did_you_mean(problem.given, choices) if isinstance(problem.given, str) else ""
    if place == ("kafka",):
        hint = KAFKA_EXAMPLE
    return document.finding(Code.INVALID_VALUE, f"{name}{objection}", place, hint=hint)


def _unknown(
    model: type[BaseModel], document: Document, place: Loc, allowed: Sequence[str]
) -> Finding:
    """Make the finding of a key that is unknown at its place: misspelt, or valid elsewhere."""
    key, at = str(place[-1]), place[:-1]
    near, home = did_you_mean(key, allowed), home_of(key, at)
    in_plugin = at[-1:] in {("with",), ("create",)}  # there a misspelling is likelier
    misplaced = model.misplaced.get(key, "") if issubclass(model, Settings) else ""
    found = (near or home) if in_plugin else (home or near)
    if owner := owner_of(key, at):
        found = f"{near} {owner}".strip()
    return document.finding(
        Code.UNKNOWN_KEY,
        f"unknown key {_name(place)}",
        place,
        at_key=True,
        allowed=allowed,
        hint=misplaced or found or _as_use(document, key, at),
    )


def _as_use(document: Document, key: str, at: Loc) -> str:
    """Return a hint for an unknown key beside `use`, or in its place; empty elsewhere."""
    if at not in {("source",), ("sink",)} and not (len(at) == 2 and at[0] == "operators"):  # noqa: PLR2004
        return ""
    part: Any = document.data
    for key_or_number in at:
        part = part[key_or_number]
    if "use" in part:
        return f"settings of `{part['use']}` belong under `with`"
    inner = "{where: …}" if key == "filter" else "{…}"
    return f"did you mean `use: {key}, with: {inner}`?"


def _astray_in_client(document: Document, problem: _Problem, place: Loc) -> Finding | None:
    """Make the finding of a mapping among client settings; None: the problem is another.

    Such a mapping is a section at the wrong place, or a dotted name written as nested keys.
    """
    if len(place) != 2 or place[0] not in CLIENTS or not is_mapping(problem.given):  # noqa: PLR2004
        return None
    section, key = place
    home = home_of(str(key), (section,))
    inner = next(iter(problem.given), "…")
    hint = home or f"the names of clients' settings have dots in them: `{key}.{inner}: …`"
    if is_known(str(key)):
        hint = "give it one value"
    message = f"unknown key {_name(place)}" if home else f"{_name(place)} is a mapping"
    code = Code.UNKNOWN_KEY if home else Code.INVALID_VALUE
    return document.finding(code, message, place, at_key=True, hint=hint)


def _objection(problems: Sequence[_Problem]) -> str:
    """Join objections into one text: ` should be earliest, latest or a date and time`."""
    if problems[0].given is None:
        return " has no value"
    first, *others = dict.fromkeys(text for problem in problems for text in problem.objections)
    texts = [first, *(other.removeprefix("should be ") for other in others)]
    separator = " " if first.startswith(("should ", "is ", "has ", "repeats ")) else ": "
    last = f" or {texts.pop()}" if others else ""
    return separator + ", ".join(texts) + last


def _name(place: Loc) -> str:
    """Name a place by its last key and the position in a list: `topics[1]`."""
    last_key = max((i for i, part in enumerate(place) if isinstance(part, str)), default=0)
    return f"`{show_loc(place[last_key:])}`"


def _in_unit_of(given: Any, limit: Any) -> str:
    """Show a limit in the unit of the given value: 3600 as `1h` if the value is a duration."""
    if isinstance(given, str):
        try:
            parse_duration(given)
            return show_duration(limit)
        except ValueError:
            pass
    return f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"


def _flaw(pattern: str) -> str:
    """Return Python's reason why a text is no regular expression, with the position."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return str(error)
    return "no text can be compared with it"


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
        current = next(models_of(hint), None)
    return current


def _example(model: type[BaseModel], loc: Loc) -> Any:
    """An example of the value at a place of the data, if its field has one; else None."""
    fields: Mapping[str, FieldInfo] = getattr(_model_at(model, loc[:-1]), "model_fields", {})
    found = (info for name, info in fields.items() if loc[-1:] == (info.alias or name,))
    info = next(found, None)
    return info.examples[0] if info and info.examples else None


def _keys(model: type[BaseModel] | None) -> set[str]:
    if model is None:
        return set()
    return {info.alias or name for name, info in model.model_fields.items()}
