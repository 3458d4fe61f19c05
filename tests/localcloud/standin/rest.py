"""The REST calls: one client per provider configuration."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter

HOSTS = {
    "artifactregistry": "https://artifactregistry.googleapis.com/v1/",
    "cloudbilling": "https://cloudbilling.googleapis.com/v1/",
    "cloudfunctions": "https://cloudfunctions.googleapis.com/v2/",
    "cloudresourcemanager": "https://cloudresourcemanager.googleapis.com/v1/",
    "cloudscheduler": "https://cloudscheduler.googleapis.com/v1/",
    "cloudtasks": "https://cloudtasks.googleapis.com/v2/",
    "iam": "https://iam.googleapis.com/v1/",
    "logging": "https://logging.googleapis.com/v2/",
    "monitoring": "https://monitoring.googleapis.com/",
    "openidconnect": "https://openidconnect.googleapis.com/v1/",
    "pubsub": "https://pubsub.googleapis.com/v1/",
    "run": "https://{location}-run.googleapis.com/",
    "runv2": "https://run.googleapis.com/v2/",
    "serviceusage": "https://serviceusage.googleapis.com/v1/",
    "storage": "https://storage.googleapis.com/storage/v1/",
    "workflows": "https://workflows.googleapis.com/v1/",
    "upload": "https://storage.googleapis.com/upload/storage/v1/",
}
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)  # seconds before each further attempt
RETRIED = (429, 500, 502, 503)


class ApiError(Exception):
    """An error answer, worded as the provider words it; code 0: an error of its own."""

    def __init__(self, code: int, message: str, reason: str = "") -> None:
        sent = f"googleapi: Error {code}: {message}" + (f", {reason}" if reason else "")
        super().__init__(sent if code else message)
        self.code = code


@dataclass(frozen=True)
class Caller:
    """The Terraform that asks: its environment variables and its folder."""

    environ: dict[str, str]
    folder: Path


_loading = threading.Lock()


@cache
def _loaded(path: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=path)


def _certificates(path: str | None) -> ssl.SSLContext:
    with _loading:  # Terraform makes thirty resources at once
        return _loaded(path)


class _Adapter(HTTPAdapter):
    """With certificates that are loaded once: requests loads them for each connection, which takes
    26 ms of CPU."""

    def __init__(self, certificates: ssl.SSLContext) -> None:
        self._certificates = certificates
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, ssl_context=self._certificates, **options)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._certificates, **options)

    def cert_verify(self, *_: Any) -> None:
        """What is loaded already verifies."""


@dataclass
class Cloud:
    """The provider's configuration, and the calls made under it.

    `endpoint` is for tests of the stand-in itself: https://HOST/ becomes ENDPOINT/HOST/.
    """

    caller: Caller
    project: str | None = None
    region: str | None = None
    zone: str | None = None
    token: str | None = None
    default_labels: dict[str, str] = field(default_factory=dict)
    attribution: bool = True
    deletion_policy: str | None = None
    billing_project: str | None = None
    endpoint: str | None = None
    _local: threading.local = field(default_factory=threading.local, repr=False)

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            environ, session = self.caller.environ, requests.Session()
            session.trust_env = False  # this process's variables are not Terraform's
            session.mount("https://", _Adapter(_certificates(environ.get("SSL_CERT_FILE"))))
            proxy = environ.get("HTTPS_PROXY") or environ.get("https_proxy")
            session.proxies = {"https": proxy} if proxy else {}
            self._local.session = session
        return self._local.session  # type: ignore[no-any-return]

    def url(self, service: str, path: str, location: str | None = None) -> str:
        url = HOSTS[service].format(location=location) + path
        return url.replace("https://", f"{self.endpoint}/") if self.endpoint else url

    def call(
        self,
        method: str,
        service: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, str] | None = None,
        location: str | None = None,
        data: Iterator[bytes] | None = None,
        content_type: str | None = None,
        retry: bool = True,
    ) -> Any:
        """One call and its JSON answer ({} for none); raises ApiError.

        Passing trouble (429, 5xx, no connection) is tried again for some seconds.
        """
        headers = {"User-Agent": "Terraform stand-in/7.45.0"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if self.billing_project:
            headers["X-Goog-User-Project"] = self.billing_project
        if content_type:
            headers["Content-Type"] = content_type
        params = {"alt": "json", "prettyPrint": "false"} | (query or {})
        for pause in (*(PAUSES if retry and data is None else ()), None):
            try:
                answer = self._session().request(
                    method,
                    self.url(service, path, location),
                    params=params,
                    headers=headers,
                    json=body,
                    data=data,
                    timeout=(10, 600),
                )
                if answer.status_code < 400:
                    return answer.json() if answer.content else {}
                error = _error(answer)
                if answer.status_code not in RETRIED:
                    raise error
            except requests.ConnectionError as problem:
                error = ApiError(0, f"no connection to {HOSTS[service]}: {problem}")
            if pause is None:
                raise error
            time.sleep(pause)

    def wait(self, service: str, operation: dict[str, Any]) -> None:
        """Polls a long-running operation to its end; raises ApiError if it failed."""
        pause = 0.05
        while not operation.get("done"):
            time.sleep(pause)
            pause = min(pause * 2, 2.0)
            operation = self.call("GET", service, operation["name"])
        if error := operation.get("error"):
            raise ApiError(error.get("code", 0), error.get("message", str(error)))


def _error(answer: requests.Response) -> ApiError:
    try:
        error = answer.json()["error"]
        details = error.get("errors") or [{}]
        reason = details[0].get("reason", error.get("status", ""))
        return ApiError(answer.status_code, error["message"], reason)
    except (ValueError, KeyError, TypeError):
        return ApiError(answer.status_code, answer.text[:500] or answer.reason)


def segment(name: str) -> str:
    """A name as one segment of a path, whatever it holds."""
    return quote(name, safe="")
