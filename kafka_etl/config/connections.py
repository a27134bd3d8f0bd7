"""Checks the settings of the clients of Kafka and of the schema registry in a pipeline file.

The files that TLS settings name are opened here. A client that cannot open a file reports neither
the file nor, often, the setting.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kafka_etl.config.client_files import CERTIFICATE, FILES, FOLDERS_TOO, KEY, SYSTEM
from kafka_etl.config.compatibility import Find
from kafka_etl.config.model import PipelineSpec
from kafka_etl.config.report import KAFKA_EXAMPLE
from kafka_etl.errors import Code
from kafka_etl.kafka.client.allowed_settings import (
    ALLOWED,
    CHOICES,
    MAX_POLL,
    SECTIONS,
    is_known,
    objection,
    poll_interval_objection,
    timeouts_objection,
    value_objection,
)
from kafka_etl.schema_registry import client_settings as registry_settings
from kafka_etl.spelling import did_you_mean
from kafka_etl.units import show_duration


def check_connections(spec: PipelineSpec, find: Find) -> None:
    """Report client settings that are unknown, refused, missing or out of range, and bad files."""
    for section in SECTIONS:
        given: Mapping[str, Any] = getattr(spec, section)
        for name, value in given.items():
            allowed = () if is_known(name) else sorted(ALLOWED[section])
            _check_setting(section, name, objection(section, name), allowed, find)
            if wrong := value_objection(name, value):
                hint = did_you_mean(str(value), CHOICES.get(name, ()))
                find(Code.INVALID_VALUE, wrong, (section, name), hint=hint)
        _check_kafka_files(section, spec.kafka, given, find)
    if not spec.kafka.get("bootstrap.servers"):
        message = "`bootstrap.servers` is missing under `kafka`"
        find(Code.MISSING_KEY, message, ("kafka",), at_key=True, hint=KAFKA_EXAMPLE)
    _check_poll_interval(spec, find)
    _check_registry(spec, find)


def _check_poll_interval(spec: PipelineSpec, find: Find) -> None:
    """Check `max.poll.interval.ms` against the operators' timeouts.

    The sum counts only timeouts that the file gives: a default timeout is long, and hardly any
    record uses it up.
    """
    if not spec.operators:
        return
    given = sum(use.timeout for use in spec.operators if "timeout" in use.model_fields_set)
    index, longest = max(enumerate(spec.operators), key=lambda numbered: numbered[1].timeout)
    if wrong := timeouts_objection(given):
        find(Code.INVALID_VALUE, wrong, ("operators", index, "timeout"), hint="lower it")
    elif MAX_POLL in spec.consumer and (
        wrong := poll_interval_objection(spec.consumer[MAX_POLL], max(given, longest.timeout))
    ):
        at_most = show_duration(longest.timeout)
        hint = f"leave it out, or lower the `timeout` of {longest.label}, which is {at_most}"
        find(Code.KAFKA_SETTING_REFUSED, wrong, ("consumer", MAX_POLL), hint=hint)


def _check_registry(spec: PipelineSpec, find: Find) -> None:
    refused = set[str]()
    for name, value in spec.registry.items():
        allowed = () if name in registry_settings.REFUSED else sorted(registry_settings.ALLOWED)
        _check_setting("registry", name, registry_settings.objection(name), allowed, find)
        if wrong := registry_settings.value_objection(name, value, spec.registry):
            refused.add(name)
            find(Code.INVALID_VALUE, wrong, ("registry", name))
    for name, wrong in _file_objections(spec.registry, needs_key=True):
        if name not in refused:
            find(Code.INVALID_VALUE, wrong, ("registry", name))


def _check_kafka_files(
    section: str, common: Mapping[str, Any], own: Mapping[str, Any], find: Find
) -> None:
    """Check the files that a section itself names; a client without TLS opens no files."""
    settings = {**common, **own}
    if "ssl" in str(settings.get("security.protocol", "")).lower():
        for name, wrong in _file_objections(settings, needs_key=False):
            if name in own and own[name] != SYSTEM:
                find(Code.INVALID_VALUE, wrong, (section, name))


def _check_setting(
    section: str, name: str, problem: str | None, allowed: Iterable[str], find: Find
) -> None:
    if problem is not None:
        find(
            Code.KAFKA_SETTING_REFUSED,
            problem,
            (section, name),
            at_key=True,
            allowed=allowed,
            hint=did_you_mean(name, allowed),
        )


def _file_objections(settings: Mapping[str, Any], *, needs_key: bool) -> Iterator[tuple[str, str]]:
    """Yield (setting, objection) for each file that a client with these settings cannot use.

    Args:
        settings: All settings of the client.
        needs_key: Whether the client expects the key in the certificate's file if no setting names
            a key.
    """
    sound = set[str]()
    for name in FILES:
        given = settings.get(name)
        if given and isinstance(given, str):
            wrong = _file_objection(name, Path(given))
            if wrong is None:
                sound.add(name)
            else:
                yield name, f"`{name}`: {given} {wrong}"
    key = CERTIFICATE if needs_key and KEY not in settings else KEY
    if {CERTIFICATE, key} <= sound and not _belong_together(settings, key):
        yield (
            key,
            (
                f"`{key}`: {settings[key]} does not hold the key of the certificate in "
                f"{settings[CERTIFICATE]}, or `ssl.key.password` does not open it"
            ),
        )


def _file_objection(name: str, path: Path) -> str | None:
    try:
        if path.is_dir():
            return None if name in FOLDERS_TOO else "is a folder, not a file"
        with path.open("rb"):
            pass
        if name in {*FOLDERS_TOO, CERTIFICATE}:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return "holds no certificate in PEM"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    return None


def _belong_together(settings: Mapping[str, Any], key: str) -> bool:
    password = str(settings.get("ssl.key.password", ""))  # with None, OpenSSL prompts
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(
            settings[CERTIFICATE], settings[key], password
        )
    except (OSError, ValueError):
        return False
    return True
