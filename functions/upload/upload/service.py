"""What the paths of the upload service do."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import IO, Any
from urllib.parse import urlencode

from flask import Request, Response
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge

from bridge.settings import Config as Rules
from runtime.logs import Log
from upload.offer import Offer, fields_of, offer
from upload.settings import Config
from upload.storage import Storage
from web.access import IAM, NOBODY, Callers
from web.problems import Problem, bad

MAX_REQUEST_BYTES = 32 * 1024 * 1024  # what Google lets through to a function
SESSION = timedelta(days=7)
SEND = "Send the file's bytes to upload.url; it is processed once they are there."
_FORM = ("folder", "owner", "processAfter")


@dataclass(frozen=True, slots=True)
class Upload:
    config: Config
    rules: Rules
    callers: Callers
    storage: Storage
    log: Log

    def files(self, request: Request) -> Response:
        """POST /files: a resumable session for a file of any size, without its bytes."""
        authorization = request.headers.get("Authorization")
        self.callers.owner(authorization, None)  # before the body is read
        fields = fields_of(_json_body(request))
        owner = self.callers.owner(authorization, fields.get("owner"))
        made = offer(fields, owner, _key(request), self.config, self.rules)
        url = self.storage.session(made, self._origin(request, fields.get("origin")))
        self._accepted(made, "session")
        links = self._links(made)
        body = {
            "status": "accepted",
            "file_id": made.file.file_id,
            "message": SEND if url else "The file is there already, from an earlier request.",
            "results": f"gs://{self.config.results_bucket}/files/{made.file.prefix}",
            "upload": _session(url) if url else None,
            "links": links,
        }
        return _answer(body, 201 if url else 200, Location=links["status"])

    def form(self, request: Request) -> Response:
        """POST /upload: the bytes themselves, as `curl -F file=@…` sends them."""
        authorization = request.headers.get("Authorization")
        self.callers.owner(authorization, None)  # before the body is read
        form = _form(request)
        try:
            file = form.files.get("file")
        except RequestEntityTooLarge:
            raise _too_large() from None
        if file is None or not file.filename:
            raise Problem(
                400, "no_file", "Send the file as the field file: curl -F file=@photo.jpg."
            )
        named = {key: form.form[key] for key in _FORM if key in form.form}
        owner = self.callers.owner(authorization, named.get("owner"))
        content, size = _measured(file)
        fields: dict[str, Any] = named | {
            "name": file.filename, "size": size, "contentType": file.content_type,
        }  # fmt: skip
        made = offer(fields, owner, _key(request), self.config, self.rules)
        self.storage.create(made, content)
        self._accepted(made, "form")
        body = {
            "status": "accepted",
            "file_id": made.file.file_id,
            "message": "File queued for processing",
            "filename": made.name,
        }
        return _answer(body, 202, Location=self._links(made)["status"])

    def settings(self, request: Request) -> Response:
        """GET /settings: what a page has to know before it offers a file."""
        folders = {
            name: {"types": list(folder.types), "max_bytes": folder.max_bytes}
            for name, folder in self.config.folders.items()
        }
        body = {
            "access": self.config.access.kind,
            "folders": folders,
            "status": self.config.status_url,
        }
        return _answer(body, 200)

    def health(self, request: Request) -> Response:
        return _answer({"status": "ok"}, 200)

    def allowed_origin(self, request: Request) -> str | None:
        """Of the page that calls: the one served here, or one of the setting `origins`."""
        origin = request.headers.get("Origin")
        if origin is None:
            return None
        # Cloud Run ends TLS; a Host is only ever one of this service's own.
        if origin in (*self.config.origins, f"https://{request.host}"):
            return origin
        raise Problem(
            403,
            "foreign_origin",
            "Pages of this origin may not upload here; the setting origins names those that may.",
        )

    def _origin(self, request: Request, named: object) -> str | None:
        """The page that will send the bytes: the caller, or the one that a server names."""
        caller = request.headers.get("Origin")
        if named is None or named == caller:
            return caller
        if not (isinstance(named, str) and named in self.config.origins) or caller:
            raise bad("origin", "must be one of the origins that the setting of this service names")
        return named

    def _links(self, made: Offer) -> dict[str, str]:
        file, owner = made.file, {}
        if self.config.access.kind == IAM and file.owner != NOBODY:
            owner = {"owner": file.owner}
        base = self.config.status_url
        status = f"{base}/files/{file.file_id}" + (f"?{urlencode(owner)}" if owner else "")
        events = f"{base}/events?{urlencode({'file_id': file.file_id} | owner)}"
        return {"status": status, "events": events}

    def _accepted(self, made: Offer, way: str) -> None:
        self.log.write(
            "INFO", "upload_accepted", "a file was accepted", way=way, file_id=made.file.file_id,
            folder=made.file.folder, size=made.size,
        )  # fmt: skip


def _session(url: str) -> dict[str, str]:
    expires = (datetime.now(UTC) + SESSION).isoformat(timespec="seconds")
    return {"method": "PUT", "url": url, "expires": expires.replace("+00:00", "Z")}


def _json_body(request: Request) -> bytes:
    # A form of a foreign page cannot send this type without asking first.
    if request.mimetype != "application/json":
        raise Problem(
            415, "not_json", "Send the fields as JSON, with Content-Type: application/json."
        )
    return request.get_data(cache=False)


def _form(request: Request) -> Request:
    if request.mimetype != "multipart/form-data":
        raise Problem(400, "no_file", "Send a form with the field file: curl -F file=@photo.jpg.")
    if (request.content_length or 0) > MAX_REQUEST_BYTES:
        raise _too_large()
    request.max_content_length = MAX_REQUEST_BYTES
    request.max_form_parts = 10
    return request


def _too_large() -> Problem:
    detail = "A form takes 32 MiB. POST /files with name, size and contentType, then PUT the bytes to the address that it answers."  # noqa: E501
    return Problem(413, "form_too_large", detail, limit=MAX_REQUEST_BYTES, use="/files")


def _measured(file: FileStorage) -> tuple[IO[bytes], int]:
    size = file.stream.seek(0, io.SEEK_END)
    file.stream.seek(0)
    return file.stream, size


def _key(request: Request) -> str | None:
    return request.headers.get("Idempotency-Key")


def _answer(body: dict[str, Any], status: int, **headers: str) -> Response:
    response = Response(json.dumps(body), status, mimetype="application/json")
    response.headers.update(headers)
    return response
