"""Addresses that let whoever holds them read one output for a quarter of an hour (V4)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from web.problems import reached

if TYPE_CHECKING:
    from google.cloud.storage import Client

LIFE_SECONDS = 15 * 60
REUSED_SECONDS = 5 * 60  # so one that is handed out lives for ten minutes at least
MAX_KEPT = 10_000
# What a browser may show in place. Everything else, SVG and HTML first of all, is saved.
_SHOWN = {f"image/{kind}" for kind in ("avif", "bmp", "gif", "heic", "jpeg", "png", "tiff", "webp")}


class Signer:
    """Signs with a key that Google keeps (IAM Credentials: signBlob).

    Args:
        client: of Cloud Storage; its credentials ask for the signatures.
        email: the account that signs, which is the one that asks.
    """

    def __init__(self, client: Callable[[], Client], bucket: str, email: str) -> None:
        self._client, self._bucket, self._email = client, bucket, email
        self._lock = threading.Lock()
        self._credentials: Any = None
        self._kept: dict[tuple[str, str], tuple[float, str, str]] = {}

    def url(self, name: str, content_type: str) -> tuple[str, str]:
        """The address, and when it ends (RFC 3339). Raises Unreached."""
        now = time.time()
        made, url, expires = self._kept.get((name, content_type), (0.0, "", ""))
        if now < made + REUSED_SECONDS:
            return url, expires
        with reached("IAM Credentials"):
            url = self._signed(name, content_type)
        until = datetime.fromtimestamp(now + LIFE_SECONDS, UTC)
        expires = until.isoformat(timespec="seconds").replace("+00:00", "Z")
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[name, content_type] = (now, url, expires)
        return url, expires

    def _signed(self, name: str, content_type: str) -> str:
        plain = content_type.partition(";")[0].strip().lower()
        shown = plain in _SHOWN or plain.startswith(("audio/", "video/"))
        file = quote(name.rpartition("/")[2], safe="")
        disposition = "inline" if shown else "attachment"
        blob = self._client().bucket(self._bucket).blob(name)
        # Both are signed: an output that was stored as a page is never served as one.
        return str(
            blob.generate_signed_url(
                version="v4",
                method="GET",
                expiration=timedelta(seconds=LIFE_SECONDS),
                credentials=self._signing(),
                response_disposition=f"{disposition}; filename*=UTF-8''{file}",
                response_type=plain if shown else "application/octet-stream",
            )
        )

    def _signing(self) -> Any:
        with self._lock:
            if self._credentials is None:
                self._credentials = _credentials(self._client(), self._email)
            return self._credentials


def _credentials(client: Client, email: str) -> Any:
    from google.auth import credentials, iam
    from google.auth.transport.requests import Request

    class Account(credentials.Signing):  # type: ignore[misc]
        """As the library wants whatever signs."""

        signer = iam.Signer(Request(), client._credentials, email)
        signer_email = email

        def sign_bytes(self, message: bytes) -> bytes:
            return bytes(self.signer.sign(message))

    return Account()
