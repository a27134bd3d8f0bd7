"""Whether a broker's listener and a client mean the same `security.protocol`.

A listener without TLS disconnects a client that speaks TLS, and the other way round. The client's
report of the lost connection depends on which end was quicker. The answer of a listener to a TLS
greeting is the same each time.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final

_PATIENCE: Final = 1.0
_USUAL_PORT: Final = 9092
WITH_TLS: Final = frozenset({"SSL", "SASL_SSL"})
_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING"})


def mismatch(settings: Mapping[str, Any]) -> str:
    """Compare `security.protocol` with the first listener that answers a TLS greeting.

    Args:
        settings: Settings of a client that has no answer from any broker.

    Returns:
        The difference, as a sentence without its full stop; empty: the first listener that can be
        reached fits `security.protocol`, or no listener can be reached.
    """
    protocol = str(settings.get("security.protocol", "PLAINTEXT")).upper()
    for address in str(settings.get("bootstrap.servers", "")).split(","):
        has_tls = speaks_tls(*host_and_port(address))
        if has_tls is not None:
            return _difference(address.strip(), protocol, has_tls=has_tls)
    return ""


def _difference(address: str, protocol: str, *, has_tls: bool) -> str:
    if has_tls == (protocol in WITH_TLS):
        return ""
    speaks = "speaks TLS" if has_tls else "does not speak TLS"
    return f"the listener at {address} {speaks}, but `security.protocol` is {protocol}"


def speaks_tls(host: str, port: int) -> bool | None:
    """Whether a listener speaks TLS; None: no listener answers within a second."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # no data is sent, so no trust is needed
    context.verify_mode = ssl.CERT_NONE
    try:
        plain = socket.create_connection((host, port), _PATIENCE)
    except (OSError, ValueError, OverflowError):
        return None
    with plain:
        try:
            context.wrap_socket(plain, server_hostname=None).close()
        except TimeoutError:
            return None
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError):
            return False
        except ssl.SSLError as refused:  # a listener that sends a TLS alert speaks TLS
            return refused.reason not in _NOT_TLS
        except OSError:
            return None
    return True


def host_and_port(address: str) -> tuple[str, int]:
    """Host and port of an entry of `bootstrap.servers`: `SSL://host:9093`, `host`, `[::1]:9092`."""
    host, _, port = address.strip().rpartition("://")[2].rpartition(":")
    if not port.isdigit():
        host, port = f"{host}:{port}" if host else port, ""
    return host.strip("[]"), int(port or _USUAL_PORT)
