"""Whether the clients of Kafka and of the schema registry take what a pipeline file tells them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kafka_etl.config.certificates import file_objections
from kafka_etl.config.compatibility import Find
from kafka_etl.config.model import PipelineSpec
from kafka_etl.config.report import did_you_mean
from kafka_etl.errors import Code
from kafka_etl.kafka.allowed_settings import (
    ALLOWED,
    MAX_POLL,
    SECTIONS,
    is_known,
    objection,
    poll_interval_objection,
    timeouts_objection,
)
from kafka_etl.schema_registry import client_settings as registry_settings
from kafka_etl.units import show_duration

_SYSTEM: Final = "probe"
"""Of Kafka's client: the certificates are where this system has them."""


def check_connections(spec: PipelineSpec, find: Find) -> None:
    """Settings that are unknown, refused or missing; files; for the registry also other values."""
    for section in SECTIONS:
        given: Mapping[str, Any] = getattr(spec, section)
        for name in given:
            allowed = () if is_known(name) else sorted(ALLOWED[section])
            _check_setting(section, name, objection(section, name), allowed, find)
        _check_kafka_files(section, spec.kafka, given, find)
    if not spec.kafka.get("bootstrap.servers"):
        hint = "kafka: {bootstrap.servers: localhost:9092}"
        message = "`bootstrap.servers` is missing under `kafka`"
        find(Code.MISSING_KEY, message, ("kafka",), at_key=True, hint=hint)
    _check_poll_interval(spec, find)
    _check_registry(spec, find)


def _check_poll_interval(spec: PipelineSpec, find: Find) -> None:
    """The client waits for a worker as long as its operators may take.

    Timeouts that nobody gave do not add up: hardly any record uses up one of them.
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
    for name, wrong in file_objections(spec.registry, needs_key=True):
        if name not in refused:
            find(Code.INVALID_VALUE, wrong, ("registry", name))


def _check_kafka_files(
    section: str, common: Mapping[str, Any], own: Mapping[str, Any], find: Find
) -> None:
    """Those that a section names itself; a client without TLS opens none."""
    settings = {**common, **own}
    if "ssl" in str(settings.get("security.protocol", "")).lower():
        for name, wrong in file_objections(settings, needs_key=False):
            if name in own and own[name] != _SYSTEM:
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
