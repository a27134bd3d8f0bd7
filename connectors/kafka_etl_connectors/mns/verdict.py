"""What an error of the service means: the row's fault, the target's, or nobody's for long."""

from __future__ import annotations

from typing import Final

from kafka_etl.contracts import Again, Refused, Unreachable

_MEND: Final = frozenset(
    [
        *("QueueNotExist", "TopicNotExist", "InvalidQueueName", "InvalidTopicName"),
        *("AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "AuthorizationFailed"),
        *("InvalidSecurityToken", "SecurityTokenExpired", "InvalidAuthorizationHeader"),
        *("TimeExpired", "InvalidDateHeader"),  # the clock here is wrong
        *("ServiceNotOpen", "AccountSuspended", "InvalidRequestURL"),
    ]
)
_TOO_LARGE: Final = frozenset(["MessageTooLarge", "EntityTooLarge"])
_REFUSED: Final = frozenset(["MalformedXML", "InvalidArgument", "InvalidDigest"]) | _TOO_LARGE


def verdict(code: str, message: str) -> Refused | Again | Unreachable:
    """Judge an error by the service's own name for it; unknown ones are the target's."""
    if code in _REFUSED:
        return Refused(code, message, too_large=code in _TOO_LARGE)
    if code.startswith("QpsLimit"):
        return Again(f"{code}: {message}", after=1.0, patient=True)
    return Unreachable(f"{code}: {message}", mend=code in _MEND)
