"""Candidates without Google's libraries: a few requests of the JSON APIs over urllib3."""

from __future__ import annotations

import os
import threading
import time
from typing import Any
from urllib.request import getproxies

import certifi
import urllib3


class Google:
    """Pooled connections, and the account's token from the metadata server."""

    def __init__(self) -> None:
        bundle = os.environ.get("SSL_CERT_FILE") or certifi.where()
        proxy = getproxies().get("https")
        options: dict[str, Any] = {"ca_certs": bundle, "maxsize": 8, "retries": False}
        self._http = (
            urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
        )
        host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
        self._url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
        self._plain = urllib3.PoolManager(headers={"Metadata-Flavor": "Google"})
        self._lock, self._token, self._until = threading.Lock(), "", 0.0

    def ask(self, method: str, url: str, content_type: str = "", **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self._access()}"}
        if content_type:
            headers["Content-Type"] = content_type
        return self._http.request(method, url, headers=headers, **more)

    def _access(self) -> str:
        with self._lock:
            if time.monotonic() >= self._until:
                token = self._plain.request("GET", self._url).json()
                self._token = token["access_token"]
                self._until = time.monotonic() + token["expires_in"] - 240
            return self._token
