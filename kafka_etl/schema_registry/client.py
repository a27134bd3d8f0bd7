"""The one place that speaks to a schema registry, through the client of confluent-kafka.

The client looks up, registers and logs in. What it knows of payloads is not used: its own
deserializers cost 5 to 35 times the decoding itself.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.util import find_spec
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from kafka_etl.contracts import CodecContext, Unavailable
from kafka_etl.errors import (
    ConfigError,
    ExtraMissing,
    KafkaEtlError,
    RegistryRefused,
    SchemaMissing,
    SchemaRefused,
)
from kafka_etl.schema_registry.client_settings import DEFAULTS, fitting
from kafka_etl.schema_registry.wire_format import SchemaId

Kind = Literal["AVRO", "JSON", "PROTOBUF"]

_AGAIN_S: Final = 1.0
"""For so long a refusal stands for the answer to all further questions of its kind."""

_PATIENCE_S: Final = 30.0
"""A schema may be registered a little after its first record, and a password corrected."""

_FORGOTTEN_S: Final = 120.0
"""What has not been asked for so long begins anew: longer than any back-off."""

_NEEDED: Final = ("httpx2", "authlib", "attr", "cachetools", "certifi")
_BUSY: Final = (408, 429)
_SERVER_ERROR: Final = 500
_EVERYTHING: Final = "everything"
_NO_SUCH_QUESTION: Final = (
    "Check that `registry.url` is the address of a schema registry and what that says in its own "
    "log, and resume; after `--until-end`, run it again."
)

_CORRECT: Final = "Correct `registry` in the pipeline file."
_QUOTING: Final = ("LocalProtocolError", "InvalidURL", "UnicodeEncodeError")
"""Errors of the client's client that quote the header or the address that cannot be sent."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema's text, and those it refers to.

    Attributes:
        references: Name -> text; what others refer to comes before them.
    """

    kind: Kind
    text: str
    references: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True)
class _Trouble:
    kind: type
    since: float
    until: float
    reason: str


def registry_for(place: CodecContext, codec: str) -> SchemaRegistry:
    """The registry that `registry` of the pipeline file names; connects to nothing yet.

    Raises:
        ConfigError: It names none.
        ExtraMissing: The client cannot be loaded.
    """
    if not place.registry.get("url"):
        raise ConfigError(
            f"codec {codec} needs a schema registry",
            "Name it at the top of the file: `registry: {url: http://localhost:8081}`",
        )
    require(*_NEEDED)
    return _shared(frozenset(place.registry.items()))


def require(*modules: str) -> None:
    """Check that modules of the extra `schema` are there; imports none of them.

    Raises:
        ExtraMissing: One is not.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise ExtraMissing(
            f"codecs with a schema registry need {', '.join(missing)}",
            "Install what they need: pip install 'kafka-etl[schema]'",
        )


@cache
def _shared(settings: frozenset[tuple[str, str | int | float | bool]]) -> SchemaRegistry:
    """One for all codecs of a process: what one has found out, the others need not ask."""
    return SchemaRegistry(dict(settings))


class SchemaRegistry:
    """Schemas by id and by subject.

    Every method raises `Unavailable` when there is no answer for now, and a `KafkaEtlError` when
    waiting does not help. A refusal is remembered for a second, so that ten thousand records do
    not ask ten thousand times.
    """

    def __init__(
        self, settings: Mapping[str, Any], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = {**DEFAULTS, **fitting(settings)}
        self._clock = clock
        self._troubles: dict[str, _Trouble] = {}

    @cached_property
    def name(self) -> str:
        """Its address, without credentials."""
        urls = [urlsplit(url.strip()) for url in str(self._settings["url"]).split(",")]
        return ", ".join(f"{url.scheme}://{url.netloc.rpartition('@')[2]}" for url in urls)

    def schema(self, schema_id: SchemaId) -> Schema:
        """A schema by its id."""

        def find(client: Any) -> Schema:
            if isinstance(schema_id, int):
                return _complete(client, client.get_schema(schema_id))
            return _complete(client, client.get_schema_by_guid(str(schema_id)))

        return self._ask(f"schema {schema_id}", find)

    def latest(self, subject: str, *, by_guid: bool = False) -> tuple[SchemaId, Schema]:
        """Id and schema of a subject's latest version."""

        def find(client: Any) -> tuple[SchemaId, Schema]:
            found = client.get_latest_version(subject)
            return _id(found, by_guid=by_guid), _complete(client, found.schema)

        return self._ask(f"subject {subject}", find)

    def schema_id(
        self, subject: str, schema: Schema, *, register: bool, by_guid: bool = False
    ) -> SchemaId:
        """The id of this very schema under a subject, where it is registered on request only."""

        def find(client: Any) -> SchemaId:
            from confluent_kafka.schema_registry import Schema as Text  # noqa: PLC0415 - an extra

            text = Text(schema.text, schema.kind)
            if register:
                schema_id = int(client.register_schema(subject, text))
                if not by_guid:
                    return schema_id
            return _id(client.lookup_schema(subject, text), by_guid=by_guid)

        return self._ask(f"the given schema under subject {subject}", find, registers=register)

    @cached_property
    def _client(self) -> Any:
        from confluent_kafka.schema_registry import SchemaRegistryClient  # noqa: PLC0415

        try:
            client = SchemaRegistryClient(self._settings)
        except Exception as error:
            what = f"the schema registry's client does not take its settings: {_said(error)}"
            if _quotes_settings(error):
                raise ConfigError(what, _CORRECT) from None
            raise ConfigError(what, _CORRECT) from error
        weakref.finalize(self, client.close)
        return client

    def _ask(self, what: str, find: Callable[[Any], T], *, registers: bool = False) -> T:
        for key in (_EVERYTHING, what):
            trouble = self._troubles.get(key)
            if trouble is not None and self._clock() < trouble.until:
                raise _unavailable(key, trouble.reason)
        try:
            answer = find(self._client)
        except ConfigError:
            raise
        except Exception as error:
            if _quotes_settings(error):
                what = f"the schema registry's client cannot send {_said(error)}"
                raise ConfigError(what, _CORRECT) from None
            raise self._verdict(what, error, registers=registers) from error
        self._troubles.pop(_EVERYTHING, None)
        self._troubles.pop(what, None)
        return answer

    def _verdict(self, what: str, error: Exception, *, registers: bool) -> Exception:
        """Whether to wait, and for how long, or what is wrong for good."""
        said, asked = _said(error), f"when asked for {what}"
        match getattr(error, "http_status_code", None):
            case 404:
                reason = f"{what} is not in the schema registry {self.name}"
                return self._wait(what, reason, SchemaMissing(reason))
            case 401 | 403:
                reason = f"the schema registry {self.name} refuses this pipeline: {said}"
                return self._wait(_EVERYTHING, reason, RegistryRefused(reason))
            case int(status) if status >= _SERVER_ERROR or status in _BUSY:
                reason = f"the schema registry {self.name} is in trouble {asked}: {said}"
                return self._wait(_EVERYTHING, reason)
            case int() if registers:
                return SchemaRefused(f"the schema registry {self.name} refuses {what}: {said}")
            case int():
                reason = f"the schema registry {self.name} gives an error {asked}: {said}"
                return self._wait(what, reason, RegistryRefused(reason, _NO_SUCH_QUESTION))
            case _:
                reason = f"no answer from schema registry {self.name}: {said}"
                return self._wait(_EVERYTHING, reason)

    def _wait(self, key: str, reason: str, lasting: KafkaEtlError | None = None) -> Exception:
        now, kind = self._clock(), type(lasting)
        trouble = self._troubles.get(key)
        if trouble is None or trouble.kind != kind or now - trouble.until > _FORGOTTEN_S:
            trouble = self._troubles[key] = _Trouble(kind, now, now, reason)
        trouble.until, trouble.reason = now + _AGAIN_S, reason
        if lasting is not None and now - trouble.since >= _PATIENCE_S:
            return lasting
        return _unavailable(key, reason)


def _said(error: Exception) -> str:
    """What an error says, without the passwords that some quote."""
    if _quotes_settings(error):
        return f"what `registry` holds ({type(error).__name__})"
    return str(error) or type(error).__name__


def _quotes_settings(error: Exception) -> bool:
    return any(kind.__name__ in _QUOTING for kind in type(error).__mro__)


def _unavailable(key: str, reason: str) -> Unavailable:
    return Unavailable(reason, of_record=key != _EVERYTHING)


def _id(found: Any, *, by_guid: bool) -> SchemaId:
    """Of a schema that is registered.

    Raises:
        ConfigError: The registry knows no GUIDs.
    """
    if not by_guid:
        return int(found.schema_id)
    if not found.guid:
        raise ConfigError(
            "this schema registry gives schemas no GUID, which `schema_id: header` needs",
            "Leave `schema_id` out of the sink's codec: payloads then begin with the id.",
        )
    return UUID(found.guid)


def _complete(client: Any, schema: Any) -> Schema:
    references: dict[str, str] = {}
    _collect(client, schema.references or (), references)
    return Schema(schema.schema_type or "AVRO", schema.schema_str or "", references)


def _collect(client: Any, wanted: Iterable[Any], found: dict[str, str]) -> None:
    """Those that others refer to first."""
    for reference in wanted:
        if reference.name not in found:
            schema = client.get_version(reference.subject, reference.version).schema
            _collect(client, schema.references or (), found)
            found[reference.name] = schema.schema_str
