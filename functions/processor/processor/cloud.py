"""Requests to Cloud Storage's JSON API over kept connections, with the function's own token.

Google's libraries do the same for 6 ms of CPU more with each photo, and twice the start
(docs/decisions/0017-urllib3-in-the-processor.md).
"""

from __future__ import annotations

import io
import os
import threading
import time
from functools import cached_property
from typing import Any
from urllib.request import getproxies

import certifi
import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import create_urllib3_context

from processor.errors import TransientError

HOST = "https://storage.googleapis.com"
# A dropped or throttled request is tried again, for two seconds; beyond that the queue does.
_RETRIES = urllib3.Retry(
    total=3, redirect=False, backoff_factor=0.3, status_forcelist=(408, 429, 500, 502, 503, 504),
    allowed_methods=None, raise_on_status=False, respect_retry_after_header=False,
)  # fmt: skip
Body = bytes | io.RawIOBase | None  # a file is sent from its beginning
_EARLY_SECONDS = 240  # before its end a token is replaced; the metadata server has a new one then


class Token:
    """The account's access token, from the metadata server."""

    def __init__(self) -> None:
        host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
        self._url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
        self._http = urllib3.PoolManager(headers={"Metadata-Flavor": "Google"}, timeout=5)
        self._lock = threading.Lock()
        self._token, self._until = "", 0.0

    def get(self) -> str:
        """Raises HTTPError, or ValueError for an answer without a token."""
        with self._lock:
            if time.monotonic() >= self._until:
                answer = self._http.request("GET", self._url)
                try:
                    fields = answer.json()
                    self._token = str(fields["access_token"])
                    self._until = time.monotonic() + fields["expires_in"] - _EARLY_SECONDS
                except (KeyError, TypeError) as error:
                    raise ValueError("the metadata server gave no token") from error
            return self._token

    def forget(self, token: str) -> None:
        """It was refused: withdrawn before its time."""
        with self._lock:
            if token == self._token:
                self._until = 0.0


class Cloud:
    """One for an instance, for any number of threads."""

    def __init__(self, token: Token | None = None, host: str = HOST) -> None:
        self._token, self._host = token or Token(), host

    @cached_property
    def _http(self) -> urllib3.PoolManager:
        """Made by the first request: to load the certificates takes 26 ms of CPU.

        Given as ca_certs, they would be loaded for each connection.
        """
        certificates = create_urllib3_context()
        certificates.load_verify_locations(os.environ.get("SSL_CERT_FILE") or certifi.where())
        options: dict[str, Any] = {
            "ssl_context": certificates,
            "maxsize": int(os.environ.get("THREADS", 16)),
            "blocksize": 256 * 1024,  # of a body that is a file
            "retries": _RETRIES,
            "timeout": urllib3.Timeout(connect=5, read=60),
        }
        proxy = getproxies().get("https")
        return urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)

    def request(
        self, method: str, path: str, headers: dict[str, str], body: Body = None
    ) -> urllib3.BaseHTTPResponse:
        """An answer of any status, its body unread. Raises TransientError storage_unavailable."""
        for last_try in (False, True):
            try:
                token = self._token.get()
                answer = self._http.request(
                    method, self._host + path, body=body, preload_content=False,
                    headers={**headers, "Authorization": f"Bearer {token}"},
                )  # fmt: skip
            except (HTTPError, ValueError) as error:
                raise unavailable(error) from error
            if answer.status != 401 or last_try:
                break
            answer.drain_conn()
            self._token.forget(token)
            if isinstance(body, io.RawIOBase):
                body.seek(0)
        return answer


def unavailable(what: Exception | int) -> TransientError:
    said = f"answered {what}" if isinstance(what, int) else f"gave no answer: {type(what).__name__}"
    return TransientError("storage_unavailable", f"Cloud Storage {said}.")
