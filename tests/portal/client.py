"""A client of the portal."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import requests


@dataclass
class Client:
    """What a client of the portal does, at the address that make portal serves."""

    base: str
    http: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.http.trust_env = False

    def offer(self, name: str, size: int, kind: str = "image/jpeg", **more: Any) -> Any:
        headers = more.pop("headers", {})
        body = {"name": name, "size": size, "contentType": kind} | more
        return self.http.post(f"{self.base}/files", json=body, headers=headers, timeout=60)

    def accepted(self, name: str, size: int, **more: Any) -> dict[str, Any]:
        """The answer to an offer with a key, which is made again while there is no place for it."""
        while (answer := self.offer(name, size, **more)).status_code == 503:
            time.sleep(int(answer.headers.get("Retry-After", 1)))
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def send(self, url: str, data: bytes) -> requests.Response:
        return self.http.put(url, data=data, timeout=120)

    def upload(self, name: str, data: bytes, kind: str = "image/jpeg", **more: Any) -> str:
        """Offers and sends a file; its file_id."""
        accepted = self.offer(name, len(data), kind, **more)
        assert accepted.status_code == 201, accepted.text
        assert self.send(accepted.json()["upload"]["url"], data).status_code == 200
        return str(accepted.json()["file_id"])

    def status(self, file_id: str, query: str = "") -> dict[str, Any]:
        answer = self.http.get(f"{self.base}/files/{file_id}{query}", timeout=60)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def events(self, *file_ids: str) -> Iterator[dict[str, Any]]:
        """The documents of one stream, as they come. Raises requests.RequestException."""
        ask = [("file_id", one) for one in file_ids]
        with self.http.get(f"{self.base}/events", params=ask, stream=True, timeout=60) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines(chunk_size=1):
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

    def ended(self, file_id: str) -> dict[str, Any]:
        """Its last document, by as many streams as it takes."""
        while True:
            try:
                for told in self.events(file_id):
                    if told["status"] in ("done", "failed"):
                        return told
            except requests.RequestException as error:
                if error.response is not None and error.response.status_code != 503:
                    raise
                time.sleep(1)
