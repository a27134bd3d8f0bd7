"""Sends a notice by HTTP; imported only by pipelines with such a hook."""

from __future__ import annotations

from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from kafka_etl.runtime.worker.notices import TIMEOUT, Refused


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirect: urllib would repeat a POST as a GET, without the document."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def post(url: str, document: bytes, timeout: float = TIMEOUT) -> None:
    """Send a document by HTTP POST, through the proxy of the environment if there is one.

    Args:
        url: An address whose scheme is `http` or `https`.
        document: JSON.
        timeout: Seconds to wait for the connection, and for each piece of the answer.

    Raises:
        Refused: The target has not answered 2xx; the text does not hold the URL.
    """
    headers = {"Content-Type": "application/json", "User-Agent": "kafka-etl"}
    request = Request(url, document, headers, method="POST")  # noqa: S310 - the model checks it
    try:
        build_opener(_NoRedirect).open(request, timeout=timeout).close()
    except HTTPError as error:
        error.close()
        raise Refused(f"HTTP status {error.code}") from None
    except URLError as error:
        raise Refused(str(error.reason)) from None
    except TimeoutError:
        raise Refused(f"no answer within {timeout:g} s") from None
