"""The models of the cases that `kafka-etl test` runs: records given, and what should come of them.

Cases stand under `tests:` in the pipeline file, or in the file `NAME.tests.yaml` beside NAME.yaml.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import Field, StrictInt, model_validator

from kafka_etl.contracts import Settings
from kafka_etl.invocation import Condition

Time = Annotated[StrictInt | datetime, Field(union_mode="left_to_right")]
"""Milliseconds since the epoch, or ISO 8601 text, whose time zone is UTC if it names none."""


class HeaderSpec(Settings):
    """A header in the form in which `kafka-etl show --json` prints headers.

    Attributes:
        name: Name of the header.
        value: Value as text; None: the header has none.
        value_hex: Value in hex, where it is no text.
    """

    name: str
    value: str | None = None
    value_hex: str | None = None


HeadersSpec = dict[str, str | None] | tuple[HeaderSpec, ...]


class PayloadSpec(Settings):
    """The value, the key and the headers of a record; only what is given counts.

    Attributes:
        value: Value as data, which the pipeline's codec encodes; null: a tombstone.
        value_text: Value as text that no codec touches, such as JSON that is broken.
        value_hex: Value in hex.
        value_file: File with the value, beside the file of the case.
        key: Key as data, likewise.
        key_text: Key as text that no codec touches.
        key_hex: Key in hex.
        headers: Name -> value, or a list of `name` and `value`.
        topic: Topic of the record.
        partition: Partition of the record.
    """

    value: Any = None
    value_text: str | None = None
    value_hex: str | None = None
    value_file: str | None = None
    key: Any = None
    key_text: str | None = None
    key_hex: str | None = None
    headers: HeadersSpec = Field(default_factory=dict[str, str | None])
    topic: str | None = None
    partition: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        for part in ("value", "key"):
            given = sorted(n for n in self.model_fields_set if n.split("_")[0] == part)
            if len(given) > 1:
                raise ValueError(f"needs one of {' and '.join(f'`{name}`' for name in given)}")
            if given and given != [part] and getattr(self, given[0]) is None:
                raise ValueError(f"`{given[0]}` needs a text; `{part}: null` is none at all")
        return self

    def has(self, part: str) -> bool:
        """Whether the case says anything about the part `value` or `key`, in any of its forms."""
        return any(name.split("_")[0] == part for name in self.model_fields_set)


class GivenSpec(PayloadSpec):
    """A record that the source gives.

    Attributes:
        offset: Offset; None: the position among the records.
        timestamp: Time as ISO 8601 text or in milliseconds since the epoch; None: the test clock's.
    """

    offset: int | None = Field(default=None, ge=0)
    timestamp: Time | None = None


class OutputSpec(PayloadSpec):
    """An output that is expected.

    Attributes:
        timestamp: Time as in `GivenSpec`; compared only where the sink is given one.
    """

    timestamp: Time | None = None


class ErrorSpec(Settings):
    """The error of an expected dead letter.

    Attributes:
        type: Class of the error, with or without its module.
        message: A part of the error's text.
    """

    type: str | None = None
    message: str | None = None


class LetterSpec(PayloadSpec):
    """A dead letter that is expected; value, key and headers are those of its record.

    Attributes:
        error: Class and text of the error, or a part of `CLASS: TEXT`.
        condition: Why the record became a dead letter.
        operator: Name of the operator, or of the codec, that failed.
        attempts: Number of attempts that failed.
        offset: Offset of the record.
    """

    error: ErrorSpec | str = ErrorSpec()
    condition: Condition | None = None
    operator: str | None = None
    attempts: int | None = Field(default=None, ge=1)
    offset: int | None = Field(default=None, ge=0)


class CaseSpec(Settings):
    """One case: records, and everything that should come of them.

    Outputs and dead letters that are left out are expected not to be there. A text in place of a
    list names a file with one JSON object a line, in the form of `kafka-etl show --json`.

    Attributes:
        name: Name of the case.
        given: Records, which are one batch.
        expect: Outputs, in their order.
        expect_dead_letters: Dead letters, in the order of their records.
        expect_dropped: Number of records that are dropped on purpose; None: any number.
    """

    name: str = Field(min_length=1)
    given: tuple[GivenSpec, ...] | str
    expect: tuple[OutputSpec, ...] | str = ()
    expect_dead_letters: tuple[LetterSpec, ...] | str = ()
    expect_dropped: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _expects_something(self) -> Self:
        if not {"expect", "expect_dead_letters", "expect_dropped"} & self.model_fields_set:
            raise ValueError(
                "expects nothing: add `expect`, `expect_dead_letters` or `expect_dropped`"
            )
        return self


class CasesSpec(Settings):
    """The content of a file `NAME.tests.yaml`.

    Attributes:
        tests: The cases.
    """

    tests: tuple[CaseSpec, ...] = Field(min_length=1)


def milliseconds(time: int | datetime | None) -> int | None:
    """Return a time of a case as milliseconds since the epoch."""
    if not isinstance(time, datetime):
        return time
    zoned = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return round(zoned.timestamp() * 1000)
