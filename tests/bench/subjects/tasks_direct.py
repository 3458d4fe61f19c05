"""A candidate for the bridge: tasks.create of the REST API over urllib3, with nothing between."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from typing import Any
from urllib.request import getproxies

import certifi
import urllib3


class Refused(Exception):
    """An answer other than 200, as the bridge reads it."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        super().__init__(f"{response.status}")
        self.response = response
        response.status_code = response.status


class DirectTasks:
    """The one method of CloudTasksClient that the bridge uses."""

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
        self._access()

    def create_task(self, request: dict[str, Any], *, timeout: float) -> object:
        task = request["task"]
        http = task["http_request"]
        body = {
            "task": {
                "name": task["name"],
                "dispatchDeadline": f"{task['dispatch_deadline']['seconds']}s",
                "httpRequest": {
                    "httpMethod": http["http_method"],
                    "url": http["url"],
                    "headers": http["headers"],
                    "body": base64.b64encode(http["body"]).decode(),
                    "oidcToken": {
                        "serviceAccountEmail": http["oidc_token"]["service_account_email"],
                        "audience": http["oidc_token"]["audience"],
                    },
                },
            }
        }
        response = self._http.request(
            "POST",
            f"https://cloudtasks.googleapis.com/v2/{request['parent']}/tasks",
            body=json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                "Authorization": f"Bearer {self._access()}",
            },
            timeout=timeout,
        )
        if response.status != 200:
            raise Refused(response)
        return response.json()

    def _access(self) -> str:
        with self._lock:
            if time.monotonic() >= self._until:
                token = self._plain.request("GET", self._url).json()
                self._token, self._until = (
                    token["access_token"],
                    time.monotonic() + token["expires_in"] - 240,
                )
            return self._token
