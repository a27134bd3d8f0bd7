"""Whether the clients of Kafka and of the schema registry take what a pipeline file tells them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kafka_etl.codecs import registry_settings
from kafka_etl.config.fit import Find
from kafka_etl.config.model import PipelineSpec
from kafka_etl.config.report import did_you_mean
from kafka_etl.errors import Code
from kafka_etl.kafka.client_settings import ALLOWED, SECTIONS, is_known, objection


def check_connections(spec: PipelineSpec, find: Find) -> None:
    """Settings that are unknown, refused or missing; for the registry also their values."""
    for section in SECTIONS:
        given: Mapping[str, Any] = getattr(spec, section)
        for name in given:
            allowed = () if is_known(name) else sorted(ALLOWED[section])
            _check_setting(section, name, objection(section, name), allowed, find)
    if not spec.kafka.get("bootstrap.servers"):
        hint = "kafka: {bootstrap.servers: localhost:9092}"
        message = "`bootstrap.servers` is missing under `kafka`"
        find(Code.MISSING_KEY, message, ("kafka",), at_key=True, hint=hint)
    _check_registry(spec, find)


def _check_registry(spec: PipelineSpec, find: Find) -> None:
    for name, value in spec.registry.items():
        allowed = () if name in registry_settings.REFUSED else sorted(registry_settings.ALLOWED)
        _check_setting("registry", name, registry_settings.objection(name), allowed, find)
        if wrong := registry_settings.value_objection(name, value, spec.registry):
            find(Code.INVALID_VALUE, wrong, ("registry", name))


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
