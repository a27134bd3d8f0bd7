"""Whether the files of a secure connection are there, and are what they should be.

They are looked for where a pipeline is checked, as files with schemas and secrets are: a client
that does not find one names neither the file nor, often, the setting.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

_FOLDERS_TOO: Final = frozenset({"ssl.ca.location", "ssl.crl.location", "https.ca.location"})
_CERTIFICATE: Final = "ssl.certificate.location"
_KEY: Final = "ssl.key.location"
_FILES: Final = (*_FOLDERS_TOO, _CERTIFICATE, _KEY, "ssl.keystore.location")


def file_objections(settings: Mapping[str, Any], *, needs_key: bool) -> Iterator[tuple[str, str]]:
    """(setting, what is wrong with the file it names) for a client with these settings.

    Args:
        settings: All that the client is given.
        needs_key: Whether it looks for the key beside the certificate when none is named.
    """
    sound = set[str]()
    for name in _FILES:
        given = settings.get(name)
        if given and isinstance(given, str):
            wrong = _objection(name, Path(given))
            if wrong is None:
                sound.add(name)
            else:
                yield name, f"`{name}`: {given} {wrong}"
    key = _CERTIFICATE if needs_key and _KEY not in settings else _KEY
    if {_CERTIFICATE, key} <= sound and not _belong_together(settings, key):
        yield (
            key,
            (
                f"`{key}`: {settings[key]} does not hold the key of the certificate in "
                f"{settings[_CERTIFICATE]}, or `ssl.key.password` does not open it"
            ),
        )


def _objection(name: str, path: Path) -> str | None:
    try:
        if path.is_dir():
            return None if name in _FOLDERS_TOO else "is a folder, not a file"
        with path.open("rb"):
            pass
        if name in {*_FOLDERS_TOO, _CERTIFICATE}:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return "holds no certificate in PEM"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    return None


def _belong_together(settings: Mapping[str, Any], key: str) -> bool:
    password = str(settings.get("ssl.key.password", ""))  # without one it would be asked for
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(
            settings[_CERTIFICATE], settings[key], password
        )
    except (OSError, ValueError):
        return False
    return True
