"""The only module that talks to a schema registry, through the client of confluent-kafka.

The client logs in, looks schemas up and registers them. The codecs do not use the client's
serializers and deserializers, which take 5 to 35 times as long as the decoding itself.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from kafka_etl.contracts import CodecContext, Unavailable
from kafka_etl.errors import (
    ConfigError,
    KafkaEtlError,
    RegistryRefused,
    SchemaMissing,
    SchemaRefused,
)
from kafka_etl.extras import require_extra
from kafka_etl.schema_registry.client_settings import DEFAULTS, fitting
from kafka_etl.schema_registry.wire_format import SchemaId

Kind = Literal["AVRO", "JSON", "PROTOBUF"]

_AGAIN_S: Final = 1.0
"""Seconds for which a failed request answers all further requests for the same schema.

A failure of the whole registry answers the requests for all schemas.
"""

_PATIENCE_S: Final = 30.0
"""Seconds that a refusal must last before it stops the pipeline.

Until then a schema may still be registered, or a password corrected.
"""

_FORGOTTEN_S: Final = 120.0
"""Seconds without a request after which a refusal counts as a new one: longer than any back-off."""

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
"""Errors of the HTTP client whose text quotes a header or an address, perhaps with a password."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema's text, and the texts of the schemas that it refers to.

    Attributes:
        kind: Type of the schema, by the registry's name.
        text: Text of the schema.
        references: Name -> text of each schema referred to, at any depth; a schema comes after
            those that it refers to itself.
    """

    kind: Kind
    text: str
    references: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True)
class _Trouble:
    """A failure of the registry, or of requests for one schema.

    Attributes:
        kind: Class of the error if the failure lasts; NoneType: the pipeline waits for ever.
        since: Time of the first failure of this kind.
        until: Time of the next request.
        reason: Text for the log and the pipeline's state.
    """

    kind: type
    since: float
    until: float
    reason: str


def registry_for(place: CodecContext, codec: str) -> SchemaRegistry:
    """Return the registry that `registry` in the pipeline file names, without connecting to it.

    Args:
        place: Context of the codec, with the settings of the registry.
        codec: Name of the codec, for errors.

    Raises:
        ConfigError: The pipeline file names no registry.
        ExtraMissing: A package that the client needs is not installed.
    """
    if not place.registry.get("url"):
        raise ConfigError(
            f"codec {codec} needs a schema registry",
            "Name it at the top of the file: `registry: {url: http://localhost:8081}`",
        )
    require()
    return _shared(frozenset(place.registry.items()))


def require(*modules: str) -> None:
    """Check that the registry's client and these modules are installed, without importing them.

    Raises:
        ExtraMissing: A module is not installed.
    """
    require_extra("schema", "codecs with a schema registry need", *_NEEDED, *modules)


@cache
def _shared(settings: frozenset[tuple[str, str | int | float | bool]]) -> SchemaRegistry:
    """Return the registry that all codecs of a process share, so that they share its failures, too.

    The client within caches the schemas that any of the codecs has asked for.
    """
    return SchemaRegistry(dict(settings))


class SchemaRegistry:
    """Looks up schemas by id and by subject, and registers them; requests block.

    Every method raises `Unavailable` while the registry gives no answer, and a `KafkaEtlError` once
    waiting does not help. A failure is remembered for a second, so that ten thousand records do not
    make ten thousand requests.

    Args:
        settings: Settings of the registry's client, by the client's names.
        clock: Monotonic time in seconds; tests pass their own.
    """

    def __init__(
        self, settings: Mapping[str, Any], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = {**DEFAULTS, **fitting(settings)}
        self._clock = clock
        self._troubles: dict[str, _Trouble] = {}

    @cached_property
    def name(self) -> str:
        """The addresses of the registry, without credentials."""
        urls = [urlsplit(url.strip()) for url in str(self._settings["url"]).split(",")]
        return ", ".join(f"{url.scheme}://{url.netloc.rpartition('@')[2]}" for url in urls)

    def schema(self, schema_id: SchemaId) -> Schema:
        """Return the schema with this id.

        Raises:
            Unavailable: There is no answer now, or the registry does not know the id yet.
            SchemaMissing: The registry has not known the id for 30 seconds.
            RegistryRefused: The registry has refused requests for 30 seconds.
            ConfigError: The client does not accept, or cannot send, the settings.
        """

        def find(client: Any) -> Schema:
            if isinstance(schema_id, int):
                return _complete(client, client.get_schema(schema_id))
            return _complete(client, client.get_schema_by_guid(str(schema_id)))

        return self._ask(f"schema {schema_id}", find)

    def latest(self, subject: str, *, by_guid: bool = False) -> tuple[SchemaId, Schema]:
        """Return id and schema of the latest version of a subject.

        Args:
            subject: Name of the subject.
            by_guid: Whether the id is the GUID, not the number.

        Raises:
            Unavailable: There is no answer now, or the subject does not exist yet.
            SchemaMissing: The subject has not existed for 30 seconds.
            RegistryRefused: The registry has refused requests for 30 seconds.
            ConfigError: The client does not accept, or cannot send, the settings; or the registry
                has no GUIDs.
        """

        def find(client: Any) -> tuple[SchemaId, Schema]:
            found = client.get_latest_version(subject)
            return _id(found, by_guid=by_guid), _complete(client, found.schema)

        return self._ask(f"subject {subject}", find)

    def schema_id(
        self, subject: str, schema: Schema, *, register: bool, by_guid: bool = False
    ) -> SchemaId:
        """Return the id of a given schema under a subject.

        Args:
            subject: Name of the subject.
            schema: Schema to look up.
            register: Whether to register the schema under the subject first.
            by_guid: Whether the id is the GUID, not the number.

        Raises:
            Unavailable: There is no answer now, or the schema is not registered yet.
            SchemaMissing: The schema has not been registered for 30 seconds.
            SchemaRefused: The registry refuses to register the schema.
            RegistryRefused: The registry has refused requests for 30 seconds.
            ConfigError: The client does not accept, or cannot send, the settings; or the registry
                has no GUIDs.
        """

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
        """Make a request, unless a failure of the last second answers for it."""
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
        """Return `Unavailable` for an error that may pass, a `KafkaEtlError` for a lasting one."""
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
        """Note a failure, and return `lasting` if the failure has lasted too long.

        Args:
            key: Name of the schema asked for, or `_EVERYTHING` for the whole registry.
            reason: Text of the failure.
            lasting: Error that stops the pipeline; None: the pipeline waits for ever.
        """
        now, kind = self._clock(), type(lasting)
        trouble = self._troubles.get(key)
        if trouble is None or trouble.kind != kind or now - trouble.until > _FORGOTTEN_S:
            trouble = self._troubles[key] = _Trouble(kind, now, now, reason)
        trouble.until, trouble.reason = now + _AGAIN_S, reason
        if lasting is not None and now - trouble.since >= _PATIENCE_S:
            return lasting
        return _unavailable(key, reason)


def _said(error: Exception) -> str:
    """Return an error's text; an error that may quote a password is replaced by its class."""
    if _quotes_settings(error):
        return f"what `registry` holds ({type(error).__name__})"
    return str(error) or type(error).__name__


def _quotes_settings(error: Exception) -> bool:
    """Whether an error's text may quote a password."""
    return any(kind.__name__ in _QUOTING for kind in type(error).__mro__)


def _unavailable(key: str, reason: str) -> Unavailable:
    return Unavailable(reason, of_record=key != _EVERYTHING)


def _id(found: Any, *, by_guid: bool) -> SchemaId:
    """Return the number or the GUID of a registered schema.

    Raises:
        ConfigError: The registry has no GUIDs.
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
    """Return a schema of the client with the texts of all schemas that it refers to."""
    references: dict[str, str] = {}
    _collect(client, schema.references or (), references)
    return Schema(schema.schema_type or "AVRO", schema.schema_str or "", references)


def _collect(client: Any, wanted: Iterable[Any], found: dict[str, str]) -> None:
    """Add the schemas referred to, at any depth; a schema comes after those it refers to."""
    for reference in wanted:
        if reference.name not in found:
            schema = client.get_version(reference.subject, reference.version).schema
            _collect(client, schema.references or (), found)
            found[reference.name] = schema.schema_str
