"""Who is asking: the login of requests, and the TLS of connections."""

from __future__ import annotations

import base64
import re
import ssl
from pathlib import Path
from typing import Final

import httpx2

from kafka_etl.contracts import Unreachable
from kafka_etl_connectors.http.settings import AuthSettings, TlsSettings, TokenFile

_TOKEN: Final = re.compile(r"[!-~]([ -~]*[!-~])?")


class Credentials:
    """The value of the header `Authorization`, and its renewal.

    Args:
        auth: Settings; None: nobody is asking.
        folder: Folder of the pipeline file.
    """

    def __init__(self, auth: AuthSettings | None, folder: Path) -> None:
        self._auth = auth
        self._folder = folder
        self._token = ""

    def load(self) -> None:
        """Read the file of the token, if there is one.

        Raises:
            Unreachable: The file cannot be read, or holds no token.
        """
        bearer = None if self._auth is None else self._auth.bearer
        if isinstance(bearer, TokenFile):
            self._token = _read_token(self._folder / bearer.file)
        elif bearer is not None:
            self._token = bearer.get_secret_value()

    def header(self) -> bytes | None:
        """The value of `Authorization`; None: requests carry none."""
        if self._auth is None:
            return None
        if self._auth.basic is not None:
            return b"Basic " + self._login()
        return b"Bearer " + self._token.encode("ascii")

    def renewed(self, used: bytes | None) -> bool:
        """Whether `header` differs from the one that the server refused, once read again."""
        if self.header() == used and self._auth and isinstance(self._auth.bearer, TokenFile):
            try:
                self.load()
            except Unreachable:
                return False  # the server's answer says more than a file that is being replaced
        return self.header() != used

    def secrets(self) -> list[str]:
        """What no text may show."""
        if self._auth is None:
            return []
        if self._auth.basic is not None:
            return [self._auth.basic.password.get_secret_value(), self._login().decode()]
        return [self._token]

    def _login(self) -> bytes:
        assert self._auth is not None  # noqa: S101 - asked before
        assert self._auth.basic is not None  # noqa: S101 - asked before
        basic = self._auth.basic
        return base64.b64encode(f"{basic.user}:{basic.password.get_secret_value()}".encode())


def _read_token(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise Unreachable(f"the token file {path} cannot be read: {reason}", mend=True) from None
    if not _TOKEN.fullmatch(token):
        raise Unreachable(f"the token file {path} should hold one token of ASCII", mend=True)
    return token


def tls_context(tls: TlsSettings, folder: Path) -> ssl.SSLContext:
    """Return the TLS of connections.

    Raises:
        Unreachable: A file cannot be read, or holds something else.
    """
    place = tls.ca
    try:
        if tls.ca is None:
            context = httpx2.create_ssl_context(verify=tls.verify)
        else:
            context = ssl.create_default_context(cafile=folder / tls.ca)
        if tls.cert is not None:
            place = tls.cert
            # An empty password, not None: OpenSSL would ask for one on the terminal.
            password = "" if tls.key_password is None else tls.key_password.get_secret_value()
            key = None if tls.key is None else folder / tls.key
            context.load_cert_chain(folder / tls.cert, key, password)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or error
        raise Unreachable(f"TLS: {place} cannot be used: {reason}; mend `tls`", mend=True) from None
    return context
