"""The right to a transactional id, as far as the ACLs tell: Kafka has no request for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaException, admin

from kafka_etl.kafka.client.settings import make_client

_api: Any = admin  # its type hints are partial and contradictory; tests check the calls
_REQUEST: Final = 10.0
_WRITES: Final = frozenset({"WRITE", "ALL"})
_EVERYBODY: Final = "User:*"
_CLUSTER: Final = "kafka-cluster"
_FOR_BROKERS: Final = "CLUSTER_ACTION"
"""A right to the cluster that no client needs."""
_NAMED: Final = frozenset({"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"})
"""Ways of login by which the brokers call a user by the name that the client gives."""


class Grant(Enum):
    """What a cluster tells about a right."""

    OPEN = "this user may do anything here"
    GRANTED = "an ACL grants WRITE"
    DENIED = "an ACL denies it"
    MISSING = "no ACL grants it; a super user has it all the same"
    HIDDEN = "the brokers have ACLs, which this user may not read, or which know it by another name"
    UNKNOWN = "the brokers do not tell"


class Acl(NamedTuple):
    """One ACL of a resource.

    Attributes:
        principal: Whom the ACL is about, such as "User:etl".
        operation: Right that the ACL is about, by Kafka's name.
        allows: Whether the ACL grants the right, rather than denying it.
        host: The address that the ACL is about; `*`: all.
    """

    principal: str
    operation: str
    allows: bool
    host: str = "*"


class Told(NamedTuple):
    """What a cluster tells a user about rights.

    Attributes:
        user: The brokers' name of the user; None: unknown.
        of_user: Rights of the user to the cluster itself, by Kafka's names.
        acls: ACLs of a transactional id; none also if the user may not read them.
        acls_of_cluster: Likewise, of the cluster itself.
    """

    user: str | None
    of_user: frozenset[str]
    acls: tuple[Acl, ...] = ()
    acls_of_cluster: tuple[Acl, ...] = ()

    def about_user(self, acls: Iterable[Acl]) -> list[Acl]:
        principals = {_EVERYBODY, f"User:{self.user}"}
        return [acl for acl in acls if acl.principal in principals]


def ask_grant(settings: Mapping[str, Any], transactional_id: str) -> Grant:
    """Ask whether the user of these settings may write with a transactional id.

    A client that took over the id would know for certain, and would fence the worker that has the
    id. Any other id may be under other ACLs.

    Args:
        settings: Settings of an admin client whose cluster answers.
        transactional_id: The id, which need not be in use.
    """
    client: Any = make_client(admin.AdminClient, settings)
    try:
        described = client.describe_cluster(
            include_authorized_operations=True, request_timeout=_REQUEST
        ).result()
        told = Told(
            user_of(settings),
            frozenset(right.name for right in described.authorized_operations or ()),
            _acls(client, _api.ResourceType.TRANSACTIONAL_ID, transactional_id),
            _acls(client, _api.ResourceType.BROKER, _CLUSTER),
        )
    except KafkaException:
        return Grant.UNKNOWN
    return grant_of(told)


def _acls(client: Any, kind: Any, name: str) -> tuple[Acl, ...]:
    """All ACLs of a resource; the client tells none where the brokers refuse the question."""
    wanted = _api.AclBindingFilter(
        kind,
        name,
        _api.ResourcePatternType.MATCH,
        None,
        None,
        _api.AclOperation.ANY,
        _api.AclPermissionType.ANY,
    )
    found = client.describe_acls(wanted, request_timeout=_REQUEST).result()
    allow = _api.AclPermissionType.ALLOW
    return tuple(
        Acl(acl.principal, acl.operation.name, acl.permission_type == allow, acl.host)
        for acl in found
    )


def user_of(settings: Mapping[str, Any]) -> str | None:
    """The brokers' name of the user of a client; None: the client does not know it."""
    way = settings.get("sasl.mechanism") or settings.get("sasl.mechanisms")
    name = settings.get("sasl.username")
    return str(name) if name and str(way).upper() in _NAMED else None


def grant_of(told: Told) -> Grant:
    """What a cluster tells about the right to write with a transactional id."""
    if "DESCRIBE" not in told.of_user:  # without it, nobody may read ACLs
        return Grant.HIDDEN
    writes = [acl for acl in told.acls if acl.operation in _WRITES]
    mine = told.about_user(writes)
    if any(not acl.allows and acl.host == "*" for acl in mine):
        return Grant.DENIED
    if any(acl.host != "*" for acl in mine):
        return Grant.HIDDEN  # by which address the brokers know this host, nobody can tell
    # An ACL that denies the right to somebody may be about a user of unknown name.
    if mine and (told.user is not None or all(acl.allows for acl in writes)):
        return Grant.GRANTED
    if _FOR_BROKERS in told.of_user and not told.about_user(told.acls_of_cluster):
        return Grant.OPEN  # no ACL has given that right: the user is a super user, or all are
    return Grant.HIDDEN if told.user is None else Grant.MISSING
