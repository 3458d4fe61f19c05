"""The private bucket of an environment's plans. Everything in it is written once.

reviewed/ENVIRONMENT/HEAD/RUN.json    a normalised plan of a pull request, by its head commit
prepared/ENVIRONMENT/COMMIT/RUN.zip   a plan to apply, with the functions' zips that it uploads
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from known import Refused
from tokens import access_token

API = "https://storage.googleapis.com"


class Store:
    """The bucket, read and written as whoever is logged in."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self._token = ""

    def write(self, name: str, data: bytes) -> None:
        """Raises Refused where the name is taken or Google refuses."""
        query = urllib.parse.urlencode(
            {"uploadType": "media", "name": name, "ifGenerationMatch": "0"}
        )
        self._send("POST", f"/upload/storage/v1/b/{self.bucket}/o?{query}", data)

    def read(self, name: str) -> bytes:
        quoted = urllib.parse.quote(name, safe="")
        return self._send("GET", f"/storage/v1/b/{self.bucket}/o/{quoted}?alt=media")

    def newest(self, prefix: str) -> str | None:
        """The name of the object below `prefix` that was written last."""
        found: list[tuple[str, str]] = []
        page: str | None = ""
        while page is not None:
            query = {"prefix": prefix, "fields": "items(name,timeCreated),nextPageToken"}
            if page:
                query["pageToken"] = page
            path = f"/storage/v1/b/{self.bucket}/o?{urllib.parse.urlencode(query)}"
            answer: dict[str, Any] = json.loads(self._send("GET", path))
            found += [(item["timeCreated"], item["name"]) for item in answer.get("items", [])]
            page = answer.get("nextPageToken")
        return max(found)[1] if found else None

    def _send(self, verb: str, path: str, data: bytes | None = None) -> bytes:
        self._token = self._token or access_token()
        headers = {"Authorization": f"Bearer {self._token}"}
        if data is not None:
            headers["Content-Type"] = "application/octet-stream"
        request = urllib.request.Request(API + path, data, headers, method=verb)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            raise self._refused(error) from error
        except urllib.error.URLError as error:
            raise Refused(f"Google Cloud Storage cannot be reached: {error.reason}") from error

    def _refused(self, error: urllib.error.HTTPError) -> Refused:
        where = f"gs://{self.bucket}"
        if error.code == 401:
            return Refused(EXPIRED)
        if error.code == 404:
            return Refused(
                f"{where}, or what was asked of it, does not exist. The bucket is made by make "
                "bootstrap, once it is told the GitHub repository"
            )
        if error.code == 412:
            return Refused(f"somebody else has written the same name into {where}: run this again")
        return Refused(f"{where} refuses ({error.code}): {error.read().decode(errors='replace')}")


EXPIRED = (
    "Google does not accept the login: tokens of the workflows last an hour at most. Start the job "
    "again; on your own machine: gcloud auth login, gcloud auth application-default login"
)
